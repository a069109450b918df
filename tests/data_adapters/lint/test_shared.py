"""What is known to be wrong with the real data sets is what lint says of them."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest

from data_adapters.lint import lint, repaired
from data_adapters.lint.report import LintReport

pytestmark = pytest.mark.data


def cases(report: LintReport, code: str) -> set[str | None]:
    """The files that a code was found in."""
    return {one.source for one in report.codes.get(code, [])}


def test_pictures_in_two_parts_of_pneumoniamnist(radzoo_data: Path, tmp_path: Path) -> None:
    with np.load(radzoo_data / "medmnist" / "pneumoniamnist.npz") as file:
        parts = {name: file[name] for name in file.files}
    val = Counter(image.tobytes() for image in parts["val_images"])
    shared = [image.tobytes() in val for image in parts["train_images"]]
    kept = np.flatnonzero(np.asarray(shared) | (np.arange(len(shared)) < 500))
    train = {name: parts[name][kept] for name in ("train_images", "train_labels")}
    np.savez(tmp_path / "pneumoniamnist.npz", **{**parts, **train})
    copies = lint(tmp_path / "pneumoniamnist.npz").codes["duplicate-pixels"]
    across = [one for one in copies if "which is in train and this in val" in one.message]
    in_train = {image.tobytes() for image in train["train_images"]}
    assert len(across) == sum(n for image, n in val.items() if image in in_train) > 0
    everything = val + Counter(image.tobytes() for image in train["train_images"])
    assert len(copies) == sum(n - 1 for n in everything.values())


def test_degenerate_boxes_of_bccd(radzoo_data: Path, tmp_path: Path) -> None:
    source = radzoo_data / "bccd"
    degenerate, names = set(), sorted((source / "Annotations").glob("*.xml"))
    for path in names:
        for box in ElementTree.parse(path).iter("bndbox"):
            sides = {side.tag: float(side.text or 0) for side in box}
            if sides["xmin"] >= sides["xmax"] or sides["ymin"] >= sides["ymax"]:
                degenerate.add(path.stem)
    chosen = sorted({*degenerate, *(path.stem for path in names[:12])})
    for folder, suffix in (("Annotations", ".xml"), ("JPEGImages", ".jpg")):
        (tmp_path / folder).mkdir()
        for name in chosen:
            (tmp_path / folder / (name + suffix)).symlink_to(source / folder / (name + suffix))
    report = lint(tmp_path, policy="repair")
    found = {Path(str(name)).stem for name in cases(report, "box-degenerate")}
    assert found == degenerate
    assert len(degenerate) == 2


def test_scale_of_hippocampus_volumes(radzoo_data: Path, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    source = radzoo_data / "hippocampus"
    names = sorted(path.name for path in (source / "imagesTr").glob("hippo*.nii.gz"))[::3]
    medians = {}
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).symlink_to(source / folder / name)
            if folder == "imagesTr":
                image = sitk.GetArrayFromImage(sitk.ReadImage(str(source / folder / name)))
                medians[name] = float(np.median(image))
    report = lint(tmp_path)
    typical = float(np.median(list(medians.values())))
    far = {name for name, value in medians.items() if value > 50 * typical}
    named = {name: name.removesuffix(".nii.gz") for name in names}
    outliers = " ".join(str(name) for name in cases(report, "intensity-outlier"))
    found = {name for name, stem in named.items() if stem in outliers}
    assert far
    assert far <= found
    assert all(medians[name] > 3 * typical for name in found)
    (group,) = report.statistics
    assert group.limits is not None
    assert group.spacing == ((1.0, 1.0, 1.0),) * 3
    assert {item.name: item.cases for item in report.classes} == {"1": len(names), "2": len(names)}


def test_br35h_has_a_tumour_in_every_picture(radzoo_data: Path) -> None:
    report = lint(radzoo_data / "br35h" / "val.json")
    (tumour,) = report.classes
    assert tumour.cases == report.n_cases == report.n_read == 118
    assert tumour.amount == 672 - 543
    assert report.ok


def test_a_repaired_set_of_films_has_each_film_once(radzoo_data: Path) -> None:
    import data_adapters

    adapter = data_adapters.open(radzoo_data / "medmnist" / "breastmnist.npz")
    report = lint(adapter, policy="repair")
    mended = repaired(adapter, report)
    seen = Counter(mended[i].image.tobytes() for i in range(len(mended)))
    assert set(seen.values()) == {1}


def test_series_of_one_patient(radzoo_data: Path) -> None:
    report = lint(radzoo_data / "dicom" / "mr")
    assert (report.kind, report.n_read) == ("dicom", 3)
    assert set(report.codes) >= {"identifiers", "patient-unknown"}
    assert all("PatientName" in one.message for one in report.codes["identifiers"])
    assert report.codes["patient-unknown"][0].case_id is None


@pytest.mark.parametrize("name", ["dcmqi", "highdicom", "rtstruct"])
def test_whatever_comes_is_reported_without_names(radzoo_data: Path, name: str) -> None:
    folder = radzoo_data / "dicom" / name
    report = lint(folder)
    assert report.n_read == report.n_cases > 0
    plain = repr(report.to_dict())
    for path in folder.rglob("*.dcm"):
        header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "SeriesInstanceUID"):
            value = str(header.get(keyword) or "")
            assert len(value) < 4 or value not in plain
