"""Reading multi-frame objects: enhanced CT, MR and PET, tomosynthesis, cine, dose, NM."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset

from data_adapters.case import Display
from data_adapters.dicom.colour import from_palette
from data_adapters.dicom.decoding import decode_apart
from data_adapters.dicom.display import QUANTITATIVE, is_inverted, read_display
from data_adapters.dicom.facts import meta_of, pixel_spacing, plane_geometry, reading_notes
from data_adapters.dicom.frames import Volume, group_item, volumes
from data_adapters.dicom.pixels import (
    DAMAGE,
    check_pixels,
    damaged,
    is_compressed,
    open_dataset,
    stored_frames,
)
from data_adapters.dicom.stack_image import StackImage
from data_adapters.dicom.values import Units, fill, numbers, replace_padding, units_of, word
from data_adapters.errors import CaseError

Array = NDArray[Any]


def list_volumes(path: str | Path, *, case_id: str) -> tuple[Volume, ...]:
    """The volumes of a multi-frame file, from its header.

    Raises:
        CaseError: The header cannot be read.
    """
    dataset = open_dataset(path, case_id=case_id, pixels=False)
    try:
        return volumes(dataset)
    except DAMAGE as error:
        raise damaged(error, case_id) from None


def read_multiframe(path: str | Path, *, case_id: str, volume: int = 0) -> StackImage:
    """Read one volume of a multi-frame file.

    Args:
        path: The file.
        case_id: Pseudonymous id that errors carry.
        volume: Which of `list_volumes`.

    Returns:
        (D, H, W, C); of frames that are moments in time D is time and there is no geometry, and
        `meta` holds `axis` (`time`), `pixel_spacing` and `frame_time_ms` where known. A file of one
        frame and no place in a volume gives (H, W, C).

    Raises:
        CaseError: As `read_dicom_image`, and `missing` where there is no such volume.
    """
    dataset = open_dataset(path, case_id=case_id)
    try:
        check_pixels(dataset, case_id=case_id)
        found = volumes(dataset)
        if not 0 <= volume < len(found):
            message = f"the file holds {len(found)} volumes; there is no number {volume}"
            raise CaseError(case_id, "missing", message)
        return _read(dataset, str(path), found[volume], case_id)
    except CaseError:
        raise
    except DAMAGE as error:
        raise damaged(error, case_id) from None


def _read(dataset: FileDataset, path: str, volume: Volume, case_id: str) -> StackImage:
    wanted = list(volume.frames)
    if is_compressed(dataset.file_meta.TransferSyntaxUID):
        stored = _decoded(path, wanted, (int(dataset.Rows), int(dataset.Columns)), case_id)
    else:
        stored = stored_frames(dataset, case_id=case_id, frames=wanted)
    padding, display = None, Display()
    if "PALETTE" in word(dataset, "PhotometricInterpretation"):
        image = from_palette(stored, dataset)
    elif stored.ndim == 4:
        image = stored
    else:
        image, padding, display = _grey(dataset, wanted, stored)
    meta = meta_of(dataset) | ({"part": volume.part} if volume.part else {})
    geometry, notes = volume.geometry, reading_notes(dataset)
    if volume.moments:
        meta |= _time_facts(dataset)
    if geometry is None and len(wanted) == 1:
        geometry, image = plane_geometry(dataset), image[0]
        padding = None if padding is None else padding[0]
    return StackImage(image, padding, display, geometry, meta, tuple(notes))


def _decoded(path: str, wanted: list[int], shape: tuple[int, int], case_id: str) -> Array:
    parts: dict[int, Array] = {}

    def put(places: Sequence[int], stored: Array) -> None:
        parts[places[0]] = stored

    decode_apart([path], wanted, put, shape=(*shape, 3), case_id=case_id)
    return np.concatenate([parts[start] for start in sorted(parts)])


def _time_facts(dataset: FileDataset) -> dict[str, Any]:
    """How far apart pixels and frames of a cine are."""
    facts: dict[str, Any] = {"axis": "time"}
    spacing, _ = pixel_spacing(dataset)
    if spacing is not None:
        facts["pixel_spacing"] = spacing
    times = numbers(dataset, "FrameTime")
    if times and times[0] > 0:
        facts["frame_time_ms"] = times[0]
    return facts


def _grey(
    dataset: FileDataset, wanted: list[int], stored: Array
) -> tuple[Array, NDArray[np.bool_] | None, Display]:
    """Values in modality units, frame by frame, with padding and display."""
    image = np.empty(stored.shape, np.float32)
    masks: dict[int, NDArray[np.bool_]] = {}
    common = units_of(dataset)
    for place, frame in enumerate(wanted):
        mask = fill(stored[place], frame_units(dataset, frame) or common, image[place])
        if mask is not None:
            masks[place] = mask
    padding = None
    if masks:
        padding = np.zeros(image.shape, bool)
        for place, mask in masks.items():
            padding[place] = mask
        turned = is_inverted(dataset) and word(dataset, "Modality") not in QUANTITATIVE
        replace_padding(image, padding, ct=common.ct, inverted=turned)
    return image[..., None], padding, _display(dataset, wanted, common)


def frame_units(dataset: FileDataset, frame: int) -> Units | None:
    """Units of a frame with a Pixel Value Transformation of its own; None without one."""
    item = group_item(dataset, frame, "PixelValueTransformationSequence")
    return None if item is None else units_of(dataset, rescale=item)


def _display(dataset: FileDataset, wanted: list[int], common: Units) -> Display:
    """The object's display, or that of the middle frame's VOI item."""
    middle = wanted[len(wanted) // 2]
    units = frame_units(dataset, middle) or common
    whole = read_display(dataset, span=units.span())
    item = group_item(dataset, middle, "FrameVOILUTSequence")
    if item is None or whole.windows:
        return whole
    own = read_display(item)
    return Display(own.windows, own.function, whole.lut, whole.inverted, whole.span, whole.lut_bits)
