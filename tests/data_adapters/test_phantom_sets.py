"""Labelled sets of phantoms: their files, labels and patients."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_adapters.dicom.image import read_dicom_image
from data_adapters.errors import DataError
from data_adapters.phantom_sets import (
    phantom_classification_set,
    phantom_image_folder,
    phantom_npz,
    phantom_patients,
    windowed,
)
from data_adapters.phantoms import ct_slice


def test_classification_set_on_disk(tmp_path: Path) -> None:
    table = phantom_classification_set(tmp_path / "set", n_patients=6, size=32, seed=4)
    with table.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["path", "label", "patient"]
    people = {row["patient"]: row["label"] for row in rows}
    assert len(people) == 6
    assert sorted(people.values()) == ["cyst", "cyst", "metastasis", "metastasis", "none", "none"]
    assert {row["path"].split("/")[1] for row in rows} == set(people)
    expected = [s for p in phantom_patients(n_patients=6, size=32, seed=4) for s in p.slices]
    assert len(expected) == len(rows)
    for row, phantom in zip(rows, expected, strict=True):
        read = read_dicom_image(table.parent / row["path"], case_id="c1")
        assert read.patient_id == row["patient"]
        np.testing.assert_array_equal(read.image, np.rint(phantom.image))
        assert (phantom.label == 0) == (row["label"] == "none")


def test_patients_do_not_depend_on_how_many_follow() -> None:
    few, more = (
        list(phantom_patients(n_patients=n, size=24, slices_per_patient=(1, 2), binary=True))
        for n in (2, 3)
    )
    for one, other in zip(few, more, strict=False):
        assert one.name == other.name
        np.testing.assert_array_equal(one.slices[0].image, other.slices[0].image)
    assert {patient.name for patient in more} == {"none", "lesion"}


def test_npz_has_the_layout_of_medmnist(tmp_path: Path) -> None:
    path = phantom_npz(tmp_path / "x" / "phantom.npz", n_patients=12, size=24, binary=True)
    with np.load(path, allow_pickle=False) as data:
        assert sorted(data) == sorted(
            f"{part}_{what}" for part in ("train", "val", "test") for what in ("images", "labels")
        )
        assert data["train_images"].shape == (8, 24, 24)
        assert data["train_labels"].shape == (8, 1)
        assert data["train_images"].dtype == data["train_labels"].dtype == np.uint8
        assert len(data["val_images"]) + len(data["test_images"]) == 4
        assert set(np.unique(data["train_labels"])) == {0, 1}
    bare = phantom_npz(tmp_path / "bare.npz", n_patients=4, size=16, test=False)
    with np.load(bare, allow_pickle=False) as data:
        assert "test_images" not in data


def test_image_folder_holds_one_picture_a_patient(tmp_path: Path) -> None:
    root = phantom_image_folder(tmp_path / "a", n_patients=6, size=24)
    assert sorted(p.name for p in root.iterdir()) == ["cyst", "metastasis", "none"]
    pictures = sorted(root.rglob("*.png"))
    assert len(pictures) == 6
    with Image.open(pictures[0]) as picture:
        assert picture.mode == "L"
        assert picture.size == (24, 24)
    parted = phantom_image_folder(tmp_path / "b", n_patients=10, size=16, parts=True)
    counts = {p.name: len(list(p.rglob("*.png"))) for p in parted.iterdir()}
    assert counts == {"train": 7, "val": 1, "test": 2}


def test_windowed_maps_the_window_to_eight_bits() -> None:
    phantom = ct_slice(1, size=16)
    shown = windowed(phantom, window=(40.0, 400.0))
    expected = np.clip((phantom.image.astype(float) + 160) / 400, 0, 1) * 255
    assert shown.dtype == np.uint8
    assert np.abs(shown - expected).max() <= 0.51


def test_set_refuses_unknown_classes() -> None:
    with pytest.raises(DataError, match="lump"):
        next(phantom_patients(n_patients=2, classes=("none", "lump")))
    with pytest.raises(DataError, match="at least 1"):
        next(phantom_patients(n_patients=0))
