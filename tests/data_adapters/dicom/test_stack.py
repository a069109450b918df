"""Whole stacks: slice by slice equal to pydicom, compressed or not, and every way to fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from data_adapters.dicom.slice_bytes import UnusualError, read_plane
from data_adapters.dicom.stack import read_stack
from data_adapters.errors import CaseError
from tests.data_adapters.dicom.samples import image, put, save, stack_of


def _series(
    folder: Path, count: int = 6, syntax: UID | None = None, **values: Any
) -> tuple[list[Path], NDArray[Any], NDArray[Any]]:
    """Slices with a rescale of their own: paths, stored values, values in modality units."""
    rng = np.random.default_rng(0)
    stored = rng.integers(-1000, 3000, (count, 40, 33)).astype(np.int16)
    paths, units = [], []
    for z, pixels in enumerate(stored):
        slope, intercept = (1 + 0.37 * z, -5.5 * z) if z % 2 else (1, -z)
        rescale = {"RescaleSlope": f"{slope:.6g}", "RescaleIntercept": f"{intercept:.6g}"}
        place = {"ImagePositionPatient": [0, 0, z], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
        order = ">" if syntax == ExplicitVRBigEndian else "<"
        data = image(pixels.astype(f"{order}i2"), Modality="MR", **rescale, **place, **values)
        if syntax in (JPEG2000Lossless, RLELossless):
            data.compress(syntax, encoding_plugin="pylibjpeg", generate_instance_uid=False)
        elif syntax is not None:
            data.file_meta.TransferSyntaxUID = syntax
        paths.append(save(data, folder / f"{z}.dcm"))
        units.append(pixels * float(rescale["RescaleSlope"]) + float(rescale["RescaleIntercept"]))
    return paths, stored, np.array(units)


SYNTAXES = (None, ImplicitVRLittleEndian, ExplicitVRBigEndian, JPEG2000Lossless, RLELossless)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_each_slice_has_its_own_rescale(tmp_path: Path, syntax: UID | None) -> None:
    paths, _, units = _series(tmp_path, syntax=syntax)
    read = read_stack(stack_of(paths), case_id="c1")
    assert read.image.dtype == np.float32
    assert read.padding is None
    np.testing.assert_array_equal(read.image[..., 0], units.astype(np.float32))


def test_it_equals_simpleitk(tmp_path: Path) -> None:
    paths, _, _ = _series(tmp_path, count=1, PixelSpacing=[0.5, 0.7])
    read = read_stack(stack_of(paths, "picture"), case_id="c1")
    other = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(paths[0])))
    np.testing.assert_allclose(read.image[..., 0], other[0], rtol=1e-6)
    assert read.geometry is not None
    assert read.geometry.spacing == (0.5, 0.7)


@pytest.mark.parametrize("syntax", [None, RLELossless])
def test_padding_is_left_out_of_the_values(tmp_path: Path, syntax: UID | None) -> None:
    paths, stored, units = _series(tmp_path, PixelPaddingValue=0)
    for path in paths:
        data = pydicom.dcmread(path)
        put(data, "PixelPaddingValue", "SS", -900)
        put(data, "PixelPaddingRangeLimit", "SS", -1000)
        if syntax is not None:
            data.compress(syntax, encoding_plugin="pylibjpeg", generate_instance_uid=False)
        data.save_as(path)
    read = read_stack(stack_of(paths), case_id="c1")
    padding = (stored >= -1000) & (stored <= -900)
    np.testing.assert_array_equal(read.padding, padding)
    assert (read.image[..., 0][padding] == units[~padding].min().astype(np.float32)).all()
    np.testing.assert_array_equal(read.image[..., 0][~padding], units[~padding].astype("f4"))


def test_colour_slices(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 36, 34, 3), dtype=np.uint8)
    paths = [save(image(p), tmp_path / f"{i}.dcm") for i, p in enumerate(pixels)]
    read = read_stack(stack_of(paths), case_id="c1")
    assert read.image.dtype == np.uint8
    np.testing.assert_array_equal(read.image, pixels)


def test_slices_that_do_not_fit_each_other(tmp_path: Path) -> None:
    paths, _, _ = _series(tmp_path)
    odd = image(np.zeros((33, 40), np.int16), Modality="MR")
    for syntax in (None, RLELossless):
        if syntax is not None:
            odd.compress(syntax, encoding_plugin="pylibjpeg", generate_instance_uid=False)
        save(odd, paths[1])
        with pytest.raises(CaseError) as caught:
            read_stack(stack_of(paths), case_id="c1")
        assert caught.value.kind == "mixed-sizes"


def test_every_failure_is_a_case_error(tmp_path: Path) -> None:
    paths, _, _ = _series(tmp_path / "Mustermann", count=3)
    whole = paths[2].read_bytes()
    stack = stack_of(paths)
    for data, kind in (
        (b"", "zero-byte"),
        (whole[:-700], "truncated"),
        (whole[:200], "truncated"),
        (b"x" * 500, "not-dicom"),
    ):
        paths[2].write_bytes(data)
        with pytest.raises(CaseError) as caught:
            read_stack(stack, case_id="c1")
        assert caught.value.kind == kind
        assert "Mustermann" not in str(caught.value)
    paths[2].unlink()
    with pytest.raises(CaseError) as caught:
        read_stack(stack, case_id="c1")
    assert caught.value.kind == "missing"
    with pytest.raises(CaseError) as caught:
        read_stack(stack_of(paths[:2]), case_id="c1", max_pixels=100)
    assert caught.value.kind == "bomb"


def _nested(explicit: bool) -> Dataset:
    inner = Dataset()
    inner.CodeValue, inner.CodingSchemeDesignator = "1", "DCM"
    outer = Dataset()
    outer.ConceptNameCodeSequence = [inner]
    outer["ConceptNameCodeSequence"].is_undefined_length = explicit
    return outer


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian])
def test_the_walk_skips_sequences(tmp_path: Path, undefined: bool, syntax: UID | None) -> None:
    pixels = np.random.default_rng(0).integers(0, 99, (4, 5)).astype(np.uint16)
    data = image(pixels, Modality="CT", RescaleSlope="2", RescaleIntercept="-1024")
    data.ProcedureCodeSequence = [_nested(undefined), _nested(not undefined)]
    data["ProcedureCodeSequence"].is_undefined_length = undefined
    for one in data.ProcedureCodeSequence:
        one.is_undefined_length_sequence_item = undefined
    if syntax is not None:
        data.file_meta.TransferSyntaxUID = syntax
    content = save(data, tmp_path / "a.dcm").read_bytes()
    plane = read_plane(content, ct=True)
    assert plane.shape == (4, 5)
    assert (plane.units.slope, plane.units.intercept, plane.units.ct) == (2.0, -1024.0, True)
    found = np.frombuffer(content, "<u2", 20, plane.start).reshape(4, 5)
    np.testing.assert_array_equal(found, pixels)


def test_the_walk_leaves_the_unusual_to_pydicom(tmp_path: Path) -> None:
    grey = np.zeros((4, 5), np.uint16)
    several = image(np.zeros((3, 4, 5), np.uint16))
    colour = image(np.zeros((4, 5, 3), np.uint8))
    table = image(grey)
    table.ModalityLUTSequence = [Dataset()]
    flat = image(grey, RescaleSlope=0)
    big = image(grey)
    big.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    for data in (several, colour, table, flat, big):
        with pytest.raises(UnusualError):
            read_plane(save(data, tmp_path / "a.dcm").read_bytes(), ct=False)
    plain = save(image(grey), tmp_path / "a.dcm").read_bytes()
    for cut in (0, 100, 140, 300, plain.index(b"\xe0\x7f\x10\x00") + 4):
        with pytest.raises(UnusualError):
            read_plane(plain[:cut], ct=False)


@pytest.mark.filterwarnings("ignore")
def test_the_walk_agrees_with_pydicom_on_damaged_headers(tmp_path: Path) -> None:
    """Where the quick way reads a damaged file at all, it reads what pydicom reads."""
    paths, _, _ = _series(tmp_path, count=1)
    whole = np.frombuffer(paths[0].read_bytes(), np.uint8)
    rng, quick = np.random.default_rng(3), 0
    for _ in range(250):
        data = whole.copy()
        places = rng.integers(132, 900, 2)
        data[places] = rng.integers(0, 256, 2)
        paths[0].write_bytes(data.tobytes())
        try:
            plane = read_plane(data.tobytes(), ct=False)
        except UnusualError:
            plane = None
        try:
            read = read_stack(stack_of(paths), case_id="c1")
        except CaseError:
            continue
        assert np.isfinite(read.image).all()
        if plane is not None:
            quick += 1
            assert plane.shape == read.image.shape[1:3]
    assert quick > 50


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (("NO", "NO", "NO"), "NO"),
        (("NO", "yes", "NO"), "YES"),
        (("NO", "", "NO"), None),
        (("NO", "ZZ", "NO"), None),
    ],
)
def test_nothing_is_burned_in_only_where_every_slice_says_so(
    said: tuple[str, ...], kept: str | None, tmp_path: Path
) -> None:
    paths, _, _ = _series(tmp_path, 3, BurnedInAnnotation="NO")
    stack = stack_of(paths)
    told = [replace(one, burned_in=s) for one, s in zip(stack.instances, said, strict=True)]
    read = read_stack(replace(stack, instances=tuple(told)), case_id="c1")
    assert read.meta.get("burned_in") == kept
