"""Reading one single-frame DICOM file: values in modality units, padding, display, position."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import FileDataset

from data_adapters.case import Display, Geometry
from data_adapters.dicom.colour import from_palette
from data_adapters.dicom.decoding import DECODE, time_limit
from data_adapters.dicom.display import QUANTITATIVE, is_inverted, read_display
from data_adapters.dicom.facts import meta_of, plane_geometry, reading_notes
from data_adapters.dicom.pixels import (
    DAMAGE,
    MAX_PIXELS,
    check_pixels,
    damaged,
    frame_count,
    is_compressed,
    open_dataset,
    stored_frames,
)
from data_adapters.dicom.terms import modality_term
from data_adapters.dicom.values import fill, replace_padding, units_of, word
from data_adapters.errors import CaseError
from data_adapters.isolation import isolated


@dataclass(frozen=True, eq=False)
class DicomImage:
    """One frame and what its file says about it.

    Attributes:
        image: (H, W, 1) float32 in modality units (HU for CT; rescale or Modality LUT applied),
            or (H, W, 3) uint8 or uint16 for colour.
        padding: (H, W) boolean, pixels outside the measured field whose values were replaced (by
            -1024 HU in CT, else by the measured value that is shown darkest); None when there are
            none.
        display: Windows, tables and polarity, in the units of `image`; none of it is applied.
        geometry: Spacing in mm (row, column); origin and directions where the file gives them.
        modality: DICOM's code, such as `CT` or `DX`; None when absent.
        patient_id: As in the file, hence to be pseudonymised; None when blank.
        meta: `modality`, `study` and `series` (pseudonyms), `laterality`, `view`, `body_part`,
            `scanner`, `age` (years), `sex`, `burned_in`, `spacing_at`, `magnification`, where
            known.
        notes: Slugs of what the header leaves open.
    """

    image: np.ndarray
    padding: np.ndarray | None
    display: Display
    geometry: Geometry | None
    modality: str | None
    patient_id: str | None
    meta: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_dicom_image(path: Path, *, case_id: str, max_pixels: int = MAX_PIXELS) -> DicomImage:
    """Read a single-frame DICOM file.

    The polarity is recorded in `display.inverted` and left as it is:
    `data_adapters.dicom.display` shows the image, or turns it so that bright is dense.

    Args:
        path: The file.
        case_id: Pseudonymous id that errors carry.
        max_pixels: Most pixels that the header may declare.

    Returns:
        The image with its facts.

    Raises:
        CaseError: With `kind` one of `missing`, `unreadable`, `zero-byte`, `not-dicom`,
            `truncated`, `no-pixels`, `segmentation`, `whole-slide`, `multi-frame`, `bomb`,
            `codec`, `photometric`, `corrupt`, `not-finite`.
    """
    dataset = open_dataset(path, case_id=case_id)
    try:
        check_pixels(dataset, case_id=case_id, max_pixels=max_pixels)
        _refuse_frames(dataset, case_id)
        if is_compressed(dataset.file_meta.TransferSyntaxUID):
            limit = time_limit(int(dataset.Rows) * int(dataset.Columns))
            stored = isolated(DECODE, [str(path)], case_id=case_id, seconds=limit)[0]
        else:
            stored = stored_frames(dataset, case_id=case_id)[0]
        result = _image(dataset, stored)
    except CaseError:
        raise
    except DAMAGE as error:
        raise damaged(error, case_id) from None
    if result.image.dtype.kind == "f" and not bool(np.isfinite(result.image).all()):
        raise CaseError(case_id, "not-finite", "the image holds values that are not finite")
    return result


def _refuse_frames(dataset: FileDataset, case_id: str) -> None:
    frames = frame_count(dataset)
    if frames > 1:
        message = f"the DICOM file is multi-frame ({frames} frames); here one file is one image"
        raise CaseError(case_id, "multi-frame", message)


def _image(dataset: FileDataset, stored: np.ndarray) -> DicomImage:
    if stored.ndim == 2 and "PALETTE" in word(dataset, "PhotometricInterpretation"):
        stored = from_palette(stored, dataset)
    if stored.ndim == 3:
        image, padding, display = stored, None, Display()
    else:
        image, padding, display = _grey(dataset, stored)
    return DicomImage(
        image=image,
        padding=padding,
        display=display,
        geometry=plane_geometry(dataset),
        modality=modality_term(word(dataset, "Modality")) or None,
        patient_id=word(dataset, "PatientID") or None,
        meta=meta_of(dataset),
        notes=tuple(reading_notes(dataset)),
    )


def _grey(
    dataset: FileDataset, stored: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None, Display]:
    """Values in modality units, padding and display of a monochrome frame."""
    units = units_of(dataset)
    image = np.empty(stored.shape, np.float32)
    padding = fill(stored, units, image)
    if padding is not None:
        turned = is_inverted(dataset) and word(dataset, "Modality") not in QUANTITATIVE
        replace_padding(image, padding, ct=units.ct, inverted=turned)
    return image[..., None], padding, read_display(dataset, span=units.span())
