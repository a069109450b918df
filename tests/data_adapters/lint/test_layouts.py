"""Faults planted in data sets of the usual layouts."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import data_adapters
from data_adapters.lint import lint, repaired
from data_adapters.lint.report import LintReport


def found(report: LintReport) -> set[tuple[str, str | None]]:
    """(code, file) of every finding but those on the whole delivery."""
    return {(one.code, one.source) for one in report.findings if one.case_id is not None}


def write_volume(path: Path, values: np.ndarray, **changes: Any) -> None:
    """A NIfTI file of 1 mm; `changes` are setters of SimpleITK."""
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(values)
    for name, value in changes.items():
        getattr(image, name)(value)
    path.parent.mkdir(exist_ok=True)
    sitk.WriteImage(image, str(path))


def test_masks_of_a_decathlon_task(tmp_path: Path) -> None:
    training = []
    for i in range(12):
        rng = np.random.default_rng((1, i))
        mask = np.zeros((6, 16, 16), np.uint8)
        mask[1:4, 3:9, 3:9] = i != 2
        mask[0, 0, 0] = 7 if i == 4 else 0
        mask = mask[:, :12] if i == 6 else mask
        origin = (3.0, 0.0, 0.0) if i == 8 else (0.0, 0.0, 0.0)
        name = f"a_{i:03d}.nii.gz"
        values = rng.normal(100, 20, (6, 16, 16)).astype(np.float32)
        write_volume(tmp_path / "imagesTr" / name, values)
        write_volume(tmp_path / "labelsTr" / name, mask, SetOrigin=origin)
        training.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    task = {"labels": {"0": "background", "1": "organ"}, "modality": {"0": "MRI"}}
    content = {"name": "x", "numTraining": 12, "training": training, "test": [], **task}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    report = lint(tmp_path)
    assert report.kind == "decathlon"
    assert found(report) == {
        ("empty-mask", "imagesTr/a_002.nii.gz"),
        ("mask-values", "imagesTr/a_004.nii.gz"),
        ("grid", "imagesTr/a_006.nii.gz"),
        ("grid", "imagesTr/a_008.nii.gz"),
    }
    assert {one.name: one.cases for one in report.classes} == {"organ": 8}
    mended = repaired(data := data_adapters.open(tmp_path), lint(data, policy="repair"))
    assert len(mended) == 9
    assert lint(mended).ok


def test_boxes_of_a_coco_file(tmp_path: Path) -> None:
    images, annotations = [], []
    boxes = {1: [4, 4, 30, 5], 2: [-6, 4, 3, 5], 3: [2, 2, 0, 5]}
    for i in range(12):
        values = np.random.default_rng((2, i)).integers(0, 256, (24, 20), np.uint8)
        Image.fromarray(values).save(tmp_path / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "width": 20, "height": 24})
        for box in ([3, 4, 6, 8], *([boxes[i]] if i in boxes else [])):
            number = len(annotations) + 1
            annotations.append({"id": number, "image_id": i, "category_id": 1, "bbox": box})
    categories = [{"id": 1, "name": "lesion"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "set.json").write_text(json.dumps(content))
    report = lint(tmp_path / "set.json")
    assert report.kind == "coco"
    assert found(report) == {
        ("box-clipped", "1.png"),
        ("box-outside", "2.png"),
        ("box-degenerate", "3.png"),
    }
    (lesion,) = report.classes
    assert (lesion.cases, lesion.amount) == (12, 13)


def test_a_zip_of_class_folders(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for i in range(24):
            values = np.random.default_rng((3, i)).integers(0, 256, (20, 20), np.uint8)
            values = np.zeros_like(values) if i == 5 else values
            Image.fromarray(values).save(tmp_path / "one.png")
            archive.write(tmp_path / "one.png", f"{'xy'[i % 2]}/p{i}.png")
    report = lint(tmp_path / "set.zip", options={"patient": "p([0-9]+)"})
    assert found(report) == {("constant-image", "y/p5.png")}
