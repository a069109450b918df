"""What a repaired delivery hands on, and what is recorded about it."""

from __future__ import annotations

import numpy as np
import pytest

from data_adapters.case import Lesion
from data_adapters.errors import DataError
from data_adapters.lint import lint, repaired
from tests.data_adapters.lint.deliveries import SIDE, Delivery, clean, picture


def spoilt() -> Delivery:
    """Boxes of every kind, a copy, and two cases that cannot be used."""
    data = clean("detection")
    whole = data.cases[3].lesions
    boxes = (
        Lesion(0, box=(4.0, 4.0, 4.0, 9.0)),
        Lesion(0, box=(-2.0, 4.0, 9.0, SIDE + 5.0)),
        Lesion(0, box=(-9.0, 4.0, -2.0, 9.0)),
    )
    data.change(3, lesions=(*whole, *boxes))
    data.change(6, image=data.cases[5].image)
    data.broken = {8: "truncated"}
    image = picture(9)
    image[0, 0] = np.inf
    data.change(9, image=image)
    return data


def test_what_will_be_done_is_in_the_report() -> None:
    report = lint(spoilt(), policy="repair")
    assert report.left_out == ("c006", "c008", "c009")
    assert {case: len(done) for case, done in report.repairs.items()} == {
        "c003": 2,
        "c006": 1,
        "c008": 1,
        "c009": 1,
    }
    assert report.counts["repaired"] == len(report.findings) == 5
    assert report.ok
    assert not lint(spoilt()).ok


def test_the_repaired_cases() -> None:
    data = spoilt()
    mended = repaired(data, lint(data, policy="repair"))
    assert len(mended) == len(mended.index) == 21
    assert {row.case_id for row in data.index} - {row.case_id for row in mended.index} == {
        "c006",
        "c008",
        "c009",
    }
    cases = [mended[i] for i in range(len(mended))]
    assert [case.case_id for case in cases] == [row.case_id for row in mended.index]
    third = next(case for case in cases if case.case_id == "c003")
    assert [lesion.box for lesion in third.lesions] == [
        data.cases[3].lesions[0].box,
        (0.0, 4.0, 9.0, float(SIDE)),
    ]
    assert {skip.case_id: skip.kind for skip in mended.skipped} == {
        "c006": "duplicate-pixels",
        "c008": "truncated",
        "c009": "not-finite",
    }
    assert any("3 cases were left out" in note for note in mended.notes)
    again = lint(mended)
    assert again.ok
    assert {one.repaired != "" for one in again.findings} == {True}
    assert (again.n_read, len(again.findings)) == (21, 5)


def test_a_label_conflict_is_left_to_a_reader() -> None:
    data = clean()
    data.change(4, image=data.cases[3].image)
    report = lint(data, policy="repair")
    assert (report.ok, report.left_out) == (False, ())
    assert len(repaired(data, report)) == len(data)


def test_the_copy_with_a_label_is_kept() -> None:
    data = clean()
    data.change(3, label=None)
    data.change_row(3, label=None)
    data.change(4, image=data.cases[3].image)
    assert lint(data, policy="repair").left_out == ("c003",)


def test_names_and_keys_follow_the_repairs() -> None:
    data = spoilt()
    mended = repaired(data, lint(data, policy="repair"))
    assert mended.identity() != data.identity()
    assert mended.source_name(6) == data.source_name(7)
    assert mended.file_key(3) != data.file_key(3)
    assert mended.file_key(4) == data.file_key(4)


def test_a_report_of_other_data_or_policy_is_refused() -> None:
    data = spoilt()
    with pytest.raises(DataError, match="policy='repair'"):
        repaired(data, lint(data))
    with pytest.raises(DataError, match="other data"):
        repaired(clean(), lint(data, policy="repair"))
