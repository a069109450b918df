"""Decathlon tasks, good and odd."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

import data_adapters
from data_adapters.errors import CaseError, DataError, FormatError
from data_adapters.geometry import to_world
from data_adapters.layouts.decathlon import Decathlon
from data_adapters.privacy import patient_pseudonym
from tests.data_adapters.layouts.volumes import decathlon, label_map, picture, save_volume


def test_images_have_their_sequences_as_channels_and_masks_their_classes(tmp_path: Path) -> None:
    data = data_adapters.open(decathlon(tmp_path))
    assert (data.kind, data.task) == ("decathlon", "segmentation")
    assert data.class_names == ("background", "edema", "core")
    assert len(data) == 3
    for i in range(3):
        case = data[i]
        np.testing.assert_array_equal(case.image, picture(i, (4, 5, 6, 2)))
        np.testing.assert_array_equal(case.mask, label_map(i, (0, 1, 2)))
        assert case.geometry.spacing == (3, 2, 1)
    image = SimpleITK.ReadImage(str(tmp_path / "labelsTr/brain_1.nii.gz"))
    wanted = image.TransformIndexToPhysicalPoint((5, 2, 1))
    np.testing.assert_allclose(to_world(data[0].geometry, (1, 2, 5)), wanted, atol=1e-5)
    assert data[0].meta["channels"] == ("FLAIR", "T1w")
    assert any("1 test cases without masks" in note for note in data.notes)
    assert not any("not listed" in note for note in data.notes)
    assert data.findings == ()


def test_without_labels_the_test_cases_come_along(tmp_path: Path) -> None:
    data = Decathlon(decathlon(tmp_path) / "dataset.json", labelled=False)
    assert (data.task, data.class_names) == ("unlabelled", ())
    assert [row.part for row in data.index] == [None] * 3 + ["test"]
    assert data[3].mask is None
    np.testing.assert_array_equal(data[3].image, picture(9, (4, 5, 6, 2)))


def test_patients_and_folds(tmp_path: Path) -> None:
    decathlon(tmp_path)
    (tmp_path / "patients.csv").write_text("case,patient\nbrain_1,P\nbrain_2.nii.gz,P\nbrain_3,Q\n")
    folds = [{"train": ["brain_1", "brain_2"], "val": ["brain_3"]}, {"train": ["brain_3"]}]
    (tmp_path / "splits.json").write_text(json.dumps(folds))
    data = data_adapters.open(tmp_path)
    assert [row.patient_id for row in data.index] == [patient_pseudonym(p) for p in "PPQ"]
    assert [row.part for row in data.index] == [None] * 3
    fold = data_adapters.open(tmp_path, fold=0)
    assert [row.part for row in fold.index] == ["train", "train", "val"]
    part = data_adapters.open(tmp_path, fold=1)
    assert "2 cases are in no part of fold 1" in part.notes
    named = Decathlon(tmp_path, patient="brain_([0-9])")
    assert named.index[2].patient_id == patient_pseudonym("3")
    for wrong in ({"fold": 2}, {"patients": "x.csv"}, {"patient": "a", "patients": "patients.csv"}):
        with pytest.raises(DataError):
            Decathlon(tmp_path, **wrong)  # type: ignore[arg-type]
    folds[0]["val"].append("brain_1")
    (tmp_path / "splits.json").write_text(json.dumps(folds))
    with pytest.raises(FormatError, match="a case is in two parts"):
        Decathlon(tmp_path, fold=0)
    (tmp_path / "patients.csv").write_text("case,patient\nbrain_1,P\nbrain_1,Q\n")
    with pytest.raises(FormatError, match="a case has two patients"):
        Decathlon(tmp_path)


def test_missing_files_counts_and_unlisted_files_are_recorded(tmp_path: Path) -> None:
    decathlon(tmp_path, numTraining=5)
    (tmp_path / "labelsTr/brain_2.nii.gz").unlink()
    (tmp_path / "imagesTr/brain_3.nii.gz").unlink()
    save_volume(tmp_path / "imagesTr/extra.nii.gz", picture(3, (4, 5, 6, 2)))
    data = Decathlon(tmp_path)
    assert [skip.kind for skip in data.skipped] == ["unlabelled", "missing"]
    assert [finding.code for finding in data.findings] == ["count-mismatch"]
    assert "1 files of imagesTr are not listed and were ignored" in data.notes
    assert len(data) == 1


def test_values_and_grids_that_do_not_fit_are_errors_of_the_case(tmp_path: Path) -> None:
    data = Decathlon(decathlon(tmp_path))
    save_volume(tmp_path / "labelsTr/brain_1.nii.gz", label_map(0, (0, 1, 7)))
    save_volume(tmp_path / "labelsTr/brain_2.nii.gz", label_map(0, (0, 1), (4, 6, 5)))
    save_volume(tmp_path / "labelsTr/brain_3.nii.gz", label_map(0, (0, 1)), origin=(5.5, -3.0, 9.0))
    for i, kind in enumerate(["mask-values", "grid", "grid"]):
        with pytest.raises(CaseError) as caught:
            data[i]
        assert caught.value.kind == kind
    near = save_volume(
        tmp_path / "labelsTr/brain_3.nii.gz", label_map(0, (0, 1)), origin=(5.05, -3.0, 9.0)
    )
    assert near.exists()
    assert data[2].mask is not None
    single = Decathlon(decathlon(tmp_path, modality={"0": "CT"}))
    assert single.modality == "CT"
    with pytest.raises(CaseError, match="hold 2 channels"):
        single[0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": {"0": "background"}}, "names no class"),
        ({"labels": {"1": "a", "2": "b"}}, "wanted value 0"),
        ({"labels": {"0": "background", "x": "b"}}, "wanted a whole number"),
        ({"labels": ["background", "a"]}, "wanted an object"),
        ({"labels": {"0": "a", "1": "a"}}, "different names"),
        ({"modality": {"1": "MR"}}, "numbered from 0"),
        ({"training": [{"image": "imagesTr/brain_1.nii.gz"}]}, "label: wanted a text"),
        ({"training": [3]}, "wanted an object"),
        ({"training": []}, "lists no case"),
        ({"training": [{"image": "../a.nii.gz", "label": "b"}]}, "lead out of the folder"),
        ({"test": [4]}, r"test\[0\]: wanted a text"),
    ],
)
def test_damaged_lists_are_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    decathlon(tmp_path, **changes)
    with pytest.raises(FormatError, match=said):
        Decathlon(tmp_path, labelled="test" not in changes)


def test_an_image_listed_twice_is_refused(tmp_path: Path) -> None:
    whole = json.loads((decathlon(tmp_path) / "dataset.json").read_text())
    whole["training"].append(dict(whole["training"][0], label="labelsTr/brain_2.nii.gz"))
    (tmp_path / "dataset.json").write_text(json.dumps(whole))
    with pytest.raises(FormatError, match="lists 1 images more than once"):
        Decathlon(tmp_path)


@pytest.mark.data
def test_hippocampus_of_the_shared_data(radzoo_data: Path) -> None:
    folder = radzoo_data / "hippocampus"
    data = data_adapters.open(folder, fold=2)
    assert len(data) == 208
    assert data.class_names == ("background", "Anterior", "Posterior")
    assert data.modality == "MR"
    people = [{r.patient_id for r in data.index if r.part == part} for part in ("train", "val")]
    assert len(people[0] | people[1]) == 136
    assert not people[0] & people[1]
    assert sum(Counter(row.part for row in data.index).values()) == 208
    for i in np.random.default_rng(1).choice(208, 5, replace=False):
        case, name = data[i], data.source_name(i)
        image = SimpleITK.ReadImage(str(folder / name))
        mask = SimpleITK.ReadImage(str(folder / name.replace("imagesTr", "labelsTr")))
        np.testing.assert_array_equal(case.image[..., 0], SimpleITK.GetArrayFromImage(image))
        np.testing.assert_array_equal(case.mask, SimpleITK.GetArrayFromImage(mask))
        spot = np.random.default_rng(i).integers(0, case.mask.shape)
        wanted = image.TransformIndexToPhysicalPoint([int(v) for v in spot[::-1]])
        np.testing.assert_allclose(to_world(case.geometry, spot), wanted, atol=1e-4)
