"""Files read back by SimpleITK, PIL and the project's own reader, on the source's grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from PIL import Image

from data_adapters.case import Geometry
from data_adapters.errors import DataError
from data_adapters.geometry import from_sitk, same_grid
from data_adapters.volumes.read import read_volume
from recipes.errors import RunFolderError
from recipes.segmentation.inference import InferenceError, write_mask, write_probabilities

SHAPE = (5, 6, 7)


def source(folder: Path) -> Any:
    """An oblique volume as another program wrote it."""
    image = SimpleITK.GetImageFromArray(np.random.default_rng(0).normal(size=SHAPE))
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-31.0, 12.5, 440.25))
    turn = SimpleITK.Euler3DTransform((0, 0, 0), 0.2, -0.1, 0.3)
    image.SetDirection(turn.GetMatrix())
    SimpleITK.WriteImage(image, str(folder / "source.nii.gz"))
    return SimpleITK.ReadImage(str(folder / "source.nii.gz"))


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_masks_lie_where_their_source_lies(tmp_path: Path, suffix: str) -> None:
    original = source(tmp_path)
    geometry = read_volume(tmp_path / "source.nii.gz", case_id="case").geometry
    mask = np.random.default_rng(1).integers(0, 4, SHAPE)
    path = write_mask(mask, tmp_path / "out" / f"mask{suffix}", geometry)
    found = SimpleITK.ReadImage(str(path))
    assert found.GetSize() == original.GetSize()
    for name in ("GetSpacing", "GetOrigin", "GetDirection"):
        wanted = getattr(original, name)()
        assert np.allclose(getattr(found, name)(), wanted, rtol=0, atol=1e-5)
    assert np.array_equal(SimpleITK.GetArrayFromImage(found), mask)
    again = read_volume(path, case_id="case", as_mask=True)
    assert same_grid(again.geometry, from_sitk(original))
    assert np.array_equal(again.image, mask)
    corner = original.TransformIndexToPhysicalPoint((6, 0, 4))
    assert np.allclose(found.TransformIndexToPhysicalPoint((6, 0, 4)), corner, atol=1e-4)
    assert [file.name for file in (tmp_path / "out").iterdir()] == [path.name]


def test_probabilities_are_components(tmp_path: Path) -> None:
    geometry = from_sitk(source(tmp_path))
    values = np.random.default_rng(2).dirichlet((1, 1, 1), SHAPE)
    for suffix in (".nii.gz", ".nrrd"):
        path = write_probabilities(values, tmp_path / f"p{suffix}", geometry)
        found = SimpleITK.ReadImage(str(path))
        assert found.GetNumberOfComponentsPerPixel() == 3
        assert np.allclose(SimpleITK.GetArrayFromImage(found), values, atol=1e-7)
        assert same_grid(from_sitk(found), geometry)


def test_pictures(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    mask = rng.integers(0, 3, (6, 9))
    assert np.array_equal(np.asarray(Image.open(write_mask(mask, tmp_path / "a.png"))), mask)
    mask[0, 0] = 300
    assert np.array_equal(np.asarray(Image.open(write_mask(mask, tmp_path / "b.PNG"))), mask)
    values = rng.random((6, 9, 1)).astype("float32")
    found = np.asarray(Image.open(write_probabilities(values, tmp_path / "p.png")))
    assert np.allclose(found / 65535, values[..., 0], atol=1e-5)
    flat = write_mask(mask, tmp_path / "flat.nii.gz", Geometry((0.5, 0.25)))
    image = SimpleITK.ReadImage(str(flat))
    assert image.GetSize() == (9, 6, 1)
    assert image.GetSpacing() == (0.25, 0.5, 1.0)


def test_headers_hold_geometry_alone(tmp_path: Path) -> None:
    mask, geometry = np.ones(SHAPE, np.uint8), from_sitk(source(tmp_path))
    folder = tmp_path / "DOE^JANE"
    for suffix in (".nii", ".nrrd", ".mha"):
        data = write_mask(mask, folder / f"DOE^JANE{suffix}", geometry).read_bytes()
        assert b"DOE" not in data
    picture = write_mask(mask[0], folder / "DOE^JANE.png")
    assert Image.open(picture).info == {}


def test_a_failed_writer_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = np.ones(SHAPE, np.uint8)
    path = write_mask(old, tmp_path / "mask.nii.gz")

    def cut(image: Any, name: str, *options: Any) -> None:
        assert Path(name).name.startswith(".")  # hidden: no reader of the folder takes it
        Path(name).write_bytes(b"half")
        raise RuntimeError("no space left on device")

    monkeypatch.setattr(SimpleITK, "WriteImage", cut)
    with pytest.raises(DataError, match="disk full"):
        write_mask(np.zeros(SHAPE, np.uint8), path)
    assert np.array_equal(read_volume(path, case_id="case", as_mask=True).image, old)
    assert [file.name for file in tmp_path.iterdir()] == ["mask.nii.gz"]


def test_refusals(tmp_path: Path) -> None:
    mask, picture = np.zeros(SHAPE, np.uint8), np.zeros((4, 4), np.int16)
    with pytest.raises(InferenceError, match=r"written as one of .nii, .nii.gz.*not '.png'"):
        write_mask(mask, tmp_path / "m.png")
    with pytest.raises(InferenceError, match=r"not '\.jpg'"):
        write_mask(picture, tmp_path / "m.jpg")
    with pytest.raises(InferenceError, match="labels from -1 to 0; PNG holds 0 to 65535"):
        write_mask(picture - np.eye(4, dtype=np.int16), tmp_path / "m.png")
    with pytest.raises(InferenceError, match="a mask of type float64"):
        write_mask(mask.astype(float), tmp_path / "m.nii")
    with pytest.raises(InferenceError, match="values from 0 to 2 are no probabilities"):
        write_probabilities(np.array([[[[0.0, 2.0]]]]), tmp_path / "p.nii")
    with pytest.raises(InferenceError, match="no probabilities"):
        write_probabilities(np.full((2, 2, 2, 2), np.nan), tmp_path / "p.nii")
    with pytest.raises(InferenceError, match="one class, not of 3"):
        write_probabilities(np.zeros((4, 4, 3)), tmp_path / "p.png")
    stack = Geometry((1.0, 1.0, 1.0), positions=((0.0, 0.0, 0.0),) * 5)
    with pytest.raises(DataError, match="irregular"):
        write_mask(mask, tmp_path / "m.nii", stack)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot write"):
        write_mask(mask, tmp_path / "file" / "m.nii")
