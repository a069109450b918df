"""Faults planted in files: what lint says of folders and tables of DICOM, pictures and volumes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset
from pydicom.uid import SecondaryCaptureImageStorage

from data_adapters.lint import lint

Change = Callable[[FileDataset], None]


def _polarity(data: FileDataset) -> None:
    data.PhotometricInterpretation = "MONOCHROME1"


def _set(**values: Any) -> Change:
    def change(data: FileDataset) -> None:
        for keyword, value in values.items():
            setattr(data, keyword, value)

    return change


def _drop(keyword: str) -> Change:
    return lambda data: delattr(data, keyword)


def _capture(data: FileDataset) -> None:
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    del data.BurnedInAnnotation


def _raise_values(data: FileDataset) -> None:
    data.RescaleIntercept = 5000


FAULTS: dict[str, tuple[Change, set[str]]] = {
    "clean": (_set(), set()),
    "polarity": (_polarity, {"monochrome1"}),
    "lossy": (_set(LossyImageCompression="01"), {"lossy"}),
    "burned in": (_set(BurnedInAnnotation="YES"), {"burned-in"}),
    "unsaid": (_capture, {"burned-in-unknown"}),
    "name": (_set(PatientName="MARKED^NAME"), {"identifiers"}),
    "comment": (_set(ImageComments="call MARKED +49 30 1234567"), {"identifiers"}),
    "position": (_drop("ImagePositionPatient"), {"missing-geometry"}),
    "rescale": (_raise_values, {"intensity-outlier", "not-hounsfield"}),
    "spacing": (_set(PixelSpacing=[90.0, 90.0]), {"spacing-outlier"}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_one_header(phantoms: Path, tmp_path: Path, fault: str) -> None:
    shutil.copytree(phantoms.parent, tmp_path / "copy")
    change, wanted = FAULTS[fault]
    path = sorted((tmp_path / "copy").rglob("*.dcm"))[4]
    data = pydicom.dcmread(path)
    change(data)
    data.save_as(path)
    report = lint(tmp_path / "copy" / phantoms.name)
    assert {one.code for one in report.findings} == wanted
    assert {one.source for one in report.findings} <= {
        path.relative_to(tmp_path / "copy").as_posix()
    }
    assert "MARKED" not in repr(report.to_dict())


def test_one_file_under_two_patients(phantoms: Path, tmp_path: Path) -> None:
    shutil.copytree(phantoms.parent, tmp_path / "copy")
    table = tmp_path / "copy" / phantoms.name
    lines = table.read_text().splitlines()
    path, label, _ = lines[5].split(",")
    shutil.copy(table.parent / path, table.parent / "again.dcm")
    data = pydicom.dcmread(table.parent / "again.dcm")
    data.PatientID = "PHANTOM-0099"
    data.save_as(table.parent / "again.dcm")
    table.write_text("\n".join([*lines, f"again.dcm,{label},PHANTOM-0099"]))
    found = lint(table).codes
    assert {code: len(cases) for code, cases in found.items()} == {
        "one-patient-two-ids": 2,
        "duplicate-pixels": 1,
    }
    assert "another patient id" in found["duplicate-pixels"][0].message


def test_volumes_in_class_folders(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    rng = np.random.default_rng(5)
    for i in range(24):
        values = rng.normal(100, 20, (5, 16, 16)).astype(np.float32)
        if i == 3:
            values *= 1000
        if i in (6, 8):
            values[1, 2, 3] = np.nan if i == 6 else np.inf
        image = sitk.GetImageFromArray(values)
        image.SetSpacing((1.0, 1.0, 30.0 if i == 9 else 2.0))
        path = tmp_path / "xy"[i % 2] / f"{i:02d}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        sitk.WriteImage(image, str(path))
    report = lint(tmp_path, options={"patient": "([0-9]+)"})
    found = {(one.code, one.source) for one in report.findings}
    assert found == {
        ("intensity-outlier", "y/03.nii.gz"),
        ("not-a-number", "x/06.nii.gz"),
        ("not-finite", "x/08.nii.gz"),
        ("spacing-outlier", "y/09.nii.gz"),
    }


def test_what_reading_put_right(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    for i in range(24):
        values = rng.integers(0, 256, (20, 20, 4 if i == 7 else 1), np.uint8)
        path = tmp_path / "xy"[i % 2] / f"{i:02d}.png"
        path.parent.mkdir(exist_ok=True)
        picture = Image.fromarray(values.squeeze())
        if i == 5:
            picture.save(path.with_suffix(".jpg"), format="PNG")
        else:
            picture.save(path)
    report = lint(tmp_path, options={"patient": "([0-9]+)"})
    assert {(one.code, one.source) for one in report.findings} == {
        ("alpha", "y/07.png"),
        ("mislabelled", "y/05.jpg"),
        ("mixed-channels", None),
    }
