"""Colour pixels to RGB: palettes and the luminance-chrominance spaces of PS3.3 C.7.6.3.1.2."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, convert_color_space

Array = NDArray[Any]

_DIRECT = frozenset({"RGB", "YBR_ICT", "YBR_RCT"})
"""What is RGB once the decoder has undone its own transform."""
KNOWN = _DIRECT | {"YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420"}


def to_rgb(stored: Array, photometric: str) -> Array:
    """RGB of decoded samples.

    Args:
        stored: (..., 3) unsigned integers; samples subsampled in the file are spread out already.
        photometric: Photometric Interpretation of these samples.

    Returns:
        (..., 3) uint8 or uint16; of 32-bit samples the upper 16 bits.

    Raises:
        ValueError: The photometric interpretation is none that is known, or the samples are not
            three unsigned integers.
    """
    if stored.shape[-1:] != (3,) or stored.dtype.kind != "u":
        raise ValueError("colour samples of an unknown kind")
    if photometric not in KNOWN:
        raise ValueError("photometric interpretation that is not read")
    if photometric in ("YBR_FULL", "YBR_FULL_422"):
        stored = _full(stored)
    elif photometric not in _DIRECT:
        stored = _partial(stored)
    if stored.dtype.itemsize > 2:
        stored = (stored >> np.uint32(16)).astype(np.uint16)
    return np.ascontiguousarray(stored)


def _full(stored: Array) -> Array:
    """Full-range YCbCr (CCIR 601-2): 8 bits through pydicom, more by the same formula."""
    if stored.dtype == np.uint8:
        return convert_color_space(stored, "YBR_FULL", "RGB")
    top = float(np.iinfo(stored.dtype).max)
    y, cb, cr = np.moveaxis(stored.astype(np.float64), -1, 0)
    cb, cr = cb - (top + 1) / 2, cr - (top + 1) / 2
    return _rounded(y, cb, cr, stored.dtype, (1.402, 0.344136, 0.714136, 1.772))


def _partial(stored: Array) -> Array:
    """Studio-range YCbCr: black is 16 and white 235 of 255 (PS3.3 C.7.6.3.1.2)."""
    unit = (float(np.iinfo(stored.dtype).max) + 1) / 256
    y, cb, cr = np.moveaxis(stored.astype(np.float64), -1, 0)
    y, cb, cr = (y - 16 * unit) * (255 / 219), cb - 128 * unit, cr - 128 * unit
    spread = 255 / 224
    factors = tuple(f * spread for f in (1.402, 0.344136, 0.714136, 1.772))
    return _rounded(y, cb, cr, stored.dtype, factors)


def _rounded(y: Array, cb: Array, cr: Array, kind: Any, factors: tuple[float, ...]) -> Array:
    red, green_cb, green_cr, blue = factors
    rgb = np.stack([y + red * cr, y - green_cb * cb - green_cr * cr, y + blue * cb], axis=-1)
    return np.clip(np.rint(rgb), 0, np.iinfo(kind).max).astype(kind)


def from_palette(stored: Array, dataset: Dataset) -> Array:
    """Colours of palette indices.

    Args:
        stored: (...) integer indices.
        dataset: Holds the Palette Color Lookup Tables, plain or segmented.

    Returns:
        (..., 3) uint8; of 16-bit tables the upper 8 bits, unless they use the lower ones only.

    Raises:
        ValueError: The tables are missing or broken.
    """
    tables = _little(dataset)
    rgb = apply_color_lut(stored, tables)[..., :3]
    if rgb.dtype == np.uint16:
        rgb = (rgb if _uses_lower_bits(tables) else rgb >> 8).astype(np.uint8)
    if rgb.dtype != np.uint8 or rgb.shape[-1] != 3:
        raise ValueError("palette of an unknown kind")
    return np.ascontiguousarray(rgb)


def _little(dataset: Dataset) -> Dataset:
    """The image description with plain tables in little endian, as pydicom takes them to be."""
    if dataset.original_encoding[1] is not False or "RedPaletteColorLookupTableData" not in dataset:
        return dataset
    tables = dataset.group_dataset(0x0028)
    for element in list(tables):
        if element.VR == "OW" and isinstance(element.value, bytes) and len(element.value) % 2 == 0:
            swapped = np.frombuffer(element.value, ">u2").astype("<u2").tobytes()
            tables[element.tag] = DataElement(element.tag, "OW", swapped)
    return tables


def _uses_lower_bits(tables: Dataset) -> bool:
    """Whether tables declared as 16 bits hold 8-bit entries, as some makers write them."""
    found = [tables.get(f"{c}PaletteColorLookupTableData") for c in ("Red", "Green", "Blue")]
    whole = [np.frombuffer(t, "<u2") for t in found if t is not None and len(t) % 2 == 0]
    return len(whole) == 3 and all(w.size > 0 and int(w.max()) <= 255 for w in whole)
