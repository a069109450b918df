"""Colour to RGB: closed forms and other readers."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut

from data_adapters.dicom.colour import from_palette, to_rgb
from tests.data_adapters.dicom.samples import image, put


def test_full_range_is_that_of_pillow() -> None:
    ybr = np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    other = np.asarray(Image.fromarray(ybr, "YCbCr").convert("RGB"))
    for name in ("YBR_FULL", "YBR_FULL_422"):
        assert np.abs(to_rgb(ybr, name).astype(int) - other).max() <= 1
    deep = to_rgb(ybr.astype(np.uint16) << 8, "YBR_FULL")
    assert np.abs((deep / 257.0) - other).max() < 2


def test_studio_range_has_black_at_16_and_white_at_235() -> None:
    grey = np.array([[[16, 128, 128], [235, 128, 128], [126, 128, 128]]], np.uint8)
    assert to_rgb(grey, "YBR_PARTIAL_420")[0].tolist() == [[0] * 3, [255] * 3, [128] * 3]
    rgb = np.random.default_rng(1).integers(0, 256, (500, 3)) / 255.0
    to_ybr = np.array(
        [[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]]
    )
    ybr = np.rint(rgb @ to_ybr.T + [16, 128, 128]).astype(np.uint8)
    back = to_rgb(ybr[None], "YBR_PARTIAL_422")[0]
    assert np.abs(back - rgb * 255).max() <= 3


def test_wide_and_unknown_samples() -> None:
    wide = np.array([[[0, 1 << 16, 0xFFFFFFFF]]], np.uint32)
    assert to_rgb(wide, "RGB").tolist() == [[[0, 1, 65535]]]
    for samples, name in ((wide.astype(np.int16), "RGB"), (wide, "CMYK"), (wide[..., :2], "RGB")):
        with pytest.raises(ValueError, match=r"kind|photometric"):
            to_rgb(samples, name)


def _palette(table: np.ndarray, bits: int) -> Dataset:
    data = image(np.zeros((2, 2), np.uint8), PhotometricInterpretation="PALETTE COLOR")
    for shift, name in enumerate(("Red", "Green", "Blue")):
        put(data, f"{name}PaletteColorLookupTableDescriptor", "US", [len(table), 0, bits])
        put(data, f"{name}PaletteColorLookupTableData", "OW", np.roll(table, shift).tobytes())
    return data


def test_palettes_of_eight_bits_written_as_sixteen() -> None:
    table = np.random.default_rng(0).permutation(256).astype("<u2")
    indices = np.random.default_rng(1).integers(0, 256, (9, 8), dtype=np.uint8)
    low = from_palette(indices, _palette(table, 16))
    assert low.dtype == np.uint8
    for channel in range(3):
        np.testing.assert_array_equal(low[..., channel], np.roll(table, channel)[indices])
    high = from_palette(indices, _palette(table << 8, 16))
    np.testing.assert_array_equal(high, low)
    np.testing.assert_array_equal(high, apply_color_lut(indices, _palette(table << 8, 16)) >> 8)
