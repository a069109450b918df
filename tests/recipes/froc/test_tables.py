"""Tables in LUNA16's form are read as the challenge reads them, and what does not fit is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from data_adapters.errors import DataError
from recipes.cli import app
from recipes.errors import RecipeError
from recipes.evaluation.froc import HitRule, score_tables
from tests.recipes.froc.reference import slow_points
from tests.recipes.froc.test_froc import drawn

TRUTH = "seriesuid,coordX,coordY,coordZ,diameter_mm\n"
MARKS = "seriesuid,coordX,coordY,coordZ,probability\n"


def table(
    path: Path, head: str, rows: list[Any], *, name: str = "1.3.{}", twice: float = 1
) -> Path:
    lines = [
        f"1.3.{scan},{place[0]!r},{place[1]!r},{place[2]!r},{value * twice!r}"
        for scan, place, value in ((s, [float(v) for v in p], x) for s, p, x in rows)
    ]
    path.write_bytes((head + "\n".join(lines) + "\n").replace("\n", "\r\n").encode())
    return path


def test_figures_equal_the_slow_reference(tmp_path: Path) -> None:
    lesions, marks, others = drawn(3)
    scans = tmp_path / "s.csv"
    scans.write_text("".join(f"1.3.{k}\n" for k in range(30)))
    result = score_tables(
        table(tmp_path / "t.csv", TRUTH, lesions, twice=2),
        table(tmp_path / "c.csv", MARKS, marks),
        excluded=table(tmp_path / "e.csv", TRUTH, others, twice=2),
        scans=scans,
        max_candidates=6,
        n_boot=100,
    )
    rate, sensitivity = slow_points(30, lesions, marks, others, 6)
    for key, value in result["froc"].items():
        assert value == pytest.approx(np.interp(float(key), rate, sensitivity)), key
    assert result["cpm"] == pytest.approx(np.mean(list(result["froc"].values())))
    assert (result["n_scans"], result["n_lesions"]) == (30, len(lesions))
    low, high = result["intervals"]["cpm"]
    assert low <= result["cpm"] <= high
    assert result["notes"] == []


def test_ids_are_text_and_scans_without_candidates_count(tmp_path: Path) -> None:
    truth = tmp_path / "t.csv"
    truth.write_text(TRUTH + "007,0,0,0,10\n")
    marks = tmp_path / "c.csv"
    marks.write_text(MARKS + "7,0,0,0,0.9\n007,30,0,0,0.5\n007,1,0,0,0.4\nother,0,0,0,0.99\n")
    scans = tmp_path / "s.csv"
    scans.write_text("seriesuid\n007\n7\n8\n9\n")
    result = score_tables(truth, marks, scans=scans, n_boot=0)
    assert (result["n_scans"], result["n_false_positives"]) == (4, 2)
    assert result["froc"]["0.5"] == 1.0
    assert result["froc"]["0.25"] == 0.0
    assert result["notes"] == ["1 candidates of scans that are not in the list do not count"]
    open_list = score_tables(truth, marks, n_boot=0)
    assert open_list["n_scans"] == 3
    assert "give --scans" in open_list["notes"][0]


def test_an_unknown_diameter_of_an_excluded_finding_is_10_mm(tmp_path: Path) -> None:
    truth, marks, others = (tmp_path / f"{name}.csv" for name in "tce")
    truth.write_text(TRUTH + "a,0,0,0,10\n")
    marks.write_text(MARKS + "a,50,0,0,0.9\na,56,0,0,0.8\n")
    others.write_text(TRUTH + "a,52,0,0,-1\n")
    result = score_tables(truth, marks, excluded=others, n_boot=0)
    assert (result["n_ignored"], result["n_false_positives"]) == (2, 0)
    others.write_text(TRUTH + "a,51,0,0,-1\n")
    result = score_tables(truth, marks, excluded=others, n_boot=0)
    assert (result["n_ignored"], result["n_false_positives"]) == (1, 1), "5 mm is not below 5 mm"


def test_a_detector_that_found_nothing_has_a_table_of_no_rows(tmp_path: Path) -> None:
    truth, marks = tmp_path / "t.csv", tmp_path / "c.csv"
    truth.write_text(TRUTH + "a,0,0,0,10\nb,0,0,0,10\n")
    marks.write_text(MARKS)
    assert score_tables(truth, marks, n_boot=0)["cpm"] == 0


def test_patients_are_the_unit_of_intervals(tmp_path: Path) -> None:
    lesions, marks, _ = drawn(5)
    truth = table(tmp_path / "t.csv", TRUTH, lesions, twice=2)
    found = table(tmp_path / "c.csv", MARKS, marks)
    people = tmp_path / "p.csv"
    people.write_text("seriesuid,patient\n" + "".join(f"1.3.{k},{k // 6}\n" for k in range(30)))
    alone = score_tables(truth, found, n_boot=500)
    result = score_tables(truth, found, patients=people, n_boot=500)
    assert (result["unit"], result["n_patients"]) == ("patient", 5)
    assert result["froc"] == alone["froc"]
    assert result["intervals"] != alone["intervals"]
    people.write_text("seriesuid,patient\n1.3.0,a\n")
    with pytest.raises(DataError, match=r"names no patient for 2\d of \d+ scans"):
        score_tables(truth, found, patients=people)


@pytest.mark.parametrize(
    ("truth", "marks", "said"),
    [
        ("a,0,0,0,-3\n", "a,0,0,0,1\n", "line 2 of t.csv: diameter_mm is -3"),
        ("a,0,0,x,3\n", "a,0,0,0,1\n", "line 2 of t.csv: coordZ is 'x', no number"),
        ("a,0,0,0,3\n", "a,0,0,0,1\na,0,0,0,nan\n", "line 3 of c.csv: probability is 'nan'"),
        (",0,0,0,3\n", "a,0,0,0,1\n", "line 2 of t.csv: seriesuid is empty"),
        ("", "a,0,0,0,1\n", "t.csv holds no lesion"),
    ],
)
def test_rows_that_make_no_sense_are_named(
    tmp_path: Path, truth: str, marks: str, said: str
) -> None:
    (tmp_path / "t.csv").write_text(TRUTH + truth)
    (tmp_path / "c.csv").write_text(MARKS + marks)
    with pytest.raises((DataError, RecipeError), match=said):
        score_tables(tmp_path / "t.csv", tmp_path / "c.csv")


def test_rules_of_boxes_and_missing_columns_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(TRUTH + "a,0,0,0,3\n")
    (tmp_path / "c.csv").write_text("seriesuid,coordX,coordY,coordZ\na,0,0,0\n")
    with pytest.raises(DataError, match=r"no column 'probability' in c\.csv"):
        score_tables(tmp_path / "t.csv", tmp_path / "c.csv")
    with pytest.raises(RecipeError, match="wants boxes"):
        score_tables(tmp_path / "t.csv", tmp_path / "t.csv", rule=HitRule("iou", 0.5))


def test_the_command_prints_figures_and_json(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(TRUTH + "a,0,0,0,10\n")
    (tmp_path / "c.csv").write_text(MARKS + "a,0,0,0,0.7\n")
    words = ["detect", "froc", "--truth", str(tmp_path / "t.csv"), "--candidates",
             str(tmp_path / "c.csv")]  # fmt: skip
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0
    assert "1 lesions, 1 scans (0 normal), 0 false positives" in shown.output
    assert "CPM" in shown.output
    told = json.loads(CliRunner().invoke(app, [*words, "--json"]).output)
    keys = ["0.125", "0.25", "0.5", "1", "2", "4", "8"]
    assert told["froc"] == dict.fromkeys(keys, 1.0)
    assert (told["cpm"], told["n_scans"], told["n_lesions"]) == (1.0, 1, 1)
    missing = CliRunner().invoke(app, [*words[:-1], str(tmp_path / "none.csv")])
    assert missing.exit_code != 0
    assert "none.csv" in missing.output
