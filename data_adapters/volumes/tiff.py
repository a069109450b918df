"""Multi-page TIFF as a stack: which axes the pages run through, and how large a voxel is.

OME-TIFF and ImageJ say so in the first page's description; any other file is a stack of slices.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from data_adapters.case import Geometry
from data_adapters.errors import CaseError
from data_adapters.volumes.header import MAX_BYTES, MAX_CHANNELS

if TYPE_CHECKING:
    from PIL import Image

    from data_adapters.pictures import Picture

_DESCRIPTION, _X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 270, 282, 283, 296
# Millimetres in a unit of OME or ImageJ; others, such as pixels, say nothing.
_MM = {
    "m": 1e3, "cm": 10.0, "mm": 1.0, "µm": 1e-3, "μm": 1e-3, "um": 1e-3, "\\u00b5m": 1e-3,
    "micron": 1e-3, "microns": 1e-3, "nm": 1e-6, "å": 1e-7, "inch": 25.4, "in": 25.4,
}  # fmt: skip


@dataclass(frozen=True)
class Pages:
    """What the pages of a file are.

    Attributes:
        order: Axes that the pages run through, fastest first, of `Z`, `C` and `T`.
        sizes: Size of each of them.
        spacing: (slice, row, column) in mm; None where the file does not say.
    """

    order: str
    sizes: dict[str, int]
    spacing: tuple[float, float, float] | None = None


def tiff_stack(image: Image.Image, notes: Sequence[str], case_id: str) -> Picture:
    """Read every page of an open TIFF file.

    Args:
        image: A TIFF file of several pages, opened by Pillow.
        notes: Slugs so far.
        case_id: Pseudonymous id that errors carry.

    Returns:
        The stack: `image` (D, H, W, C), `geometry` with a spacing and no directions where the file
        gives voxel sizes.

    Raises:
        CaseError: `animated` (pages of unlike size or kind), `time-series`, `truncated` (fewer
            pages than are described), `pixel-type` or `bomb`.
    """
    from data_adapters.pictures import Picture, decode_page, is_deep_colour

    count = int(getattr(image, "n_frames", 1))
    image.seek(0)
    pages = describe_pages(_tags(image), count, case_id)
    size, mode, found = image.size, image.mode, list(notes)
    if size[0] * size[1] * count * 4 > MAX_BYTES:
        message = f"the header declares {count} pages of {size[0]} x {size[1]} pixels"
        raise CaseError(case_id, "bomb", message)
    slices = []
    for page in range(count):
        image.seek(page)
        if image.size != size or image.mode != mode:
            message = f"holds {count} pages of unlike size or kind; a stack has pages of one kind"
            raise CaseError(case_id, "animated", message)
        if is_deep_colour(image):
            message = "colour of 16 bits is not read from several pages: save the channels apart"
            raise CaseError(case_id, "pixel-type", message)
        image.load()
        slices.append(decode_page(image, case_id, found))
    stack = _arranged(slices, pages, case_id)
    if stack.dtype.kind == "f" and not bool(np.isfinite(stack).all()):
        raise CaseError(case_id, "not-finite", "the stack holds values that are not finite")
    geometry = None if pages.spacing is None else Geometry(pages.spacing)
    return Picture(stack, tuple(dict.fromkeys(found)), geometry=geometry, meta={"format": "tiff"})


def _arranged(slices: list[NDArray[Any]], pages: Pages, case_id: str) -> NDArray[Any]:
    """(D, H, W, C) from (H, W, samples) pages."""
    kinds = {page.dtype for page in slices}
    dtype = kinds.pop() if len(kinds) == 1 else np.dtype(np.float32)
    channels = pages.sizes["C"]
    samples = slices[0].shape[-1]
    if any(page.shape != slices[0].shape for page in slices):
        raise CaseError(case_id, "animated", "holds pages of unlike colour")
    if channels * samples > MAX_CHANNELS:
        raise CaseError(case_id, "time-series", f"holds {channels * samples} channels")
    flat = np.stack([page.astype(dtype, copy=False) for page in slices])
    sizes = [pages.sizes[axis] for axis in reversed(pages.order)]
    axes = list(reversed(pages.order))
    full = flat.reshape(*sizes, *flat.shape[1:])
    order = [axes.index("T"), axes.index("Z"), 3, 4, axes.index("C"), 5]
    turned = full.transpose(order)[0]
    return np.ascontiguousarray(turned.reshape(*turned.shape[:3], -1))


def describe_pages(tags: dict[int, Any], count: int, case_id: str) -> Pages:
    """What the first page's tags say about all pages.

    Args:
        tags: TIFF tags by number.
        count: How many pages there are.
        case_id: Pseudonymous id that errors carry.

    Raises:
        CaseError: `time-series`, or `truncated` or `animated` where the number of pages is another.
    """
    # Pillow takes the bytes for Latin-1; OME-XML is UTF-8.
    text = str(tags.get(_DESCRIPTION, "")).encode("latin-1", "replace").decode("utf-8", "replace")
    if "<OME" in text[:2000]:
        pages = _ome(text, case_id)
    elif text.startswith("ImageJ="):
        pages = _imagej(text, tags)
    else:
        pages = Pages("CZT", {"C": 1, "Z": count, "T": 1})
    if pages.sizes["T"] != 1:
        message = f"holds {pages.sizes['T']} points in time: save each as its own stack"
        raise CaseError(case_id, "time-series", message)
    wanted = math.prod(pages.sizes.values())
    if wanted != count:
        kind = "truncated" if wanted > count else "animated"
        raise CaseError(case_id, kind, f"describes {wanted} pages and holds {count}")
    return pages


def _tags(image: Image.Image) -> dict[int, Any]:
    known = getattr(image, "tag_v2", {})
    wanted = (_DESCRIPTION, _X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT)
    return {tag: known[tag] for tag in wanted if tag in known}


def _ome(text: str, case_id: str) -> Pages:
    """Open Microscopy Environment's `Pixels` element (OME-XML, 2016-06)."""
    try:
        root = ElementTree.fromstring(text.encode("utf-8"))
    except ElementTree.ParseError:
        raise CaseError(case_id, "corrupt", "the OME description is damaged") from None
    found = [node for node in root.iter() if node.tag.rpartition("}")[2] == "Pixels"]
    if len(found) != 1:
        raise CaseError(case_id, "animated", f"describes {len(found)} images; a stack has one")
    pixels = found[0].attrib
    sizes = {axis: _count(pixels.get(f"Size{axis}", "1")) for axis in "CZT"}
    samples = sum(
        _count(node.attrib.get("SamplesPerPixel", "1"))
        for node in root.iter()
        if node.tag.rpartition("}")[2] == "Channel"
    )
    if samples == sizes["C"] and samples > 1 and _is_colour(root):
        sizes["C"] = 1  # the colours are the samples of one page
    order = pixels.get("DimensionOrder", "XYCZT")[2:]
    if sorted(order) != ["C", "T", "Z"] or min(sizes.values()) < 1:
        raise CaseError(case_id, "corrupt", "the OME description gives no order or sizes of axes")
    spacing = [
        _millimetres(pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        for axis in "ZYX"
    ]
    return Pages(order, sizes, _spacing(spacing))


def _is_colour(root: ElementTree.Element) -> bool:
    channels = [n for n in root.iter() if n.tag.rpartition("}")[2] == "Channel"]
    return len(channels) == 1


def _imagej(text: str, tags: dict[int, Any]) -> Pages:
    """ImageJ's description: lines `name=value`; pages run through channels first."""
    lines = (line.partition("=") for line in text.splitlines())
    said = {name.strip(): value.strip() for name, _, value in lines}
    sizes = {
        "C": _count(said.get("channels", "1")),
        "Z": _count(said.get("slices", "1")),
        "T": _count(said.get("frames", "1")),
    }
    if sizes == {"C": 1, "Z": 1, "T": 1}:
        sizes["Z"] = _count(said.get("images", "1"))
    unit = said.get("unit", "")
    across = [_inverse(tags.get(tag)) for tag in (_Y_RESOLUTION, _X_RESOLUTION)]
    sides = [_millimetres(value, unit) for value in (said.get("spacing"), *across)]
    return Pages("CZT", sizes, _spacing(sides))


def _count(text: str) -> int:
    return int(text) if re.fullmatch(r"\d{1,7}", text) else 0


def _inverse(value: Any) -> str | None:
    """Units per pixel, from pixels per unit."""
    try:
        ratio = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return repr(1 / ratio) if math.isfinite(ratio) and ratio > 0 else None


def _millimetres(value: str | None, unit: str) -> float | None:
    factor = _MM.get(unit.strip().lower())
    try:
        size = float(value) if value is not None else math.nan
    except ValueError:
        return None
    return size * factor if factor and math.isfinite(size) and size > 0 else None


def _spacing(sides: Sequence[float | None]) -> tuple[float, float, float] | None:
    """All three sizes, or none."""
    z, y, x = sides
    return None if z is None or y is None or x is None else (z, y, x)


def wide_values(image: Image.Image) -> NDArray[Any]:
    """Values of a grey picture beyond 8 bits, those of TIFF as the file means them.

    Pillow reads unsigned 32-bit samples as signed ones, and turns white-is-zero round at 8 bits
    only (TIFF 6.0, PhotometricInterpretation and SampleFormat).

    Args:
        image: A page in one of Pillow's modes `I`, `F` and `I;16`.

    Returns:
        (H, W).
    """
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", None)
    if tags is None or values.dtype.kind == "f":
        return values
    bits, signed = tags.get(258, (1,))[0], tags.get(339, (1,))[0] == 2
    if bits == 32 and not signed:
        values = values.astype(np.int32, copy=False).view(np.uint32)
    if tags.get(262) == 0 and not signed and bits in (16, 32):
        values = np.asarray((1 << bits) - 1 - values.astype(np.int64))
    return values
