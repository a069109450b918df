"""From stored values to modality units, exactly, with padding apart."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset

from data_adapters.dicom.values import Units, fill, replace_padding, units_of
from tests.data_adapters.dicom.samples import image, put


@pytest.mark.parametrize("kind", ["uint8", "int16", "uint16", "int32", "uint32"])
def test_values_are_rounded_once(kind: str) -> None:
    rng = np.random.default_rng(2)
    info = np.iinfo(kind)
    stored = rng.integers(info.min, info.max, (40, 30), dtype=kind, endpoint=True)
    for slope, intercept in [(1, 0), (1, -1024), (2, 3), (0.1, -7.3), (-1, 5), (1e-3, 1e6)]:
        out = np.empty(stored.shape, np.float32)
        assert fill(stored, Units(float(slope), float(intercept)), out) is None
        exact = stored.astype(np.longdouble) * np.longdouble(slope) + np.longdouble(intercept)
        np.testing.assert_allclose(out, exact.astype(np.float64), rtol=6.0e-8, atol=1e-9 * 2**20)


def test_declared_padding_and_what_no_tissue_has() -> None:
    stored = np.array([[-3000, -2000, -1999, -1025], [-500, 0, 10, 32767]], np.int16)
    out = np.empty(stored.shape, np.float32)
    assert fill(stored, Units(padding=(-2000, -2000)), out).tolist() == [  # type: ignore[union-attr]
        [False, True, False, False],
        [False] * 4,
    ]
    mask = fill(stored, Units(ct=True), out)
    assert mask is not None
    np.testing.assert_array_equal(mask, stored <= -1500)
    mask = fill(stored, Units(slope=-1.0, ct=True), out)
    assert mask is not None
    np.testing.assert_array_equal(mask, -stored.astype(int) <= -1500)
    assert fill(np.abs(stored), Units(padding=(-9, -5), ct=True), out) is None


@pytest.mark.parametrize("inverted", [False, True])
def test_padding_is_filled_with_what_is_shown_darkest(inverted: bool) -> None:
    values = np.array([1.0, 5.0, 9.0, 400.0], np.float32)
    padding = np.array([False, False, False, True])
    air = values.copy()
    replace_padding(air, padding, ct=True, inverted=inverted)
    assert air.tolist() == [1, 5, 9, -1024]
    replace_padding(values, padding, ct=False, inverted=inverted)
    assert values[3] == (9 if inverted else 1)
    replace_padding(values, np.ones(4, bool), ct=False, inverted=inverted)
    assert values.tolist() == [0, 0, 0, 0]


def test_where_the_rescale_comes_from() -> None:
    data = image(np.zeros((2, 2), np.uint16), RescaleSlope="2", RescaleIntercept="-5")
    assert units_of(data) == Units(2.0, -5.0)
    assert units_of(data).span() == (-5.0, 2 * 65535 - 5.0)
    own = Dataset()
    own.RescaleSlope, own.RescaleIntercept = "3", ""
    assert units_of(data, rescale=own) == Units(3.0, 0.0)
    dose = image(np.zeros((2, 2), np.uint16), Modality="RTDOSE", DoseGridScaling="0.5")
    assert units_of(dose).slope == 0.5
    data.RescaleSlope = 0
    with pytest.raises(ValueError, match="slope"):
        units_of(data)


@pytest.mark.parametrize("declared", [-1.0, float("nan")])
def test_floating_padding(declared: float) -> None:
    values = np.array([[0.5, -1.0], [np.nan if declared != declared else 2.0, 3.0]], np.float32)
    data = image(np.zeros((2, 2), np.uint16), FloatPixelPaddingValue=declared)
    del data.PixelData
    data.FloatPixelData = values.tobytes()
    out = np.empty((2, 2), np.float32)
    mask = fill(values, units_of(data), out)
    assert mask is not None
    assert (
        mask.tolist()
        == ([[False, True], [False, False]], [[False] * 2, [True, False]])[declared != declared]
    )


def test_padding_range_in_either_order_and_sign() -> None:
    data = image(np.zeros((2, 2), np.int16))
    for first, last in ((-2000, -1800), (-1800, -2000), (63536, 63736)):
        vr = "US" if first > 0 else "SS"
        put(data, "PixelPaddingValue", vr, first)
        put(data, "PixelPaddingRangeLimit", vr, last)
        assert units_of(data).padding == (-2000, -1800)


def test_padding_of_signed_values_of_few_bits() -> None:
    data = image(np.zeros((2, 2), np.int16), BitsStored=12, HighBit=11)
    for vr, value in (("SS", -1400), ("US", 65536 - 1400), ("US", 4096 - 1400)):
        put(data, "PixelPaddingValue", vr, value)
        assert units_of(data).padding == (-1400, -1400)
