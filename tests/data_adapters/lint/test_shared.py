"""What is known to be wrong with the real data sets is what lint says of them."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from data_adapters.lint import lint, repaired
from data_adapters.lint.report import LintReport

pytestmark = pytest.mark.data


def cases(report: LintReport, code: str) -> set[str | None]:
    """The files that a code was found in."""
    return {one.source for one in report.codes.get(code, [])}


def test_pictures_in_two_parts_of_pneumoniamnist(radzoo_data: Path) -> None:
    path = radzoo_data / "medmnist" / "pneumoniamnist.npz"
    report = lint(path)
    with np.load(path) as file:
        train = {image.tobytes() for image in file["train_images"]}
        val = Counter(image.tobytes() for image in file["val_images"])
        everything = Counter(
            image.tobytes() for part in ("train", "val") for image in file[f"{part}_images"]
        )
    copies = report.codes["duplicate-pixels"]
    across = [one for one in copies if "which is in train and this in val" in one.message]
    assert len(across) == sum(n for image, n in val.items() if image in train) > 0
    assert len(copies) == sum(n - 1 for n in everything.values())
    assert set(report.codes) == {"duplicate-pixels", "patient-unknown"}


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
