"""nnU-Net's raw data, good and odd."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import data_adapters
from data_adapters.errors import CaseError, FormatError
from data_adapters.layouts.nnunet import NnUNet
from tests.data_adapters.layouts.volumes import label_map, nnunet, picture, save_volume


def test_channels_are_joined_in_their_order(tmp_path: Path) -> None:
    data = data_adapters.open(nnunet(tmp_path))
    assert (data.kind, data.task) == ("nnunet", "segmentation")
    assert data.class_names == ("background", "edema", "core")
    assert [row.part for row in data.index] == [None, None, "test"]
    for i in range(2):
        case = data[i]
        wanted = np.stack([picture(10 * i), picture(10 * i + 1)], axis=-1)
        np.testing.assert_array_equal(case.image, wanted)
        np.testing.assert_array_equal(case.mask, label_map(i, (0, 1, 2)))
    assert data[0].meta["channels"] == ("T1", "T2")
    assert data[0].geometry.spacing == (3, 2, 1)
    bare = NnUNet(tmp_path, labelled=False)
    assert (bare.task, bare[2].mask) == ("unlabelled", None)


def test_version_one_names_its_labels_by_value(tmp_path: Path) -> None:
    nnunet(tmp_path)
    whole = {
        "modality": {"0": "CT", "1": "CT"},
        "labels": {"0": "background", "1": "liver", "2": "tumour"},
        "numTraining": 2,
        "training": [
            {"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"}
            for n in ("a_1", "b_2")
        ],
        "test": [],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(whole))
    data = data_adapters.open(tmp_path)
    assert (data.kind, data.modality) == ("nnunet", "CT")
    assert data.class_names == ("background", "liver", "tumour")
    assert data[1].image.shape == (4, 5, 6, 2)


def test_regions_become_channels_and_ignored_voxels_are_unknown(tmp_path: Path) -> None:
    labels = {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3}
    nnunet(tmp_path, values=(0, 1, 2, 3), labels=labels)
    data = NnUNet(tmp_path)
    assert data.class_names == ("background", "whole", "core")
    case, stored = data[0], label_map(0, (0, 1, 2, 3))
    assert case.mask is None
    assert np.isnan(case.masks[stored == 3]).all()
    np.testing.assert_array_equal(case.masks[..., 0] == 1, (stored == 1) | (stored == 2))
    np.testing.assert_array_equal(case.masks[..., 1] == 1, stored == 2)
    plain = NnUNet(nnunet(tmp_path, labels={"background": 0, "all": [1, 2], "core": 2}))
    assert plain[0].masks.dtype == np.uint8
    assert plain.class_names == ("background", "all", "core")
    ignored = NnUNet(
        nnunet(tmp_path, labels={"background": 0, "edema": 1, "ignore": 2}, values=(0, 1, 2))
    )
    np.testing.assert_array_equal(ignored[1].mask == -1, label_map(1, (0, 1, 2)) == 2)
    assert ignored.class_names == ("background", "edema")


def test_pictures_with_all_channels_in_one_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
    colour = rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)
    Image.fromarray(colour).save(tmp_path / "imagesTr/road_0000.png")
    mask = rng.integers(0, 2, (7, 9), dtype=np.uint8)
    Image.fromarray(mask).save(tmp_path / "labelsTr/road.png")
    whole = {
        "channel_names": {"0": "R", "1": "G", "2": "B"},
        "labels": {"background": 0, "road": 1},
        "file_ending": ".png",
        "numTraining": 1,
    }
    (tmp_path / "dataset.json").write_text(json.dumps(whole))
    case = data_adapters.open(tmp_path)[0]
    np.testing.assert_array_equal(case.image, colour)
    np.testing.assert_array_equal(case.mask, mask)


def test_files_may_be_listed_under_dataset(tmp_path: Path) -> None:
    listed = {
        "first": {
            "images": ["imagesTr/a_1_0001.nii.gz", "imagesTr/a_1_0000.nii.gz"],
            "label": "labelsTr/a_1.nii.gz",
        },
        "second": {"images": ["imagesTr/../../x.nii.gz"], "label": "labelsTr/b_2.nii.gz"},
    }
    data = NnUNet(nnunet(tmp_path, dataset=listed))
    np.testing.assert_array_equal(data[0].image[..., 0], picture(1))
    assert [skip.kind for skip in data.skipped] == ["outside"]


def test_incomplete_cases_are_recorded(tmp_path: Path) -> None:
    nnunet(tmp_path)
    (tmp_path / "imagesTr/a_1_0001.nii.gz").unlink()
    (tmp_path / "imagesTr/a_1_0002.nii.gz").write_bytes(b"")
    (tmp_path / "labelsTr/b_2.nii.gz").unlink()
    data = NnUNet(tmp_path)
    assert [(s.kind) for s in data.skipped] == ["zero-byte", "unlabelled"]
    assert [row.part for row in data.index] == ["test"]
    assert data.findings == ()
    (tmp_path / "imagesTr/a_1_0002.nii.gz").unlink()
    save_volume(tmp_path / "imagesTr/a_1_0003.nii.gz", picture(1))
    assert NnUNet(tmp_path).skipped[0].kind == "channels"
    (finding,) = NnUNet(nnunet(tmp_path, numTraining=9)).findings
    assert finding.code == "count-mismatch"


def test_channels_on_other_grids_are_an_error_of_the_case(tmp_path: Path) -> None:
    data = NnUNet(nnunet(tmp_path))
    save_volume(tmp_path / "imagesTr/a_1_0001.nii.gz", picture(1), origin=(0.0, 0.0, 0.0))
    save_volume(tmp_path / "imagesTr/b_2_0001.nii.gz", picture(1, (4, 5, 7)))
    for i in range(2):
        with pytest.raises(CaseError) as caught:
            data[i]
        assert caught.value.kind == "grid"


def test_file_keys_follow_every_file_and_the_meaning_of_the_mask(tmp_path: Path) -> None:
    first = NnUNet(nnunet(tmp_path)).file_key(0)
    swapped = {"background": 0, "core": 1, "edema": 2}
    second = NnUNet(nnunet(tmp_path, labels=swapped)).file_key(0)
    assert first.split("|")[-1] != second.split("|")[-1]
    for name in ("a_1_0000", "a_1_0001", "labelsTr/a_1"):
        assert name in first


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": {"background": 0}}, "names no class"),
        ({"labels": {"background": [0, 1], "a": 2}}, "wanted value 0"),
        ({"labels": {"background": 0, "a": 1, "b": 1}}, "two names have the same value"),
        ({"labels": {"background": 0, "a": -1}}, "0 to 65535"),
        ({"labels": {"background": 0, "a": []}}, "different values"),
        ({"labels": {"background": 0, "a": 1, "ignore": [2, 3]}}, "ignore has one value"),
        ({"channel_names": {"0": "a", "2": "b"}}, "numbered from 0"),
        ({"channel_names": {"0": 1}}, "wanted a text"),
        ({"file_ending": 3}, "file_ending: wanted a text"),
        ({"dataset": []}, "wanted an object"),
        ({"dataset": {"a": {"images": ["x"]}}}, "wanted a text"),
        ({"file_ending": ".mha"}, "lists no case"),
    ],
)
def test_damaged_descriptions_are_refused(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    nnunet(tmp_path, **changes)
    with pytest.raises(FormatError, match=said):
        NnUNet(tmp_path)
