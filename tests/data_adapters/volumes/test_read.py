"""Volumes against SimpleITK, an affine taken from the raw header, and damage of every kind."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_adapters.case import Geometry
from data_adapters.errors import CaseError
from data_adapters.geometry import affine, to_world
from data_adapters.volumes.read import read_volume, read_volume_header
from data_adapters.volumes.write import write_volume
from tests.data_adapters.grids import regular

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha")
OBLIQUE = Geometry(
    (3.0, 0.5, 0.7), (-12.0, 34.5, 7.25), ((0.0, 0.6, 0.8), (0.0, 0.8, -0.6), (-1.0, 0.0, 0.0))
)


def kind_of(path: Path, **options: bool) -> str:
    """The kind of the error that reading raises."""
    with pytest.raises(CaseError) as caught:
        read_volume(path, case_id="c0", **options)
    assert caught.value.case_id == "c0"
    assert path.name not in str(caught.value)
    return caught.value.kind


def same_as_sitk(path: Path) -> None:
    """Values and world coordinates equal SimpleITK's."""
    volume = read_volume(path, case_id="c0")
    image = SimpleITK.ReadImage(str(path))
    values = SimpleITK.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() == 1:
        values = values[..., None]
    np.testing.assert_array_equal(volume.image, values)
    shape = volume.image.shape[:3]
    index = np.random.default_rng(5).uniform(0, shape, (20, 3))
    theirs = [image.TransformContinuousIndexToPhysicalPoint(i[::-1].tolist()) for i in index]
    np.testing.assert_allclose(to_world(volume.geometry, index), theirs, rtol=0, atol=2e-4)


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(geometry=regular(), seed=st.integers(0, 2**31))
@settings(max_examples=25, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_is_written_comes_back_where_it_was(
    tmp_path: Path, suffix: str, geometry: Geometry, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(2, 7, 3).tolist())
    values = rng.normal(0, 900, shape).astype(np.float32)
    path = write_volume(tmp_path / f"v{suffix}", values, geometry)
    volume = read_volume(path, case_id="c0")
    np.testing.assert_array_equal(volume.image[..., 0], values)
    corners = rng.uniform(0, 6, (8, 3))
    np.testing.assert_allclose(
        to_world(volume.geometry, corners), to_world(geometry, corners), rtol=0, atol=2e-3
    )
    same_as_sitk(path)
    assert sorted(p.name for p in tmp_path.iterdir() if suffix in p.name[1:]) != []


@given(geometry=regular())
@settings(max_examples=25, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
def test_nifti_geometry_is_the_raw_header_affine(tmp_path: Path, geometry: Geometry) -> None:
    """The sform's rows, read here byte by byte, lead from (column, row, slice) to RAS."""
    path = write_volume(tmp_path / "v.nii", np.zeros((3, 4, 5), np.uint8), geometry)
    rows = np.frombuffer(path.read_bytes()[280:328], "<f4").reshape(3, 4).astype(np.float64)
    ras = affine(read_volume(path, case_id="c0").geometry, ras=True)
    np.testing.assert_allclose(ras[:3, [2, 1, 0, 3]], rows, rtol=0, atol=1e-3)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "float32", "f8"])
def test_types(tmp_path: Path, suffix: str, dtype: str) -> None:
    limits = np.iinfo(dtype) if dtype[0] in "iu" else np.finfo("f4")
    values = np.array([limits.min, 0, 1, 100, limits.max, 3], dtype).reshape(1, 2, 3)
    image = SimpleITK.GetImageFromArray(values)
    SimpleITK.WriteImage(image, str(tmp_path / f"v{suffix}"), suffix != ".nii")
    volume = read_volume(tmp_path / f"v{suffix}", case_id="c0")
    kept = values.dtype if dtype in ("uint8", "uint16") else np.dtype(np.float32)
    assert volume.image.dtype == kept
    np.testing.assert_array_equal(volume.image[..., 0], values.astype(kept))
    assert ("rounded" in volume.notes) == (dtype == "int32")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_components_become_channels(tmp_path: Path, suffix: str) -> None:
    values = np.random.default_rng(2).normal(size=(4, 5, 6, 3)).astype(np.float32)
    path = write_volume(tmp_path / f"v{suffix}", values, OBLIQUE)
    volume = read_volume(path, case_id="c0")
    np.testing.assert_array_equal(volume.image, values)
    same_as_sitk(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_fourth_axis_becomes_channels_and_a_long_one_is_refused(
    tmp_path: Path, suffix: str
) -> None:
    values = np.random.default_rng(3).integers(0, 99, (4, 2, 5, 6)).astype(np.uint16)
    SimpleITK.WriteImage(
        SimpleITK.GetImageFromArray(values, isVector=False), str(tmp_path / f"v{suffix}")
    )
    volume = read_volume(tmp_path / f"v{suffix}", case_id="c0")
    np.testing.assert_array_equal(volume.image, np.moveaxis(values, 0, -1))
    long = SimpleITK.GetImageFromArray(np.zeros((65, 1, 2, 2), np.uint8), isVector=False)
    SimpleITK.WriteImage(long, str(tmp_path / f"w{suffix}"))
    assert kind_of(tmp_path / f"w{suffix}") == "time-series"


def nifti(path: Path, values: np.ndarray, *patches: tuple[int, str, tuple[float, ...]]) -> Path:
    """A plain NIfTI file of SimpleITK's with header fields changed."""
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values), str(path))
    data = bytearray(path.read_bytes())
    for offset, form, fields in patches:
        struct.pack_into("<" + form, data, offset, *fields)
    path.write_bytes(data)
    return path


def test_colour(tmp_path: Path) -> None:
    values = np.random.default_rng(4).integers(0, 256, (2, 3, 4, 3)).astype(np.uint8)
    path = nifti(
        tmp_path / "v.nii", values.reshape(2, 3, 12), (40, "2h", (3, 4)), (70, "2h", (128, 24))
    )
    same_as_sitk(path)
    np.testing.assert_array_equal(read_volume(path, case_id="c0").image, values)
    opaque = np.concatenate([values, np.full_like(values[..., :1], 255)], axis=-1)
    nifti(path, opaque.reshape(2, 3, 16), (40, "2h", (3, 4)), (70, "2h", (2304, 32)))
    volume = read_volume(path, case_id="c0")
    np.testing.assert_array_equal(volume.image, values)
    assert volume.notes == ("alpha",)


def test_nifti_scale_is_applied_as_simpleitk_does(tmp_path: Path) -> None:
    values = np.arange(-12, 12, dtype=np.int16).reshape(2, 3, 4)
    path = nifti(tmp_path / "v.nii", values, (112, "2f", (0.3, -7.0)))
    volume = read_volume(path, case_id="c0")
    theirs = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    assert volume.image.dtype == np.float32
    np.testing.assert_allclose(volume.image[..., 0], theirs, rtol=1e-6)
    for slope in (0.0, np.nan):
        nifti(path, values, (112, "2f", (slope, 5.0)))
        np.testing.assert_array_equal(read_volume(path, case_id="c0").image[..., 0], values)


def test_big_endian_nifti(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    path = nifti(tmp_path / "v.nii", values)
    data = path.read_bytes()
    swapped = bytearray(data)
    for offset, form in ((0, "i"), (40, "8h"), (70, "2h"), (76, "8f"), (108, "3f"), (252, "2h"),
                         (256, "6f"), (280, "12f")):  # fmt: skip
        struct.pack_into(">" + form, swapped, offset, *struct.unpack_from("<" + form, data, offset))
    swapped[352:] = values.astype(">i2").tobytes()
    path.write_bytes(swapped)
    same_as_sitk(path)


ROWS = (0.0, 2.0, 0.0, 5.0, 1.0, 0.0, 0.0, 6.0, 0.0, 0.0, 3.0, 7.0)
SHEARED = (1.0, 0.3, 0.0, 5.0, 0.0, 2.0, 0.0, 6.0, 0.0, 0.0, 3.0, 7.0)


@pytest.mark.parametrize("qform", [0, 1, 2])
@pytest.mark.parametrize("sform", [1, 2, 4])
def test_the_transform_that_simpleitk_takes(tmp_path: Path, qform: int, sform: int) -> None:
    path = nifti(
        tmp_path / "v.nii",
        np.zeros((2, 3, 4), np.uint8),
        (76, "4f", (1.0, 1.0, 2.0, 3.0)),
        (252, "2h", (qform, sform)),
        (280, "12f", ROWS),
    )
    same_as_sitk(path)
    differ = "sform-qform-differ" in read_volume_header(path, case_id="c0").notes
    assert differ == (qform > 0)


def test_a_sheared_transform_is_kept_and_said(tmp_path: Path) -> None:
    """SimpleITK refuses it; the matrix itself says where the voxels are."""
    path = nifti(
        tmp_path / "v.nii",
        np.zeros((2, 3, 4), np.uint8),
        (252, "2h", (0, 1)),
        (280, "12f", SHEARED),
    )
    volume = read_volume(path, case_id="c0")
    assert "sheared" in volume.notes
    expected = np.reshape(SHEARED, (3, 4)) @ [3.0, 2.0, 1.0, 1.0] * [-1, -1, 1]
    np.testing.assert_allclose(to_world(volume.geometry, [1, 2, 3]), expected, atol=1e-5)


def test_without_a_transform_the_directions_are_unknown(tmp_path: Path) -> None:
    path = nifti(
        tmp_path / "v.nii",
        np.zeros((2, 3, 4), np.uint8),
        (76, "4f", (1.0, 0.5, 2.0, 3.0)),
        (252, "2h", (0, 0)),
    )
    volume = read_volume(path, case_id="c0")
    assert volume.geometry == Geometry((3.0, 2.0, 0.5))
    assert "orientation-unknown" in volume.notes


@pytest.mark.parametrize(
    ("patch", "kind"),
    [
        ((76, "4f", (1.0, 0.0, 1.0, 1.0)), "geometry"),
        ((280, "4f", (np.nan, 0.0, 0.0, 0.0)), "geometry"),
        ((280, "12f", (0.0,) * 12), "geometry"),
        ((40, "4h", (3, 30000, 30000, 30000)), "bomb"),
        ((40, "4h", (3, 400, 400, 400)), "truncated"),
        ((40, "4h", (3, -4, 3, 2)), "header"),
        ((40, "h", (9,)), "header"),
        ((40, "6h", (5, 4, 3, 1, 2, 2)), "header"),
        ((70, "h", (32,)), "pixel-type"),
        ((70, "h", (1,)), "pixel-type"),
        ((108, "f", (np.nan,)), "header"),
        ((108, "f", (4e9,)), "truncated"),
        ((344, "4s", (b"ni1\0",)), "header"),
        ((344, "4s", (b"xxxx",)), "not-a-volume"),
    ],
)
def test_forged_nifti_headers(tmp_path: Path, patch: tuple, kind: str) -> None:
    path = nifti(tmp_path / "v.nii", np.zeros((2, 3, 4), np.uint8), patch)
    codes = (252, "2h", (1, 0)) if patch[0] == 76 else (252, "2h", (0, 1))
    data = bytearray(path.read_bytes())
    struct.pack_into("<" + codes[1], data, codes[0], *codes[2])
    path.write_bytes(data)
    assert kind_of(path) == kind


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_cut_and_flipped_compressed_files_are_refused(tmp_path: Path, suffix: str) -> None:
    """SimpleITK reads half of a cut `.nii.gz` and a flipped `.mha` without a word."""
    values = np.random.default_rng(6).integers(0, 999, (6, 20, 30)).astype(np.int16)
    path = write_volume(tmp_path / f"secret{suffix}", values, OBLIQUE)
    whole = path.read_bytes()
    for part in (0.5, 0.9):
        path.write_bytes(whole[: int(len(whole) * part)])
        assert kind_of(path) == "truncated"
    path.write_bytes(whole[:-3])
    assert kind_of(path) == "truncated"
    for place in (len(whole) // 2, len(whole) - 100):
        spoilt = bytearray(whole)
        spoilt[place] ^= 0x41
        path.write_bytes(spoilt)
        assert kind_of(path) in ("corrupt", "truncated")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_cut_of_a_small_file_is_refused(tmp_path: Path, suffix: str) -> None:
    path = write_volume(tmp_path / f"v{suffix}", np.ones((2, 3, 4), np.int16), OBLIQUE)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:length])
        assert kind_of(path)


def test_a_gzip_bomb_is_refused_before_and_behind_the_header(tmp_path: Path) -> None:
    path = nifti(tmp_path / "v.nii", np.zeros((2, 3, 4), np.uint8))
    data = bytearray(path.read_bytes())
    zipped = tmp_path / "v.nii.gz"
    zipped.write_bytes(gzip.compress(bytes(data) + bytes(64 * 1024 * 1024)))
    assert kind_of(zipped) == "corrupt"
    struct.pack_into("<4h", data, 40, 3, 1000, 1000, 1000)
    zipped.write_bytes(gzip.compress(bytes(data)))
    assert kind_of(zipped) == "bomb"


def test_several_gzip_members_are_one_file(tmp_path: Path) -> None:
    values = np.arange(240, dtype=np.int16).reshape(4, 6, 10)
    data = nifti(tmp_path / "v.nii", values).read_bytes()
    members = [gzip.compress(data[at : at + 400]) for at in range(0, len(data), 400)]
    (tmp_path / "v.nii.gz").write_bytes(b"".join(members))
    volume = read_volume(tmp_path / "v.nii.gz", case_id="c0")
    np.testing.assert_array_equal(volume.image[..., 0], values)


def test_nan_becomes_padding_and_infinity_is_refused(tmp_path: Path) -> None:
    values = np.random.default_rng(7).normal(size=(2, 3, 4)).astype(np.float32)
    values[0, 1, 2] = np.nan
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values), str(tmp_path / "v.nrrd"))
    volume = read_volume(tmp_path / "v.nrrd", case_id="c0")
    assert volume.padding is not None
    assert np.argwhere(volume.padding).tolist() == [[0, 1, 2]]
    assert volume.image[0, 1, 2, 0] == np.nanmin(values)
    assert volume.notes == ("not-a-number",)
    for worst in (np.inf, np.nan):
        values[:] = worst
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values), str(tmp_path / "v.nrrd"))
        assert kind_of(tmp_path / "v.nrrd") == "not-finite"


def test_masks_are_whole_numbers(tmp_path: Path) -> None:
    path = tmp_path / "v.nii.gz"
    for values, dtype in (
        (np.array([0, 1, 2, 255], np.float64), np.uint8),
        (np.array([0, 1, 2, 256], np.int32), np.uint16),
        (np.array([0, 1, -2, 4], np.float32), np.int32),
    ):
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values.reshape(1, 2, 2)), str(path))
        mask = read_volume(path, case_id="c0", as_mask=True).image
        assert mask.dtype == dtype
        np.testing.assert_array_equal(mask.ravel(), values)
    for bad in (0.5, np.nan, 1e12):
        values = np.array([0, 1, 2, bad]).reshape(1, 2, 2)
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values), str(path))
        assert kind_of(path, as_mask=True) == "mask-values"


def test_absent_empty_and_foreign_files(tmp_path: Path) -> None:
    assert kind_of(tmp_path / "gone.nii") == "missing"
    assert kind_of(tmp_path) == "not-a-file"
    for content, kind in ((b"", "zero-byte"), (b"\x89PNG\r\n\x1a\n" * 50, "not-a-volume")):
        (tmp_path / "blank.nii").write_bytes(content)
        assert kind_of(tmp_path / "blank.nii") == kind


@pytest.mark.data
def test_real_volumes_equal_simpleitk(radzoo_data: Path) -> None:
    files = sorted((radzoo_data / "nrrd").glob("*.nrrd"))
    files += sorted((radzoo_data / "hippocampus" / "imagesTr").glob("*.nii.gz"))[:6]
    assert len(files) > 8
    for path in files:
        volume = read_volume(path, case_id="c0")
        image = SimpleITK.ReadImage(str(path))
        values = SimpleITK.GetArrayFromImage(image)
        np.testing.assert_array_equal(volume.image[..., 0], values.astype(volume.image.dtype))
        index = np.random.default_rng(5).uniform(0, 30, (20, 3))
        theirs = [image.TransformContinuousIndexToPhysicalPoint(i[::-1].tolist()) for i in index]
        np.testing.assert_allclose(to_world(volume.geometry, index), theirs, rtol=0, atol=1e-4)
