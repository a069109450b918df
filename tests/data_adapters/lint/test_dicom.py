"""Faults planted in a tree of DICOM series: each is found, and nothing else is."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset
from typer.testing import CliRunner

import data_adapters
from data_adapters.lint import lint, repaired
from recipes.cli import app
from tests.data_adapters.dicom.samples import image, item, save
from tests.data_adapters.dicom.stacks import write_slice

SLICES, SIDE = 8, 12
Slice = dict[str, Any]
Series = list[Slice]


def series(number: int) -> Series:
    """The elements of every slice of a regular stack of its own patient."""
    rng = np.random.default_rng(number)
    return [
        {
            "StudyInstanceUID": f"1.2.{number}",
            "SeriesInstanceUID": f"1.2.{number}.1",
            "SOPInstanceUID": f"1.2.{number}.1.{k}",
            "FrameOfReferenceUID": f"1.2.{number}.2",
            "PatientID": f"P{number}",
            "BurnedInAnnotation": "NO",
            "InstanceNumber": k + 1,
            "ImagePositionPatient": [-5.0, 7.0, 2.0 * k],
            "Rows": SIDE,
            "Columns": SIDE,
            "PixelData": rng.integers(-900, 900, (SIDE, SIDE)).astype("<i2").tobytes(),
        }
        for k in range(SLICES)
    ]


def deliver(folder: Path, spoil: Callable[[Series], object] = lambda slices: None) -> Path:
    """Three patients with a series each, the second one's spoilt."""
    for number in range(3):
        slices = series(number)
        if number == 1:
            spoil(slices)
        for place, elements in enumerate(slices):
            path = folder / f"Doe^{number}" / f"{(7 * place) % 97:03d}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_slice(path, str(place), **elements)
    return folder


def gap(slices: Series) -> None:
    del slices[3]


def uneven(slices: Series) -> None:
    for k, one in enumerate(slices):
        one["ImagePositionPatient"] = [-5.0, 7.0, 2.0 * k + 0.13 * k**2]


def tilt(slices: Series, degrees: float = 15.0) -> None:
    """A tilted gantry: rows stay, columns lean, the table moves along z."""
    angle = math.radians(degrees)
    for one in slices:
        one["ImageOrientationPatient"] = [1, 0, 0, 0, math.cos(angle), -math.sin(angle)]
        one["GantryDetectorTilt"] = degrees


def repeat_instance(slices: Series) -> None:
    slices.append(dict(slices[2]))


def repeat_position(slices: Series) -> None:
    other = np.random.default_rng(99).integers(-900, 900, (SIDE, SIDE)).astype("<i2")
    slices.append({**slices[2], "SOPInstanceUID": "1.2.1.1.99", "PixelData": other.tobytes()})


def turn(slices: Series) -> None:
    for one in slices[4:]:
        one["ImageOrientationPatient"] = [1, 0, 0, 0, 0, -1]
        one["ImagePositionPatient"] = [-5.0, 2.0 * one["InstanceNumber"], 7.0]


def shrink(slices: Series) -> None:
    for one in slices[4:]:
        one["Rows"] = SIDE - 2
        one["PixelData"] = one["PixelData"][: 2 * SIDE * (SIDE - 2)]


def rescale(slices: Series) -> None:
    for k, one in enumerate(slices):
        one["RescaleSlope"] = 1.0 + k / 10


def second_echo(slices: Series) -> None:
    for one in slices[4:]:
        one["EchoNumbers"] = 2
        one["ImagePositionPatient"] = [-5.0, 7.0, 2.0 * (one["InstanceNumber"] - 5)]


FAULTS: dict[str, tuple[Callable[[Series], object], set[tuple[str, str]]]] = {
    "nothing": (lambda slices: None, set()),
    "missing-slices": (gap, {("error", "missing-slices")}),
    "uneven-spacing": (uneven, {("warning", "uneven-spacing")}),
    "gantry-tilt": (tilt, {("warning", "gantry-tilt")}),
    "duplicate-instance": (repeat_instance, {("warning", "duplicate-instance")}),
    "duplicate-position": (repeat_position, {("error", "duplicate-position")}),
    "mixed-orientation": (turn, {("warning", "mixed-orientation"), ("info", "split-series")}),
    "mixed-size": (shrink, {("warning", "mixed-size"), ("info", "split-series")}),
    "rescale-varies": (rescale, {("info", "rescale-varies")}),
    "split-series": (second_echo, {("info", "split-series")}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_one_series(tmp_path: Path, fault: str) -> None:
    spoil, wanted = FAULTS[fault]
    report = lint(deliver(tmp_path, spoil))
    assert {(one.severity, one.code) for one in report.findings} == wanted
    assert {str(one.source).split("/")[0] for one in report.findings} <= {"Doe^1"}
    assert "Doe" not in repr(report.to_dict())
    refused = fault == "duplicate-position"  # no order of its slices would be right
    assert (report.kind, report.n_read) == ("dicom", report.n_cases - refused)


def test_the_command_on_a_tree(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["data", "lint", str(deliver(tmp_path, gap)), "--json"])
    assert result.exit_code == 1
    content = json.loads(result.stdout)
    assert content["codes"]["missing-slices"]["count"] == 1
    assert content["statistics"][0]["irregular"] == 1


def test_a_gap_between_frames_is_told_like_one_between_files(tmp_path: Path) -> None:
    data = image(np.arange(6 * 64, dtype=np.uint16).reshape(6, 8, 8), Modality="MR")
    data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"
    shared = Dataset()
    shared.PixelMeasuresSequence = item(PixelSpacing=[0.5, 0.5], SliceThickness=2)
    shared.PlaneOrientationSequence = item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    data.SharedFunctionalGroupsSequence = [shared]
    groups = [Dataset() for _ in range(6)]
    for group, height in zip(groups, (0, 2, 4, 10, 12, 14), strict=True):
        group.PlanePositionSequence = item(ImagePositionPatient=[0, 0, height])
    data.PerFrameFunctionalGroupsSequence = groups
    report = lint(data_adapters.open(save(data, tmp_path / "a.dcm")))
    (gap,) = (one for one in report.findings if one.code == "missing-slices")
    assert (gap.severity, gap.case_id) == ("error", data_adapters.open(tmp_path).index[0].case_id)
    assert "2 slices are missing" in gap.message
    assert "irregular-stack" not in report.to_dict()["codes"]


def test_no_header_value_is_in_what_is_written(tmp_path: Path) -> None:
    texts = {"LO", "SH", "LT", "ST", "PN", "UT", "CS", "UC"}
    kept = {"ImageType", "PhotometricInterpretation", "SpecificCharacterSet", "PatientID"}
    folder = deliver(tmp_path / "data" / "MARKED")
    marked = Dataset()
    shown = ["Modality", "PatientName", "StudyDescription", "InstitutionName", "Manufacturer"]
    for tag in [*sorted(DicomDictionary)[::7], *map(tag_for_keyword, shown)]:
        keyword = keyword_for_tag(tag)
        if keyword and dictionary_VR(tag) in texts and tag >> 16 > 2 and keyword not in kept:
            setattr(marked, keyword, "MARKED^NAME")
    marked.private_block(0x0011, "MARKED", create=True).add_new(1, "LO", "MARKED")
    for path in folder.rglob("*.dcm"):
        data = pydicom.dcmread(path)
        data.PatientID = f"MARKED{data.PatientID}"
        data.update(marked)
        data.save_as(path)
    page, repair = tmp_path / "lint.html", ["--policy", "repair"]
    command = ["data", "lint", str(folder)]
    written = [CliRunner().invoke(app, [*command, *more]).output for more in (repair, ["--json"])]
    CliRunner().invoke(app, [*command, "--html", str(page), "-q"])
    written.append(page.read_text())
    for text in written:
        assert "identifiers" in text
        assert "MARKED" not in text.upper()


def plane(places: np.ndarray) -> np.ndarray:
    """A value that is linear in x, y, z (mm), whatever grid it is taken on."""
    return np.asarray(places @ (3.0, -5.0, 4.0) + 20.0)


def paint(slices: Series) -> None:
    """Give every pixel the value of `plane` at its place."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for one in slices:
        axes = np.reshape(one.get("ImageOrientationPatient", [1, 0, 0, 0, 1, 0]), (2, 3))
        start = np.asarray(one["ImagePositionPatient"])
        places = start + columns[..., None] * 0.75 * axes[0] + rows[..., None] * 0.5 * axes[1]
        one["PixelData"] = np.rint(plane(places)).astype("<i2").tobytes()


@pytest.mark.parametrize(("spoil", "code"), [(tilt, "gantry-tilt"), (uneven, "uneven-spacing")])
def test_an_irregular_stack_is_repaired(
    tmp_path: Path, spoil: Callable[[Series], object], code: str
) -> None:
    def spoilt(slices: Series) -> None:
        spoil(slices)
        paint(slices)

    adapter = data_adapters.open(deliver(tmp_path, spoilt))
    report = lint(adapter, policy="repair")
    assert report.ok
    assert [(one.code, one.repaired) for one in report.findings] == [
        (code, "resampled to a regular grid")
    ]
    (case_id,) = report.repairs
    mended = repaired(adapter, report)
    row = next(i for i, row in enumerate(mended.index) if row.case_id == case_id)
    case, before = mended[row], adapter[row]
    assert before.geometry is not None
    assert before.geometry.positions
    geometry = case.geometry
    assert geometry is not None
    assert geometry.positions == ()
    axes = np.asarray(geometry.direction) * np.asarray(geometry.spacing)[:, None]
    assert np.allclose(axes @ axes.T, np.diag(np.diag(axes @ axes.T)), atol=1e-4)
    index = np.stack(np.meshgrid(*map(np.arange, case.image.shape[:3]), indexing="ij"), -1)
    wanted = plane(np.asarray(geometry.origin) + index @ axes)
    known = np.ones(wanted.shape, bool) if case.padding is None else ~case.padding
    known[:, [0, -1]] = False  # edges: half a voxel beyond the slices is taken from the edge
    known[:, :, [0, -1]] = False
    assert known.mean() > 0.5
    np.testing.assert_allclose(case.image[..., 0][known], wanted[known], atol=1.01)
    untouched = next(i for i, row in enumerate(mended.index) if row.case_id not in report.repairs)
    np.testing.assert_array_equal(mended[untouched].image, adapter[untouched].image)
    assert lint(mended).ok


def test_missing_slices_are_left_to_a_person(tmp_path: Path) -> None:
    report = lint(deliver(tmp_path, gap), policy="repair")
    assert not report.ok
    assert report.repairs == {}
