"""Display as an explicit step, against pydicom and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import apply_voi_lut, apply_windowing

from data_adapters.case import Case, Display
from data_adapters.dicom.display import (
    apply_display,
    apply_window,
    bright_is_dense,
    read_display,
)
from data_adapters.errors import DataError
from tests.data_adapters.dicom.samples import image, item, put


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_are_those_of_pydicom(function: str) -> None:
    stored = np.random.default_rng(0).integers(-1024, 3071, (30, 20)).astype(np.int16)
    data = image(stored, VOILUTFunction=function, RescaleSlope=1, RescaleIntercept=0)
    for centre, width in ((40, 400), (300, 1500.5), (-600, 1), (12.5, 2)):
        data.WindowCenter, data.WindowWidth = centre, width
        other = apply_windowing(stored.astype(np.float64), data)
        other = (other + 32768) / 65535  # pydicom gives the range of the stored type
        display = read_display(data)
        assert display == Display(((centre, width),), function)
        shown = apply_display(stored[..., None].astype(np.float32), display)[..., 0]
        np.testing.assert_allclose(shown, other, atol=2e-5)


def test_a_table_is_that_of_pydicom() -> None:
    stored = np.random.default_rng(1).integers(0, 1024, (30, 20)).astype(np.uint16)
    data = image(stored)
    outputs = (np.sqrt(np.arange(700)) * 150).astype(int).tolist()
    table = Dataset()
    put(table, "LUTDescriptor", "US", [700, 100, 12])
    put(table, "LUTData", "US", outputs)
    data.VOILUTSequence = [table]
    display = read_display(data)
    assert display.lut_bits == 12
    other = apply_voi_lut(stored, data) / 4095
    np.testing.assert_allclose(apply_display(stored[..., None], display)[..., 0], other, atol=1e-6)
    windowed = Display(((500.0, 100.0),), lut=display.lut, lut_bits=12)
    table_first = apply_display(stored[..., None], windowed, window=None)[..., 0]
    np.testing.assert_allclose(table_first, other, atol=1e-6)
    window_first = apply_display(stored[..., None], windowed)[..., 0]
    np.testing.assert_allclose(window_first, apply_window(stored, 500, 100), atol=1e-6)


def test_polarity_comes_after_the_window_and_padding_is_black() -> None:
    values = np.array([[[0.0]], [[100.0]], [[200.0]]], np.float32)
    plain = Display(((100.0, 100.0),), "LINEAR_EXACT")
    inverse = Display(((100.0, 100.0),), "LINEAR_EXACT", inverted=True)
    assert apply_display(values, plain).ravel().tolist() == [0, 0.5, 1]
    assert apply_display(values, inverse).ravel().tolist() == [1, 0.5, 0]
    padding = np.array([[True], [False], [False]])
    assert apply_display(values, inverse, padding=padding).ravel().tolist() == [0, 0.5, 0]
    bare = apply_display(values, Display(), padding=padding).ravel()
    np.testing.assert_allclose(bare, [0, 0, 1])
    colour = np.array([[[0, 51, 255]]], np.uint8)
    np.testing.assert_allclose(apply_display(colour, Display()).ravel(), [0, 0.2, 1], atol=1e-6)


def test_windows_that_cannot_be_are_refused_or_passed_over() -> None:
    data = image(np.zeros((2, 2), np.int16), WindowCenter=[40, 50], WindowWidth=[0.5, 80])
    assert read_display(data).windows == ((50.0, 80.0),)
    data.VOILUTFunction = "sigmoid"
    assert read_display(data).function == "SIGMOID"
    for function, width in (("LINEAR", 0.5), ("SIGMOID", 0.0), ("CUBIC", 5.0)):
        with pytest.raises(DataError):
            apply_window(np.zeros(2), 0.0, width, function=function)


@pytest.mark.parametrize("shape", ["IDENTITY", "INVERSE"])
def test_only_projections_are_turned_round(shape: str) -> None:
    data = image(np.zeros((2, 2), np.uint16), PresentationLUTShape=shape, BitsStored=12)
    display = read_display(data, span=(0.0, 4095.0))
    assert display.inverted == (shape == "INVERSE")
    values = np.array([[[0.0], [4000.0]]], np.float32)
    film = Case(values, "c1", display=display, meta={"modality": "DX"})
    scan = Case(values, "c1", display=display, meta={"modality": "PT"})
    turned = [4095, 95] if shape == "INVERSE" else [0, 4000]
    assert bright_is_dense(film).ravel().tolist() == turned
    assert bright_is_dense(scan) is values
    narrow = Case(values, "c1", display=Display(inverted=True), meta={"modality": "DX"})
    assert bright_is_dense(narrow).ravel().tolist() == [4000, 0]


def test_the_frame_item_is_read_like_a_data_set() -> None:
    voi = item(WindowCenter=10, WindowWidth=20)[0]
    assert read_display(voi).windows == ((10.0, 20.0),)
