"""Multi-page TIFF against what tifffile wrote."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from data_adapters.case import Geometry
from data_adapters.errors import CaseError
from data_adapters.pictures import Picture, read_picture_with_notes

RNG = np.random.default_rng(1)
STACK = RNG.integers(0, 256, (5, 6, 7)).astype(np.uint8)


def read(path: Path) -> Picture:
    """The stack as every adapter reads it."""
    return read_picture_with_notes(path, case_id="c0")


def kind_of(path: Path) -> str:
    """The kind of the error that reading raises."""
    with pytest.raises(CaseError) as caught:
        read(path)
    return caught.value.kind


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_pages_are_slices(tmp_path: Path, dtype: str, compression: str | None) -> None:
    stack = (STACK.astype(np.float64) * 3).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", stack, compression=compression)
    picture = read(tmp_path / "a.tif")
    assert picture.image.dtype == stack.dtype
    np.testing.assert_array_equal(picture.image, stack[..., None])
    assert picture.geometry is None


def test_colour_pages(tmp_path: Path) -> None:
    stack = RNG.integers(0, 256, (4, 6, 7, 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="rgb")
    np.testing.assert_array_equal(read(tmp_path / "a.tif").image, stack)
    tifffile.imwrite(tmp_path / "b.tif", stack.astype(np.uint16), photometric="rgb")
    assert kind_of(tmp_path / "b.tif") == "pixel-type"


@pytest.mark.parametrize("axes", ["ZYX", "ZCYX", "CZYX", "TZCYX"])
def test_ome_axes_and_sizes(tmp_path: Path, axes: str) -> None:
    sizes = {"Z": 3, "C": 2, "T": 1, "Y": 6, "X": 7}
    stack = RNG.integers(0, 65536, [sizes[a] for a in axes]).astype(np.uint16)
    facts = {"axes": axes, "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm",
             "PhysicalSizeY": 400, "PhysicalSizeYUnit": "nm",
             "PhysicalSizeZ": 0.002, "PhysicalSizeZUnit": "mm"}  # fmt: skip
    tifffile.imwrite(tmp_path / "a.ome.tif", stack, ome=True, metadata=facts)
    full = np.einsum(f"{axes}->{''.join(a for a in 'TZYXC' if a in axes)}", stack)
    full = full[0] if "T" in axes else full
    picture = read(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(picture.image, full.reshape(3, 6, 7, -1))
    assert picture.geometry is not None
    np.testing.assert_allclose(picture.geometry.spacing, (2e-3, 4e-4, 5e-4))
    assert picture.geometry.direction == ()


@pytest.mark.parametrize("axes", ["ZYX", "ZCYX"])
def test_imagej_axes_and_sizes(tmp_path: Path, axes: str) -> None:
    sizes = {"Z": 3, "C": 2, "Y": 6, "X": 7}
    stack = RNG.integers(0, 65536, [sizes[a] for a in axes]).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, resolution=(2.0, 4.0),
                     metadata={"axes": axes, "spacing": 3.0, "unit": "um"})  # fmt: skip
    picture = read(tmp_path / "a.tif")
    full = stack[..., None] if axes == "ZYX" else np.moveaxis(stack, 1, -1)
    np.testing.assert_array_equal(picture.image, full)
    assert picture.geometry == Geometry((0.003, 0.00025, 0.0005))


@pytest.mark.parametrize("form", [{"ome": True}, {"imagej": True}])
def test_points_in_time_are_refused(tmp_path: Path, form: dict[str, bool]) -> None:
    stack = np.zeros((4, 2, 6, 7), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stack, metadata={"axes": "TZYX"}, **form)
    assert kind_of(tmp_path / "a.tif") == "time-series"


def test_pages_of_unlike_size_or_kind_are_no_stack(tmp_path: Path) -> None:
    first = Image.fromarray(STACK[0])
    for other in (Image.new("L", (5, 5)), Image.new("RGB", (7, 6))):
        first.save(tmp_path / "a.tif", save_all=True, append_images=[other])
        assert kind_of(tmp_path / "a.tif") == "animated"


def test_cut_and_forged_stacks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, imagej=True, metadata={"axes": "ZYX"})
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"slices=5", b"slices=9").replace(b"images=5", b"images=9"))
    assert kind_of(path) == "truncated"
    for length in range(16, len(whole) - 4, 40):
        path.write_bytes(whole[:length])
        with contextlib.suppress(CaseError):  # what was cut off may lie behind the pixels
            np.testing.assert_array_equal(read(path).image[..., 0], STACK)
    path.write_bytes(whole)
    tifffile.imwrite(path, STACK, ome=True)
    broken = path.read_bytes().replace(b"<Pixels", b"<Pixel<")
    path.write_bytes(broken)
    assert kind_of(path) == "corrupt"
