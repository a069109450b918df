"""What a report holds beside the planted faults, and how it is made."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import data_adapters
from data_adapters.adapter import Skip
from data_adapters.errors import DataError
from data_adapters.findings import Finding
from data_adapters.lint import lint
from tests.data_adapters.lint.deliveries import clean, picture


def test_a_case_that_cannot_be_read_is_an_error_of_its_kind() -> None:
    data = clean()
    data.broken = {3: "truncated", 4: "not-finite"}
    report = lint(data)
    assert {one.code: one.case_id for one in report.findings} == {
        "truncated": "c003",
        "not-finite": "c004",
    }
    assert not report.ok
    assert (report.n_read, report.n_cases) == (22, 24)


def test_what_the_adapter_left_out_or_noticed_is_reported() -> None:
    data = clean()
    data.skipped = (
        Skip("x01", "zero-byte", "the file is empty", "Doe.png"),
        Skip("x02", "localizer", "taken to plan others"),
        Skip("x03", "unlabelled", "the case has no label"),
    )
    noticed = Finding("warning", "gantry-tilt", "tilted by 15°", "Resample.", "c003")
    data.findings = (noticed, noticed)
    data.notes = ("2 hidden files were ignored",)
    report = lint(data)
    assert [(one.severity, one.code, one.case_id) for one in report.findings] == [
        ("error", "zero-byte", "x01"),
        ("warning", "gantry-tilt", "c003"),
        ("warning", "unlabelled", "x03"),
        ("info", "localizer", "x02"),
    ]
    assert [one.source for one in report.findings] == ["Doe.png", "Doe^John/3.dcm", None, None]
    assert report.notes == data.notes


def test_findings_come_by_severity_code_and_place() -> None:
    data = clean()
    data.change_file(9, photometric="MONOCHROME1")
    data.change_file(3, photometric="MONOCHROME1")
    data.change_file(1, lossy=True)
    data.broken = {7: "truncated"}
    found = [(one.code, one.case_id) for one in lint(data, workers=4).findings]
    assert found == [
        ("truncated", "c007"),
        ("lossy", "c001"),
        ("monochrome1", "c003"),
        ("monochrome1", "c009"),
    ]


def test_own_names_stay_out_unless_asked_for() -> None:
    data = clean()
    data.change_file(3, texts=("PatientComments",), patient_id="Doe^John")
    report = lint(data)
    plain = json.dumps(report.to_dict(), allow_nan=False)
    assert "Doe" not in plain
    assert "PatientComments" in plain
    named = report.to_dict(names=True)
    assert named["findings"][0]["source"] == "Doe^John/3.dcm"


def test_one_patient_under_two_ids_by_the_headers_alone() -> None:
    for uid in ("sop_uid", "series_uid", "study_uid"):
        data = clean()
        data.change_file(4, **{uid: getattr(data.files[3][0], uid)})
        report = lint(data)
        assert [(f.code, f.case_id) for f in report.findings] == [
            ("one-patient-two-ids", "c003"),
            ("one-patient-two-ids", "c004"),
        ]
        for place in (3, 4):
            data.change_file(place, patient_id="same")
            data.change_row(place, patient_id="same")
        assert lint(data).ok


def test_copies_of_one_patient_or_with_other_masks() -> None:
    data = clean("segmentation")
    data.change(4, image=data.cases[3].image)
    assert [f.code for f in lint(data).findings] == ["duplicate-pixels"]
    data.change(4, mask=np.roll(np.asarray(data.cases[4].mask), 1, axis=0))
    assert [f.code for f in lint(data).findings] == ["label-conflict"] * 2


def test_unknown_labels_contradict_nothing() -> None:
    nan = float("nan")
    for second, code in (((1.0, nan), "duplicate-pixels"), ((0.0, nan), "label-conflict")):
        data = clean()
        data.task = "multilabel"
        for i in range(len(data)):
            data.change_row(i, label=None, labels=(float(i % 2), 1.0))
        data.change_row(3, labels=(1.0, 0.0))
        data.change_row(4, labels=second)
        data.change(4, image=data.cases[3].image)
        assert code in {one.code for one in lint(data).findings}
        assert len(lint(data).codes[code]) == (1 if code == "duplicate-pixels" else 2)


def test_what_an_adapter_recorded_is_not_said_twice() -> None:
    data = clean("segmentation")
    data.change(3, mask=np.zeros((24, 24), np.uint8))
    data.findings = (Finding("info", "empty-mask", "known to be empty", case_id="c003"),)
    assert [one.message for one in lint(data).findings] == ["known to be empty"]


def test_near_duplicates_of_one_known_patient_are_expected() -> None:
    data = clean()
    smooth = np.kron(picture(50, shape=(6, 6, 1)), np.ones((4, 4, 1), np.float32))
    data.change(3, image=smooth)
    data.change(4, image=smooth + 3.0)
    assert [f.code for f in lint(data).findings] == ["near-duplicate"]
    data.change_row(4, patient_id="p003")
    assert lint(data).findings == ()
    for row in (3, 4):
        data.change_row(row, patient_id=None, study_id="s3")
    assert [f.code for f in lint(data).findings] == ["patient-unknown"]


def test_ranges_by_modality() -> None:
    data = clean(volumes=True)
    geometry = data.cases[0].geometry
    assert geometry is not None
    data.change(0, geometry=replace(geometry, spacing=(2.5, 1.0, 1.0)))
    (group,) = lint(data).statistics
    assert (group.modality, group.axes, group.cases) == ("MR", "volume", 24)
    assert group.size == ((6.0, 6.0, 6.0), (24.0, 24.0, 24.0), (24.0, 24.0, 24.0))
    assert group.spacing[0] == (2.0, 2.0, 2.5)
    medians = [float(np.median(case.image)) for case in data.cases]
    assert group.intensity == pytest.approx((min(medians), float(np.median(medians)), max(medians)))
    assert group.histogram == tuple(np.histogram(medians, bins=24)[0])
    lows, highs = zip(*((case.image.min(), case.image.max()) for case in data.cases), strict=True)
    assert group.limits == (min(lows), max(highs))


def test_padding_takes_no_part_in_statistics() -> None:
    data = clean()
    padding = np.zeros((24, 24), bool)
    padding[:8] = True
    for i in range(len(data)):
        image = data.cases[i].image.copy()
        image[padding] = -1024
        data.change(i, image=image, padding=padding)
    (group,) = lint(data).statistics
    assert group.limits is not None
    assert group.limits[0] > -1024


def test_voxels_and_boxes_are_counted_by_class() -> None:
    (organ,) = lint(clean("segmentation")).classes
    assert (organ.name, organ.cases, organ.amount) == ("organ", 24, 24 * 49)
    (lesion,) = lint(clean("detection")).classes
    assert (lesion.name, lesion.cases, lesion.amount) == ("lesion", 24, 24)


def test_progress_is_told_from_the_calling_thread() -> None:
    told: list[tuple[int, int, int]] = []
    lint(clean(), progress=lambda done, of: told.append((done, of, threading.get_ident())))
    assert [entry[:2] for entry in told] == [(i, 24) for i in range(1, 25)]
    assert {entry[2] for entry in told} == {threading.get_ident()}


def test_at_most_as_many_cases_as_workers_are_in_memory() -> None:
    data = clean()
    lock, inside, most = threading.Lock(), [0], [0]
    read = type(data).__getitem__

    class Counting(type(data)):  # type: ignore[misc]
        def __getitem__(self, i: int) -> data_adapters.Case:
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            try:
                return read(self, i)
            finally:
                with lock:
                    inside[0] -= 1

    data.__class__ = Counting
    lint(data, workers=3)
    assert 1 <= most[0] <= 3


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(DataError, match="did you mean 'strict'"):
        lint(clean(), policy="strickt")


def test_a_phantom_delivery_is_clean(phantoms: Path) -> None:
    report = lint(phantoms, policy="strict")
    assert report.findings == ()
    assert report.n_read == report.n_cases == 33


def test_options_reach_the_adapter(phantoms: Path) -> None:
    assert len(lint(phantoms, options={"label": "patient"}).classes) == 33
    with pytest.raises(DataError, match="unknown option"):
        lint(phantoms, options={"lable": "patient"})
