"""Folders of volumes: what belongs to one case, and what does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

import data_adapters
from data_adapters.case import Geometry, check_case
from data_adapters.errors import CaseError, DataError, FormatError
from data_adapters.volumes.folder import VolumeFolder
from data_adapters.volumes.write import write_volume

GEOMETRY = Geometry((2.0, 1.0, 1.5), (3.0, 4.0, 5.0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
BRATS = ("flair", "t1", "t1ce", "t2")


def moved(millimetres: float) -> Geometry:
    """The same grid somewhat to the left."""
    x, y, z = GEOMETRY.origin
    return Geometry(GEOMETRY.spacing, (x + millimetres, y, z), GEOMETRY.direction)


def put(path: Path, seed: int, geometry: Geometry = GEOMETRY) -> np.ndarray:
    """A small image on disk, and its values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).normal(size=(3, 4, 5)).astype(np.float32)
    write_volume(path, values, geometry)
    return values


def put_mask(path: Path, *values: int, geometry: Geometry = GEOMETRY) -> np.ndarray:
    """A mask that holds the values, on disk and as an array."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.resize(np.array(values, np.uint8), (3, 4, 5))
    write_volume(path, mask, geometry)
    return mask


def brats(root: Path, case: str, seed: int, *, mark: str = "_") -> dict[str, np.ndarray]:
    """A case of four sequences and a mask of values 0, 1, 2, 4 in its own folder."""
    parts = {c: put(root / case / f"{case}{mark}{c}.nii.gz", seed + i) for i, c in enumerate(BRATS)}
    parts["seg"] = put_mask(root / case / f"{case}{mark}seg.nii.gz", 0, 1, 2, 4, 0)
    return parts


def test_sequences_of_a_patient_are_one_case(tmp_path: Path) -> None:
    stored = [brats(tmp_path, f"P{i}", 10 * i, mark="_-"[i % 2]) for i in range(3)]
    data = data_adapters.open(tmp_path)
    assert (data.kind, data.task, len(data)) == ("volumes", "segmentation", 3)
    assert data.class_names == ("background", "1", "2", "4")
    assert "the channels of a case are flair, t1, t1ce, t2" in data.notes
    for i, case in enumerate(data):
        check_case(case)
        for c, name in enumerate(BRATS):
            np.testing.assert_array_equal(case.image[..., c], stored[i][name])
        expected = np.where(stored[i]["seg"] == 4, 3, stored[i]["seg"])
        np.testing.assert_array_equal(case.mask, expected)
        assert case.geometry == GEOMETRY
        assert data.source_name(i) == f"P{i}/P{i}"
        assert "P" not in case.case_id


def test_a_pattern_and_names_of_classes(tmp_path: Path) -> None:
    for i in range(2):
        for c, name in enumerate(("0001", "0000")):
            put(tmp_path / f"x.{i}.{name}.nrrd", 10 * i + c)
        put_mask(tmp_path / f"x.{i}.truth.nrrd", 0, 4)
    put(tmp_path / "stranger.nrrd", 99)
    options = {"pattern": "{case}.{channel}", "channels": "0001,0000", "mask": "truth"}
    data = data_adapters.open(tmp_path, **options, classes="4=tumour")
    assert data.class_names == ("background", "tumour")
    assert len(data) == 2
    assert "1 volumes do not fit the pattern and were ignored" in data.notes
    first = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(data[0].image[..., 0], first)
    assert np.unique(data[0].mask).tolist() == [0, 1]
    wrong = data_adapters.open(tmp_path, **options, classes=["background", "tumour"])
    with pytest.raises(CaseError, match="holds values") as caught:
        wrong[0]
    assert caught.value.kind == "mask-values"


def test_image_and_label_folders(tmp_path: Path) -> None:
    for name in "ab":
        put(tmp_path / "images" / f"{name}.nii.gz", ord(name))
        put_mask(tmp_path / "labels" / f"{name}.nii.gz", 0, 1)
    put(tmp_path / "images" / "c.nii.gz", 3)
    data = data_adapters.open(tmp_path)
    assert (data.kind, len(data), data.task) == ("volumes", 3, "segmentation")
    assert "1 of 3 cases have no mask" in data.notes
    assert [data[i].mask is None for i in range(3)] == [False, False, True]


def test_class_folders_stay_class_folders(tmp_path: Path) -> None:
    for name in ("x/a", "x/b", "y/c", "y/d"):
        put(tmp_path / f"{name}.nii.gz", 1)
    assert data_adapters.open(tmp_path).kind == "image_folder"


def test_one_volume_and_several(tmp_path: Path) -> None:
    values = [put(tmp_path / f"{name}.nii.gz", i) for i, name in enumerate("ab")]
    one = data_adapters.open(tmp_path / "a.nii.gz")
    assert (one.kind, one.task, len(one)) == ("volumes", "unlabelled", 1)
    np.testing.assert_array_equal(one[0].image[..., 0], values[0])
    several = data_adapters.open_files([tmp_path / "b.nii.gz", tmp_path / "a.nii.gz"])
    np.testing.assert_array_equal(several[0].image[..., 0], values[0])
    assert data_adapters.open(tmp_path).task == "unlabelled"


def test_incomplete_and_ambiguous_cases_are_recorded(tmp_path: Path) -> None:
    for i in range(3):
        brats(tmp_path, f"P{i}", i)
    (tmp_path / "P0" / "P0_t1ce.nii.gz").unlink()
    put(tmp_path / "P1" / "P1_t1.nrrd", 5)
    put_mask(tmp_path / "Q" / "Q_seg.nii.gz", 0, 1)
    data = VolumeFolder(tmp_path)
    assert [data.source_name(i) for i in range(len(data))] == ["P2/P2"]
    assert sorted((s.kind, s.message) for s in data.skipped) == [
        ("missing", "the case lacks t1ce"),
        ("missing", "there is a mask, and no image"),
        ("repeated", "two files claim to be the same channel"),
    ]


def test_all_files_of_a_case_share_one_grid(tmp_path: Path) -> None:
    for i, shift in enumerate((0.0, 0.05, 0.5)):
        put(tmp_path / f"c{i}_t1.nrrd", i)
        put(tmp_path / f"c{i}_t2.nrrd", i, moved(shift))
        put_mask(tmp_path / f"c{i}_seg.nrrd", 0, 1)
    data = data_adapters.open(tmp_path)
    assert data[0].meta["reading"] == ()
    assert data[1].meta["reading"] == ("grid-noise",)
    assert data[1].geometry == GEOMETRY
    with pytest.raises(CaseError, match=r"0\.5 mm apart") as caught:
        data[2]
    assert caught.value.kind == "grid"
    write_volume(tmp_path / "c0_seg.nrrd", np.zeros((3, 4, 6), np.uint8), GEOMETRY)
    with pytest.raises(CaseError, match="grids of"):
        data[0]


def test_padding_of_any_channel_is_padding(tmp_path: Path) -> None:
    values = np.ones((2, 3, 4), np.float32)
    for c, place in (("t1", 0), ("t2", 1)):
        values[:] = np.arange(24).reshape(2, 3, 4)
        values[place, 0, 0] = np.nan
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values), str(tmp_path / f"a_{c}.nrrd"))
    case = data_adapters.open(tmp_path)[0]
    assert case.padding is not None
    assert np.argwhere(case.padding).tolist() == [[0, 0, 0], [1, 0, 0]]


def test_patients_by_rule(tmp_path: Path) -> None:
    for name in ("p1_a", "p1_b", "p2_a"):
        put(tmp_path / f"{name}.nii.gz", 1)
    people = [row.patient_id for row in data_adapters.open(tmp_path, patient="(p.)_").index]
    assert people[0] == people[1] != people[2]
    assert {row.patient_id for row in data_adapters.open(tmp_path).index} == {None}


@pytest.mark.parametrize(
    "options",
    [
        {"pattern": "{case}", "channels": "t1"},
        {"pattern": "{case}_{channel}_{visit}", "channels": "t1"},
        {"pattern": "{case}_{channel}"},
        {"channels": "t1,t1"},
        {"mask": "seg"},
        {"classes": "background"},
        {"classes": ["a", "b", "a"]},
        {"classes": "x=1"},
        {"classes": {-1: "a", 0: "b"}},
        {"patient": "("},
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, options: dict[str, object]) -> None:
    put(tmp_path / "a_t1.nii.gz", 1)
    with pytest.raises(DataError, match="="):
        data_adapters.open(tmp_path, **options)


def test_no_case_at_all(tmp_path: Path) -> None:
    put_mask(tmp_path / "a_seg.nii.gz", 0, 1)
    with pytest.raises(FormatError, match="no case"):
        data_adapters.open(tmp_path)


def test_identity_follows_files_and_options(tmp_path: Path) -> None:
    brats(tmp_path, "P", 3)
    base = data_adapters.open(tmp_path).identity()
    assert data_adapters.open(tmp_path).identity() == base
    assert data_adapters.open(tmp_path, channels="t2,t1").identity() != base
    put(tmp_path / "P" / "P_t1.nii.gz", 77)
    assert data_adapters.open(tmp_path).identity() != base


@pytest.mark.data
def test_real_volumes_find_their_labels(radzoo_data: Path) -> None:
    data = data_adapters.open(radzoo_data / "nrrd")
    assert (data.kind, data.task, len(data)) == ("volumes", "segmentation", 4)
    for case in data:
        check_case(case)
        assert case.mask is not None
        assert case.mask.max() >= 1
