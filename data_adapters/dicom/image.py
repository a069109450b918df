"""Reading one single-frame DICOM file: values in modality units, padding, polarity, position."""

from __future__ import annotations

import struct
import warnings
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import pixel_array

from data_adapters.case import Display, Geometry
from data_adapters.errors import CaseError
from data_adapters.privacy import uid_pseudonym

AIR_HU = -1024.0
"""What padding pixels of a CT become."""
NO_TISSUE_HU = -1500.0
"""At or below this a CT value is padding even where the file does not say so."""
QUANTITATIVE = frozenset({"CT", "MR", "PT", "NM", "RTDOSE"})
"""Modalities whose values mean something by themselves and are never turned round."""
MAX_PIXELS = 1 << 28

# Warnings of pydicom quote what they dislike, patient names included.
warnings.filterwarnings("ignore", module=r"pydicom\.")

_CODECS = {
    "1.2.840.10008.1.2.4.50": "python-gdcm",
    "1.2.840.10008.1.2.4.51": "pylibjpeg-libjpeg pylibjpeg",
    "1.2.840.10008.1.2.4.57": "python-gdcm",
    "1.2.840.10008.1.2.4.70": "python-gdcm",
    "1.2.840.10008.1.2.4.80": "pyjpegls",
    "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pylibjpeg-openjpeg pylibjpeg",
    "1.2.840.10008.1.2.4.91": "pylibjpeg-openjpeg pylibjpeg",
    "1.2.840.10008.1.2.4.201": "pylibjpeg-openjpeg pylibjpeg",
    "1.2.840.10008.1.2.4.202": "pylibjpeg-openjpeg pylibjpeg",
    "1.2.840.10008.1.2.4.203": "pylibjpeg-openjpeg pylibjpeg",
}
# What pydicom and its decoders raise on damaged files, beside OSError.
_DAMAGE = (
    ArithmeticError,
    AttributeError,
    BytesLengthException,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


@dataclass(frozen=True, eq=False)
class DicomImage:
    """One frame and what its file says about it.

    Attributes:
        image: (H, W, 1) float32 in modality units (HU for CT; rescale or Modality LUT applied),
            or (H, W, 3) uint8 or uint16 for colour.
        padding: (H, W) boolean, pixels outside the measured field whose values were replaced (by
            -1024 HU in CT, else by the lowest value measured); None when there are none.
        display: Windows and tables, in the units of `image`.
        geometry: Spacing in mm (row, column); origin and directions where the file gives them.
        modality: DICOM's code, such as `CT` or `DX`; None when absent.
        patient_id: As in the file, hence to be pseudonymised; None when blank.
        meta: `modality`, `study` and `series` (pseudonyms), `laterality`, `view`, `body_part`,
            `scanner`, `age` (years), `sex`, where known.
    """

    image: np.ndarray
    padding: np.ndarray | None
    display: Display
    geometry: Geometry | None
    modality: str | None
    patient_id: str | None
    meta: dict[str, Any] = field(default_factory=dict)


def read_dicom_image(path: Path, *, case_id: str, max_pixels: int = MAX_PIXELS) -> DicomImage:
    """Read a single-frame DICOM file.

    MONOCHROME1 (or the Presentation LUT Shape INVERSE, once for both) is turned round so that
    bright is dense, except in quantitative modalities; `display.inverted` records it.

    Args:
        path: The file.
        case_id: Pseudonymous id that errors carry.
        max_pixels: Most pixels that the header may declare.

    Returns:
        The image with its facts.

    Raises:
        CaseError: With `kind` one of `missing`, `unreadable`, `zero-byte`, `not-dicom`,
            `truncated`, `no-pixels`, `segmentation`, `multi-frame`, `bomb`, `codec`,
            `corrupt`, `not-finite`.
    """
    dataset = _open(Path(path), case_id)
    try:
        _check_header(dataset, case_id, max_pixels)
        stored = _decode(dataset, case_id)
        if stored.ndim == 3 or "PALETTE" in _text(dataset, "PhotometricInterpretation"):
            image, padding, display = _colour(dataset, stored), None, Display()
        else:
            image, padding, display = _grey(dataset, stored)
        result = DicomImage(
            image=image,
            padding=padding,
            display=display,
            geometry=_geometry(dataset),
            modality=_text(dataset, "Modality") or None,
            patient_id=_text(dataset, "PatientID") or None,
            meta=_meta(dataset),
        )
    except CaseError:
        raise
    except _DAMAGE as error:
        reason = type(error).__name__
        message = f"the DICOM file is damaged or unusual and cannot be decoded ({reason})"
        raise CaseError(case_id, "corrupt", message) from None
    if image.dtype.kind == "f" and not bool(np.isfinite(image).all()):
        raise CaseError(case_id, "not-finite", "the image holds values that are not finite")
    return result


def _text(dataset: Dataset, keyword: str) -> str:
    value = dataset.get(keyword)
    return "" if value is None else str(value).strip()


def _open(path: Path, case_id: str) -> FileDataset:
    try:
        if path.stat().st_size == 0:
            raise CaseError(case_id, "zero-byte", "the file is empty (0 bytes)")
        return pydicom.dcmread(path)
    except CaseError:
        raise
    except FileNotFoundError:
        raise CaseError(case_id, "missing", "the file does not exist") from None
    except InvalidDicomError:
        message = "the file is not DICOM: bytes 129 to 132 are not 'DICM'"
        raise CaseError(case_id, "not-dicom", message) from None
    except EOFError:
        raise CaseError(case_id, "truncated", "the file ends inside its header") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CaseError(case_id, "unreadable", f"the file cannot be read: {reason}") from None
    except _DAMAGE as error:
        message = f"the DICOM header is damaged ({type(error).__name__})"
        raise CaseError(case_id, "corrupt", message) from None


def _check_header(dataset: FileDataset, case_id: str, max_pixels: int) -> None:
    """Refuse what is no single frame of reasonable size."""
    if not any(name in dataset for name in _PIXELS):
        if len(dataset) == 0 or "Rows" in dataset or "SOPClassUID" not in dataset:
            message = "the file ends before its pixels, or never had any: copy it again"
            raise CaseError(case_id, "truncated", message)
        name = getattr(dataset.SOPClassUID, "name", "unknown")
        message = f"the DICOM object holds no pixels (it is a {name})"
        raise CaseError(case_id, "no-pixels", message)
    if _text(dataset, "Modality") == "SEG":
        raise CaseError(case_id, "segmentation", "the DICOM file is a segmentation, not an image")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        message = f"the DICOM file is multi-frame ({frames} frames); here one file is one image"
        raise CaseError(case_id, "multi-frame", message)
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if rows < 1 or columns < 1:
        raise CaseError(case_id, "corrupt", f"the header declares {columns} x {rows} pixels")
    if rows * columns > max_pixels:
        message = f"the header declares {columns} x {rows} pixels; the limit is {max_pixels}"
        raise CaseError(case_id, "bomb", message)


def _decode(dataset: FileDataset, case_id: str) -> np.ndarray:
    """Stored values (H, W) or (H, W, 3)."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_compressed and not syntax.is_deflated:
        _check_codec(syntax, case_id)
        try:
            return pixel_array(dataset)
        except (NotImplementedError, RuntimeError):
            message = f"its {syntax.name} pixels cannot be decoded (damaged?){_advice(syntax)}"
            raise CaseError(case_id, "codec", message) from None
    if "PixelData" in dataset:
        wanted, found = _expected_bytes(dataset), len(dataset.PixelData)
        if found < wanted:
            message = f"the file holds {found} of {wanted} bytes of pixels: copy it again"
            raise CaseError(case_id, "truncated", message)
    return pixel_array(dataset)


def _expected_bytes(dataset: Dataset) -> int:
    samples, bits = int(dataset.get("SamplesPerPixel") or 1), int(dataset.BitsAllocated)
    if "422" in _text(dataset, "PhotometricInterpretation"):
        samples = 2
    return (int(dataset.Rows) * int(dataset.Columns) * samples * bits + 7) // 8


def _check_codec(syntax: pydicom.uid.UID, case_id: str) -> None:
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        message = f"its pixels are compressed as {syntax.name}, which cannot be decoded here"
        raise CaseError(case_id, "codec", message + _advice(syntax))


def _advice(syntax: pydicom.uid.UID) -> str:
    packages = _CODECS.get(str(syntax))
    if packages:
        return f"; try: pip install {packages}"
    return "; convert the file to an uncompressed transfer syntax first"


def _colour(dataset: FileDataset, stored: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 or uint16; a palette's colours as uint8."""
    if stored.ndim == 2:
        stored = apply_color_lut(stored, dataset)
        if stored.dtype == np.uint16:
            stored = (stored >> 8).astype(np.uint8)
    if stored.shape[-1] != 3 or stored.dtype not in (np.uint8, np.uint16):
        raise ValueError("colour image of an unknown kind")
    return np.ascontiguousarray(stored)


def _grey(
    dataset: FileDataset, stored: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None, Display]:
    """Values in modality units, padding and display of a monochrome frame."""
    modality = _text(dataset, "Modality")
    padding = _padding(dataset, stored)
    values, pivot = _modality_values(dataset, stored)
    if modality == "CT":
        padding |= values <= NO_TISSUE_HU
    turned = modality not in QUANTITATIVE and (
        _text(dataset, "PhotometricInterpretation") == "MONOCHROME1"
        or _text(dataset, "PresentationLUTShape") == "INVERSE"
    )
    if turned:
        values = pivot - values
    if padding.any():
        measured = values[~padding]
        lowest = float(measured.min()) if measured.size else 0.0
        values[padding] = AIR_HU if modality == "CT" else lowest
    display = _display(dataset, pivot if turned else None)
    image = np.ascontiguousarray(values[..., None], dtype=np.float32)
    return image, padding if padding.any() else None, display


def _padding(dataset: FileDataset, stored: np.ndarray) -> np.ndarray:
    """(H, W) boolean: stored values declared as padding (PS3.3 C.7.5.1.1.2)."""
    first = dataset.get("PixelPaddingValue")
    if first is None or stored.dtype.kind not in "iu":
        return np.zeros(stored.shape, bool)
    last = dataset.get("PixelPaddingRangeLimit")
    ends = [_as_stored(dataset, v) for v in (first, first if last is None else last)]
    return (stored >= min(ends)) & (stored <= max(ends))


def _as_stored(dataset: FileDataset, value: int | bytes) -> int:
    """A stored value that may have been written with the other signedness."""
    if isinstance(value, bytes):
        value = int.from_bytes(value[:2], "little")
    bits = int(dataset.BitsAllocated)
    number, signed = int(value) % (1 << bits), int(dataset.PixelRepresentation) == 1
    return number - (1 << bits) if signed and number >= 1 << (bits - 1) else number


def _modality_values(dataset: FileDataset, stored: np.ndarray) -> tuple[np.ndarray, float]:
    """Values in modality units (float64) and the sum of their range's two ends."""
    if stored.dtype.kind == "f":
        return stored.astype(np.float64), float(stored.min()) + float(stored.max())
    if dataset.get("ModalityLUTSequence"):
        first, outputs, top = _table(dataset, dataset.ModalityLUTSequence[0])
        places = np.clip(stored.astype(np.int64) - first, 0, len(outputs) - 1)
        return outputs[places], top
    slope = dataset.get("RescaleSlope")
    slope = 1.0 if slope is None else float(slope)
    intercept = float(dataset.get("RescaleIntercept") or 0.0)
    if slope == 0.0:
        raise ValueError("rescale slope of 0")
    bits = int(dataset.BitsStored)
    ends = -1 if int(dataset.PixelRepresentation) == 1 else (1 << bits) - 1
    return stored * slope + intercept, ends * slope + 2 * intercept


def _numbers(dataset: Dataset, keyword: str) -> list[float]:
    value = dataset.get(keyword)
    if value is None or value == "":
        return []
    return [float(v) for v in value] if hasattr(value, "__len__") else [float(value)]


def _display(dataset: FileDataset, pivot: float | None) -> Display:
    """Windows and the first table; with `pivot`, as seen after turning values round."""
    function = (_text(dataset, "VOILUTFunction") or "LINEAR").upper()
    pairs = zip(_numbers(dataset, "WindowCenter"), _numbers(dataset, "WindowWidth"), strict=False)
    windows = tuple((centre, width) for centre, width in pairs if width > 0)
    first, outputs, top = 0, np.zeros(0), 0.0
    if dataset.get("VOILUTSequence"):
        first, outputs, top = _table(dataset, dataset.VOILUTSequence[0])
    start = float(first)
    if pivot is not None:
        middle = pivot + (1.0 if function == "LINEAR" else 0.0)
        windows = tuple((middle - centre, width) for centre, width in windows)
        start, outputs = pivot - (first + len(outputs) - 1), top - outputs[::-1]
    lut = (start, tuple(outputs.tolist())) if len(outputs) else None
    return Display(windows, function, lut, inverted=pivot is not None)


def _table(dataset: FileDataset, item: Dataset) -> tuple[int, np.ndarray, float]:
    """A lookup table: first value mapped, outputs (float64), highest output possible."""
    count, first, bits = (int(v) for v in item.LUTDescriptor)
    count = count or 1 << 16
    data = item.LUTData
    if isinstance(data, bytes):
        order = "<u2" if dataset.original_encoding[1] else ">u2"
        data = np.frombuffer(data, np.uint8 if len(data) <= count + 1 and bits <= 8 else order)
    outputs = np.asarray(data, dtype=np.float64).ravel()[:count]
    if outputs.size == 0:
        raise ValueError("empty lookup table")
    if int(dataset.get("PixelRepresentation") or 0):
        first = _as_stored(dataset, first)
    return first, outputs, float((1 << bits) - 1)


def _geometry(dataset: FileDataset) -> Geometry | None:
    """Position of the frame; spacing alone where only that is known."""
    spacing = _numbers(dataset, "PixelSpacing") or _numbers(dataset, "ImagerPixelSpacing")
    if len(spacing) != 2 or min(spacing) <= 0:
        return None
    position = _numbers(dataset, "ImagePositionPatient")
    axes = _numbers(dataset, "ImageOrientationPatient")
    step = (spacing[0], spacing[1])
    if len(position) != 3 or len(axes) != 6:
        return Geometry(step)
    origin = (position[0], position[1], position[2])
    return Geometry(step, origin, ((axes[3], axes[4], axes[5]), (axes[0], axes[1], axes[2])))


def _meta(dataset: FileDataset) -> dict[str, Any]:
    """Facts about the study that name nobody."""
    meta: dict[str, Any] = {"modality": _text(dataset, "Modality")}
    for name, keyword in (("study", "StudyInstanceUID"), ("series", "SeriesInstanceUID")):
        uid = _text(dataset, keyword)
        if uid:
            meta[name] = uid_pseudonym(uid, name)
    meta["laterality"] = _text(dataset, "ImageLaterality") or _text(dataset, "Laterality")
    meta["view"] = _text(dataset, "ViewPosition")
    meta["body_part"] = _text(dataset, "BodyPartExamined")
    meta["scanner"] = " ".join(
        part for k in ("Manufacturer", "ManufacturerModelName") if (part := _text(dataset, k))
    )
    meta["sex"] = _text(dataset, "PatientSex")
    age = _text(dataset, "PatientAge")
    units = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
    if age[:-1].isdigit() and age[-1:] in units:
        meta["age"] = int(age[:-1]) * units[age[-1]]
    return {name: value for name, value in meta.items() if value != ""}
