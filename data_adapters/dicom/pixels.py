"""Stored pixel values of DICOM files, whatever the transfer syntax.

Compressed ones are decoded by the best of pydicom's plugins that is installed; `decoding` does so
in a process apart.
"""

from __future__ import annotations

import logging
import struct
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from data_adapters.dicom.colour import KNOWN, to_rgb
from data_adapters.errors import CaseError

Array = NDArray[Any]

MAX_PIXELS = 1 << 28
"""Most pixels of a frame."""
MAX_VALUES = 1 << 31
"""Most samples of all frames read at once."""

# Warnings and log lines of pydicom quote what they dislike, patient names included.
warnings.filterwarnings("ignore", module=r"pydicom\.")
logging.getLogger("pydicom").setLevel(logging.CRITICAL)

_FEWEST_ELEMENTS = 30
"""An image's header with fewer was cut off."""
PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
# What pydicom and its decoders raise on damaged files, beside OSError.
DAMAGE = (
    ArithmeticError,
    AttributeError,
    BytesLengthException,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


class Codec(NamedTuple):
    """How one family of transfer syntaxes is decoded.

    Attributes:
        plugins: pydicom's decoding plugins, the one to prefer first: of those that give the right
            values the one that takes least processor time, since every core has a worker (512 x
            512 CT in JPEG 2000: pylibjpeg 19 ms, GDCM 25 ms spread over two threads).
        install: What to install where none of them is there.
    """

    plugins: tuple[str, ...]
    install: str


_J2K = "1.2.840.10008.1.2.4."
CODECS: dict[str, Codec] = {
    _J2K + "50": Codec(("pillow", "gdcm"), "python-gdcm"),
    _J2K + "51": Codec(("pillow", "pylibjpeg"), "'radzoo[jpeg12]'"),
    _J2K + "57": Codec(("gdcm",), "python-gdcm"),
    _J2K + "70": Codec(("gdcm",), "python-gdcm"),
    _J2K + "80": Codec(("pyjpegls", "gdcm"), "pyjpegls"),
    _J2K + "81": Codec(("pyjpegls", "gdcm"), "pyjpegls"),
    _J2K + "90": Codec(("pylibjpeg", "gdcm"), "pylibjpeg-openjpeg pylibjpeg"),
    _J2K + "91": Codec(("pylibjpeg", "gdcm"), "pylibjpeg-openjpeg pylibjpeg"),
    _J2K + "201": Codec(("pylibjpeg",), "pylibjpeg-openjpeg pylibjpeg"),
    _J2K + "202": Codec(("pylibjpeg",), "pylibjpeg-openjpeg pylibjpeg"),
    _J2K + "203": Codec(("pylibjpeg",), "pylibjpeg-openjpeg pylibjpeg"),
    "1.2.840.10008.1.2.5": Codec(("pylibjpeg", "pydicom"), "pylibjpeg-rle pylibjpeg"),
}
"""By transfer syntax UID. 12-bit JPEG Extended has no permissively licensed decoder."""
_ONE_SAMPLE = frozenset(("", "MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"))
_PLAIN = frozenset(
    str(uid)
    for uid in (
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    )
)


def is_compressed(syntax: str) -> bool:
    """Whether pixels in this transfer syntax need a decoder."""
    return str(syntax) not in _PLAIN


def open_dataset(
    path: str | Path, *, case_id: str, pixels: bool = True, tags: list[str] | None = None
) -> FileDataset:
    """Parse a DICOM file; one without preamble too, if it begins as DICOM does.

    Args:
        path: The file.
        case_id: Pseudonymous id that errors carry.
        pixels: Read on to the pixels.
        tags: Keywords of the elements to keep; all when None.

    Raises:
        CaseError: With `kind` one of `missing`, `unreadable`, `zero-byte`, `not-dicom`,
            `truncated`, `corrupt`.
    """
    path = Path(path)
    try:
        if path.stat().st_size == 0:
            raise CaseError(case_id, "zero-byte", "the file is empty (0 bytes)")
        with path.open("rb") as file:
            start = file.read(132)
        force = start[128:] != b"DICM" and _begins_bare(start)
        dataset = pydicom.dcmread(
            path, stop_before_pixels=not pixels, force=force, specific_tags=tags
        )
        return _with_syntax(dataset)
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
    except DAMAGE as error:
        message = f"the DICOM header is damaged ({type(error).__name__})"
        raise CaseError(case_id, "corrupt", message) from None


def _begins_bare(start: bytes) -> bool:
    """Whether bytes begin with an element of group 2 or 8, as of a file without its preamble."""
    return start[:2] in (b"\x02\x00", b"\x08\x00") or start[:2] == b"\x00\x08"


def _with_syntax(dataset: FileDataset) -> FileDataset:
    """Fill in the transfer syntax that a file without file meta information does not name."""
    if not str(dataset.file_meta.get("TransferSyntaxUID") or ""):
        implicit, little = dataset.original_encoding
        plain = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else plain
    return dataset


def check_pixels(dataset: FileDataset, *, case_id: str, max_pixels: int = MAX_PIXELS) -> None:
    """Refuse what holds no image of reasonable size.

    Raises:
        CaseError: With `kind` one of `truncated`, `no-pixels`, `segmentation`, `whole-slide`,
            `bomb`, `corrupt`.
    """
    if not any(name in dataset for name in PIXEL_KEYWORDS):
        raise _without_pixels(dataset, case_id)
    refuse_kind(str(dataset.get("Modality") or ""), case_id=case_id)
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    frames = frame_count(dataset)
    if rows < 1 or columns < 1 or frames < 1:
        size = f"{columns} x {rows} pixels in {frames} frames"
        raise CaseError(case_id, "corrupt", f"the header declares {size}")
    samples = int(dataset.get("SamplesPerPixel") or 1)
    if rows * columns > max_pixels or rows * columns * frames * samples > MAX_VALUES:
        message = f"the header declares {columns} x {rows} pixels"
        message += f" in {frames} frames" if frames > 1 else ""
        raise CaseError(case_id, "bomb", f"{message}; the limit is {max_pixels} a frame")


def _without_pixels(dataset: FileDataset, case_id: str) -> CaseError:
    """An image that was cut off, or an object that is none."""
    uid = dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID")
    name = "" if uid is None or UID(uid).name == str(uid) else UID(uid).name
    image = "Image" in name or name == ""
    if "Rows" in dataset or (image and len(dataset) < _FEWEST_ELEMENTS):
        message = "the file ends before its pixels, or never had any: copy it again"
        return CaseError(case_id, "truncated", message)
    kind = f" (it is a {name})" if name else ""
    return CaseError(case_id, "no-pixels", f"the DICOM object holds no pixels{kind}")


def refuse_kind(modality: str, *, case_id: str) -> None:
    """Refuse objects whose pixels are no image of a patient's volume.

    Raises:
        CaseError: With `kind` one of `segmentation`, `whole-slide`.
    """
    if modality == "SEG":
        raise CaseError(case_id, "segmentation", "the DICOM file is a segmentation, not an image")
    if modality == "SM":
        message = "whole-slide microscopy is not read: export the region as a TIFF or PNG picture"
        raise CaseError(case_id, "whole-slide", message)


def frame_count(dataset: Dataset) -> int:
    """Number of Frames, 1 where absent."""
    value = dataset.get("NumberOfFrames")
    return 1 if value is None or value == "" else int(value)


def stored_frames(
    dataset: FileDataset, *, case_id: str, frames: Sequence[int] | None = None
) -> Array:
    """Stored values of a parsed file.

    Args:
        dataset: With its pixels, checked by `check_pixels`.
        case_id: Pseudonymous id that errors carry.
        frames: Which frames, counted from 0; all where None.

    Returns:
        (N, H, W) stored values, unused bits cleared and signs extended, or (N, H, W, 3) RGB.

    Raises:
        CaseError: With `kind` one of `truncated`, `codec`, `photometric`, `corrupt`.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    photometric = str(dataset.get("PhotometricInterpretation") or "").strip()
    known = KNOWN if int(dataset.get("SamplesPerPixel") or 1) > 1 else _ONE_SAMPLE
    if photometric not in known:
        shown = photometric if photometric in ("ARGB", "CMYK", "HSV", *KNOWN) else "unknown"
        message = f"the photometric interpretation ({shown}) is not read: save the image as RGB"
        raise CaseError(case_id, "photometric", message)
    wanted = list(range(frame_count(dataset))) if frames is None else list(frames)
    if is_compressed(syntax):
        return _decoded(dataset, syntax, wanted, case_id)
    _check_length(dataset, case_id)
    plain = _native_grey(dataset, wanted)
    return _stack(dataset, get_decoder(syntax), "", wanted) if plain is None else plain


def _native_grey(dataset: FileDataset, wanted: list[int]) -> Array | None:
    """Uncompressed little endian grey frames without a copy where nothing is to be masked."""
    bits = int(dataset.BitsAllocated)
    if "PixelData" not in dataset or bits not in (8, 16, 32) or not dataset.original_encoding[1]:
        return None
    if int(dataset.get("SamplesPerPixel") or 1) != 1:
        return None
    signed = int(dataset.PixelRepresentation) == 1
    shape = (frame_count(dataset), int(dataset.Rows), int(dataset.Columns))
    kind = f"<{'i' if signed else 'u'}{bits // 8}"
    count = shape[0] * shape[1] * shape[2]
    whole = np.frombuffer(dataset.PixelData, kind, count).reshape(shape)
    chosen = whole if wanted == list(range(shape[0])) else whole[wanted]
    return only_stored_bits(dataset, chosen)


def _decoded(dataset: FileDataset, syntax: UID, wanted: list[int], case_id: str) -> Array:
    """Decode with the best plugin there is, or else the next that manages it."""
    codec = CODECS.get(str(syntax))
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        decoder = None
    if codec is None or decoder is None or not decoder.is_available:
        message = f"its pixels are compressed as {syntax.name}, which cannot be decoded here"
        raise CaseError(case_id, "codec", message + _advice(syntax))
    here = [name for name in codec.plugins if name in decoder.available_plugins]
    for name in here or list(decoder.available_plugins):
        try:
            return _stack(dataset, decoder, name, wanted)
        except (NotImplementedError, RuntimeError, SyntaxError, OSError, AttributeError):
            continue
    bits = int(dataset.get("BitsStored") or 0)
    if str(syntax) == _J2K + "51" and bits > 8:
        message = f"its pixels are {bits}-bit JPEG Extended, for which no free codec is installed"
        raise CaseError(case_id, "codec", message + _advice(syntax))
    message = f"its {syntax.name} pixels cannot be decoded: the data are damaged"
    raise CaseError(case_id, "codec", message) from None


def _advice(syntax: UID) -> str:
    codec = CODECS.get(str(syntax))
    if codec is None:
        return "; convert the file to an uncompressed transfer syntax first"
    return f"; try: pip install {codec.install}"


def _stack(dataset: FileDataset, decoder: Any, plugin: str, wanted: list[int]) -> Array:
    """(N, H, W[, 3]) frames through one of pydicom's decoders."""
    colour = int(dataset.get("SamplesPerPixel") or 1) > 1
    out: Array | None = None
    frames = decoder.iter_array(dataset, indices=wanted, raw=True, decoding_plugin=plugin)
    for place, (found, facts) in enumerate(frames):
        frame = np.asarray(found, found.dtype.newbyteorder("="))
        one = (
            to_rgb(frame, str(facts["photometric_interpretation"]))
            if colour
            else (only_stored_bits(dataset, frame))
        )
        if out is None:
            out = np.empty((len(wanted), *one.shape), one.dtype)
        out[place] = one
    if out is None:
        raise ValueError("no frames")
    return out


def only_stored_bits(dataset: FileDataset, frame: Array) -> Array:
    """Clear the bits above Bits Stored, where overlays may lie, and extend the sign."""
    if frame.dtype.kind not in "iu":
        return frame
    stored = int(dataset.get("BitsStored") or 0)
    high = int(dataset.get("HighBit") or stored - 1)
    return mask_bits(frame, stored, high, signed=int(dataset.get("PixelRepresentation") or 0) == 1)


def mask_bits(frame: Array, stored: int, high: int, *, signed: bool) -> Array:
    """Values of the bits from `high` downwards, `stored` of them (PS3.5 8.1.1).

    Args:
        frame: Integers of any width.
        stored: Bits Stored.
        high: High Bit.
        signed: The highest stored bit is the sign.
    """
    bits = frame.dtype.itemsize * 8
    if stored >= bits or not 0 < stored <= high + 1 <= bits:
        return frame
    frame = frame.view(f"{'i' if signed else 'u'}{frame.dtype.itemsize}")
    return np.asarray((frame << (bits - 1 - high)) >> (bits - stored))


def _check_length(dataset: FileDataset, case_id: str) -> None:
    name = next(name for name in PIXEL_KEYWORDS if name in dataset)
    bits = int(dataset.BitsAllocated)
    samples = int(dataset.get("SamplesPerPixel") or 1)
    if "422" in str(dataset.get("PhotometricInterpretation") or ""):
        samples = 2
    pixels = int(dataset.Rows) * int(dataset.Columns) * frame_count(dataset)
    wanted, found = (pixels * samples * bits + 7) // 8, len(dataset[name].value or b"")
    if found < wanted:
        message = f"the file holds {found} of {wanted} bytes of pixels: copy it again"
        raise CaseError(case_id, "truncated", message)


def damaged(error: BaseException, case_id: str) -> CaseError:
    """The refusal that stands for any error of a reader on damaged bytes."""
    reason = type(error).__name__
    message = f"the DICOM file is damaged or unusual and cannot be decoded ({reason})"
    return CaseError(case_id, "corrupt", message)
