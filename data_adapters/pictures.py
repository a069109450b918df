"""Reading one picture file into an array, whatever its kind, or saying why not."""

from __future__ import annotations

import io
import stat
import struct
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from data_adapters.case import Display, Geometry
from data_adapters.errors import CaseError
from data_adapters.isolation import isolated
from data_adapters.volumes.names import HEAD_BYTES, is_volume_name, volume_format
from data_adapters.volumes.tiff import tiff_stack, wide_values

MAX_PIXELS = 64 * 1024 * 1024
MAX_FILE_BYTES = 1024 * 1024 * 1024
DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ".ima"})

_SUFFIXES = {
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "JPEG2000": (".jp2", ".j2k", ".jpf", ".jpx", ".j2c"),
    "PNG": (".png", ".apng"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
_FORMATS = tuple(_SUFFIXES)
PICTURE_SUFFIXES = frozenset(s for group in _SUFFIXES.values() for s in group) | DICOM_SUFFIXES
_MAGIC = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"GIF8",
    b"II*\0",
    b"MM\0*",
    b"\0\0\0\x0cjP  ",
    b"\xff\x4f\xff\x51",
)
_FRAGILE = (b"II", b"MM", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")
# Warnings of Pillow quote what they dislike.
warnings.filterwarnings("ignore", module=r"PIL\.")
# What Pillow's decoders raise on damaged files, beside OSError.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture or volume as an array, with what had to be put right on the way.

    Attributes:
        image: (H, W, C) with C = 1 or 3, or (D, H, W, C) of a volume; uint8, uint16 or float32;
            the file's own values.
        notes: Short slugs: `mislabelled`, `cmyk`, `alpha`, `palette`, `orientation`, and those of
            `data_adapters.volumes.read.Volume`.
        padding: Boolean, without the channel axis: replaced pixels outside the measured field;
            DICOM and volumes only.
        display: How the file asks to be shown; DICOM only.
        geometry: Position in the patient; DICOM and volumes only.
        meta: Facts about the study that name nobody; DICOM only.
    """

    image: np.ndarray
    notes: tuple[str, ...] = ()
    padding: np.ndarray | None = None
    display: Display = field(default_factory=Display)
    geometry: Geometry | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


def is_dicom(head: bytes) -> bool:
    """Whether the first 132 bytes of a file carry the mark of DICOM (PS3.10, 7.1)."""
    return head[128:132] == b"DICM"


def looks_like_picture(head: bytes) -> bool:
    """Whether the first 352 bytes of a file begin like a format read here."""
    if volume_format(head) or is_dicom(head) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return True
    bitmap = head[:2] == b"BM" and head[6:10] == bytes(4)
    return bitmap or head.startswith(_MAGIC)


def read_picture(path: Path, *, case_id: str, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The array alone of `read_picture_with_notes`: (H, W, C), the file's own values."""
    return read_picture_with_notes(path, case_id=case_id, max_pixels=max_pixels).image


def read_picture_with_notes(path: Path, *, case_id: str, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read one picture, volume or single-frame DICOM file and say what had to be put right.

    The content decides, not the extension. CMYK becomes RGB, a palette its colours (or one
    channel when they are all grey), transparency is composited over black (dropped when the
    picture is opaque), EXIF orientation is applied, 16 bits stay 16 bits, and a TIFF file of
    several pages is a stack (D, H, W, C).

    Args:
        path: The file.
        case_id: Pseudonymous id that errors carry.
        max_pixels: Most pixels that a picture's header may declare (DICOM has its own limit).

    Returns:
        The picture.

    Raises:
        CaseError: With `kind` one of `missing`, `not-a-file`, `unreadable`, `zero-byte`,
            `too-large`, `bomb`, `not-a-picture`, `animated`, `truncated`, `corrupt`,
            `pixel-type`, `not-finite`, or what the readers of DICOM and volumes give.
    """
    if is_volume_name(path):
        return _read_volume(path, case_id)
    data = _read_bytes(path, case_id)
    if volume_format(data[:HEAD_BYTES]):
        return _read_volume(path, case_id, "mislabelled")
    suffix = path.suffix.lower()
    dicom = is_dicom(data[:132])
    if dicom or (suffix in DICOM_SUFFIXES and not looks_like_picture(data[:132])):
        return _read_dicom(path, case_id)
    return picture_of(data, suffix, case_id=case_id, max_pixels=max_pixels)


def picture_of(
    data: bytes, suffix: str = "", *, case_id: str, max_pixels: int = MAX_PIXELS
) -> Picture:
    """As `read_picture_with_notes`, of a picture file in memory; no DICOM and no volume."""
    if _is_fragile(data):
        apart: Picture = isolated(
            f"{__name__}:decode_picture", data, suffix, case_id=case_id, max_pixels=max_pixels
        )
        return apart
    return decode_picture(data, suffix, case_id=case_id, max_pixels=max_pixels)


def _is_fragile(data: bytes) -> bool:
    """Whether to decode in a worker process: TIFF, JPEG 2000 and WebP.

    It costs up to a millisecond. PNG, JPEG, GIF, BMP and PPM are decoded here: thousands of small
    ones are usual, and none damaged has harmed their decoders (`benchmarks/mutated_inputs.py`).
    """
    return data.startswith(_FRAGILE) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


def decode_picture(data: bytes, suffix: str, *, case_id: str, max_pixels: int) -> Picture:
    """Decode the content of a picture file in this process; `read_picture_with_notes` says more."""
    image = _open(data, case_id)
    _check_size(image, case_id, max_pixels)
    notes = []
    if suffix not in _SUFFIXES.get(_family(image), (suffix,)) and suffix:
        notes.append("mislabelled")
    try:
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format == "TIFF":
            return tiff_stack(image, notes, case_id)
        if frames > 1 and image.format != "MPO":
            raise CaseError(case_id, "animated", f"holds {frames} frames: give one as a file")
        deep = is_deep_colour(image)
        grey = image.mode == "LA" or "LA;16B" in _raw_modes(image)
        _verify(data, image)
        image.load()
        if deep:
            array = _decode_deep(data, image, grey, notes)
        else:
            array = decode_page(image, case_id, notes)
    except CaseError:
        raise
    except Image.DecompressionBombError:
        raise CaseError(case_id, "bomb", "the picture unpacks to far too many pixels") from None
    except (*_DAMAGE, MemoryError) as error:
        raise _damage(data, error, case_id) from None
    if array.dtype.kind == "f" and not bool(np.isfinite(array).all()):
        raise CaseError(case_id, "not-finite", "the picture holds values that are not finite")
    return Picture(np.ascontiguousarray(array), tuple(notes))


def _read_dicom(path: Path, case_id: str) -> Picture:
    from data_adapters.dicom.image import read_dicom_image

    mislabelled = path.suffix.lower() not in DICOM_SUFFIXES | {""}
    frame = read_dicom_image(path, case_id=case_id)
    return Picture(
        frame.image,
        ("mislabelled",) if mislabelled else (),
        frame.padding,
        frame.display,
        frame.geometry,
        frame.meta,
    )


def _read_volume(path: Path, case_id: str, *notes: str) -> Picture:
    from data_adapters.volumes.read import read_volume

    volume = read_volume(path, case_id=case_id)
    return Picture(
        volume.image,
        (*notes, *volume.notes),
        volume.padding,
        geometry=volume.geometry,
        meta=volume.meta,
    )


def _read_bytes(path: Path, case_id: str) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise CaseError(case_id, "not-a-file", "the path is not a plain file")
        if status.st_size == 0:
            raise CaseError(case_id, "zero-byte", "the file is empty (0 bytes)")
        if status.st_size > MAX_FILE_BYTES:
            message = f"the file has {status.st_size} bytes; the limit is {MAX_FILE_BYTES}"
            raise CaseError(case_id, "too-large", message)
        return path.read_bytes()
    except FileNotFoundError:
        raise CaseError(case_id, "missing", "the file does not exist") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CaseError(case_id, "unreadable", f"the file cannot be read: {reason}") from None


def _open(data: bytes, case_id: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.DecompressionBombError:
        message = "the header declares far too many pixels (a decompression bomb?)"
        raise CaseError(case_id, "bomb", message) from None
    except UnidentifiedImageError:
        if looks_like_picture(data[:132]):
            raise _damage(data, ValueError("its header cannot be read"), case_id) from None
        message = "the content is no picture that can be read here"
        raise CaseError(case_id, "not-a-picture", message) from None
    except _DAMAGE as error:
        raise _damage(data, error, case_id) from None


def _family(image: Image.Image) -> str:
    """The format, a multi-picture JPEG counting as a JPEG."""
    return "JPEG" if image.format == "MPO" else str(image.format)


def _check_size(image: Image.Image, case_id: str, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        message = (
            f"the header declares {width} x {height} pixels; the limit is {max_pixels} "
            "(a decompression bomb?): make it smaller or cut tiles"
        )
        raise CaseError(case_id, "bomb", message)


def _verify(data: bytes, image: Image.Image) -> None:
    """Check what decoding alone would let pass: PNG checksums and end, JPEG end marker."""
    family = _family(image)
    if family == "PNG":
        Image.open(io.BytesIO(data), formats=("PNG",)).verify()
    elif family == "JPEG" and data.find(b"\xff\xd9", max(data.rfind(b"\xff\xda"), 0)) < 0:
        raise OSError("image file is truncated")


def _damage(data: bytes, error: BaseException, case_id: str) -> CaseError:
    text = str(error).lower()
    cut = data.startswith(b"\x89PNG") and b"IEND" not in data[-256:]
    cut = cut or (data.startswith(b"\xff\xd8") and b"\xff\xd9" not in data[-256:])
    if cut or "truncat" in text or isinstance(error, EOFError):
        return CaseError(case_id, "truncated", "the file ends before the picture does")
    if isinstance(error, MemoryError):
        return CaseError(case_id, "bomb", "the picture does not fit into memory")
    return CaseError(case_id, "corrupt", "the file is damaged and cannot be decoded")


def is_deep_colour(image: Image.Image) -> bool:
    """Whether a colour or grey-with-alpha picture has 16 bits a channel (Pillow gives 8)."""
    if image.mode not in ("RGB", "RGBA", "LA"):
        return False
    args = _raw_modes(image)
    if image.format == "PPM":
        return any(isinstance(arg, int) and arg > 255 for arg in args)
    return any(isinstance(arg, str) and ";16" in arg for arg in args)


def _raw_modes(image: Image.Image) -> list[Any]:
    """What Pillow tells its decoders about the stored pixels; known only before loading."""
    args: list[Any] = []
    for tile in getattr(image, "tile", []):
        args.extend(tile[3] if isinstance(tile[3], tuple) else (tile[3],))
    return args


def _decode_deep(data: bytes, image: Image.Image, grey: bool, notes: list[str]) -> np.ndarray:
    """Colour (or grey with alpha) at 16 bits a channel through OpenCV: (H, W, 1 or 3) uint16."""
    import cv2

    try:
        array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError("the picture cannot be decoded") from error
    if array is None or array.ndim != 3 or array.dtype != np.uint16:
        raise ValueError("the picture cannot be decoded")
    alpha = array[..., 3:] if array.shape[-1] == 4 else None
    colour = array[..., 2::-1]
    if grey:
        colour = colour[..., :1]
    colour = _over_black(colour, alpha, 65535, notes)
    if image.format == "TIFF":
        return colour  # OpenCV has turned it already
    return _turn(colour, image.getexif().get(ExifTags.Base.Orientation, 1), notes)


def decode_page(image: Image.Image, case_id: str, notes: list[str]) -> np.ndarray:
    """Everything else through Pillow: (H, W, 1 or 3)."""
    mode = image.mode
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        notes.append("orientation")
        image = ImageOps.exif_transpose(image)
    if mode in ("I", "F") or mode.startswith("I;16"):
        return _wide_values(wide_values(image))
    if mode == "L" and _is_signed(image):
        raise CaseError(case_id, "pixel-type", "signed 8-bit pixels are not read")
    if mode == "P":
        notes.append("palette")
    elif mode == "CMYK":
        notes.append("cmyk")
    elif mode == "LAB":
        raise CaseError(case_id, "pixel-type", "Lab colour is not read: save the file as RGB")
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        grey = mode in ("L", "LA", "La", "1")
        pixels = np.asarray(image.convert("RGBA"))
        colour = pixels[..., :1] if grey else pixels[..., :3]
        array = _over_black(colour, pixels[..., 3:], 255, notes)
    elif mode in ("1", "L"):
        array = np.asarray(image.convert("L"))[..., None]
    else:
        array = np.asarray(image.convert("RGB"))
    grey_palette = mode in ("P", "PA") and array.shape[-1] == 3
    if grey_palette and bool((array == array[..., :1]).all()):
        array = array[..., :1]
    return array


def _is_signed(image: Image.Image) -> bool:
    tags = getattr(image, "tag_v2", None)
    return tags is not None and 2 in (tags.get(339) or ())


def _over_black(
    colour: np.ndarray, alpha: np.ndarray | None, full: int, notes: list[str]
) -> np.ndarray:
    """Composite over black; an opaque picture stays as it is."""
    if alpha is None or bool((alpha == full).all()):
        return colour
    notes.append("alpha")
    product = colour.astype(np.uint64) * alpha.astype(np.uint64)
    return ((product + full // 2) // full).astype(colour.dtype)


def _wide_values(array: np.ndarray) -> np.ndarray:
    """Single-channel values beyond 8 bits: uint16 where they fit, else float32."""
    if array.dtype.kind == "f":
        return array.astype(np.float32)[..., None]
    fits = array.dtype.itemsize == 2 and array.dtype.kind == "u"
    if not fits and array.size:
        fits = int(array.min()) >= 0 and int(array.max()) <= 65535
    return array.astype(np.uint16 if fits else np.float32)[..., None]


def _turn(array: np.ndarray, orientation: Any, notes: list[str]) -> np.ndarray:
    """Apply an EXIF orientation (1-8) to (H, W, C)."""
    if orientation not in range(2, 9):
        return array
    notes.append("orientation")
    if orientation in (5, 7):
        array = array.transpose(1, 0, 2)
    quarter_turns = {3: 2, 6: -1, 7: 2, 8: 1}.get(orientation, 0)
    if quarter_turns:
        array = np.rot90(array, quarter_turns)
    if orientation == 2:
        array = array[:, ::-1]
    elif orientation == 4:
        array = array[::-1]
    return array
