"""Figures by group: the same as of the group alone, and none of groups that are too small."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from recipes.classification.evaluating import evaluate
from recipes.errors import ConfigError
from recipes.evaluation import assess
from recipes.evaluation.subgroups import (
    UNKNOWN,
    Grouping,
    group_names,
    parse_grouping,
    subgroups,
)
from tests.recipes.tiny import TinyRun

OPTIONS = {
    "class_names": ("no", "yes"), "positive": "yes", "task": "single", "threshold": 0.4,
    "n_boot": 100, "seed": 3,
}  # fmt: skip


def test_what_by_asks_for() -> None:
    assert parse_grouping("sex") == Grouping("sex")
    assert parse_grouping("age:10") == Grouping("age", 10.0)
    for wrong in ("", ":10", "age:", "age:ten", "age:0", "age:nan"):
        with pytest.raises(ConfigError, match="--by"):
            parse_grouping(wrong)


def test_bands_of_numbers_and_of_dicom_ages() -> None:
    ages = ["39.5", "40", "063Y", "018M", "", None, "-3"]
    assert group_names(ages, Grouping("age", 20)) == [
        "20 to below 40", "40 to below 60", "60 to below 80", "0 to below 20", UNKNOWN, UNKNOWN,
        "-20 to below 0",
    ]  # fmt: skip
    assert group_names(["F", " M", ""], Grouping("sex")) == ["F", "M", UNKNOWN]
    with pytest.raises(ConfigError, match="is no number"):
        group_names(["old"], Grouping("age", 10))
    with pytest.raises(ConfigError, match=r"31 different groups.*age:10"):
        group_names([str(i) for i in range(31)], Grouping("age"))


def test_a_group_is_scored_as_if_it_were_alone_and_small_ones_are_not() -> None:
    rng = np.random.default_rng(2)
    n = 120
    y = rng.integers(0, 2, n)
    p = np.clip(0.5 * y + rng.uniform(0, 0.5, n), 0, 1)
    prob = np.stack([1 - p, p], axis=1)
    patients = [f"p{i // 2}" for i in range(n)]
    names = ["80 to below 90"] * 60 + ["9 to below 10"] * 40 + [UNKNOWN] * 8 + ["100"] * 12
    y[60:96] = 0
    rows = subgroups(y, prob, patients, names, **OPTIONS)
    assert [row["group"] for row in rows] == ["9 to below 10", "80 to below 90", "100", UNKNOWN]
    few, whole, small, unknown = rows
    alone = assess.evaluate(y[:60], prob[:60], patients[:60], **OPTIONS)  # type: ignore[arg-type]
    assert whole["figures"]["auc"] == alone["auc"]
    assert whole["figures"]["sensitivity_op"] == alone["sensitivity_op"]
    assert (whole["n"], whole["n_patients"], whole["n_positive"]) == (60, 30, int(y[:60].sum()))
    assert few["n_positive"] == int(y[60:100].sum()) < 5
    assert "cases of a class" in few["refused"]
    for row in (few, small, unknown):
        assert "figures" not in row
    assert "fewer than 20 cases" in small["refused"]


def test_evaluate_by_column_of_a_table_and_beside_readers(
    tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recipes.evaluation.subgroups.LEAST", 6)
    monkeypatch.setattr("recipes.evaluation.subgroups.LEAST_OF_CLASS", 2)
    files = sorted((tiny_run.data / "test").rglob("*.png"))
    rows = [
        {"path": str(file), "label": file.parent.name, "sex": "FM"[i % 2], "age": 30 + 4 * i}
        for i, file in enumerate(files)
    ]
    _write(tmp_path / "cases.csv", rows)
    scores = [
        {"case": row["path"], "Reader 1": row["label"], "Other system": i / 20}
        for i, row in enumerate(rows)
    ]
    _write(tmp_path / "scores.csv", scores[1:])
    table = tmp_path / "cases.csv"
    found = evaluate(
        tiny_run.out, table, by=["sex", "age:20"], compare=tmp_path / "scores.csv", n_boot=100
    )
    assert [(row["group"], row["n"]) for row in found["subgroups"]["sex"]] == [("F", 6), ("M", 6)]
    bands = {row["group"]: row["n"] for row in found["subgroups"]["age:20"]}
    assert bands == {"20 to below 40": 3, "40 to below 60": 5, "60 to below 80": 4}
    assert found["n_compared"] == 11
    first, other = found["readers"]
    assert (first["reader"], first["kind"], other["kind"]) == ("Reader 1", "calls", "scores")
    assert first["reader_figures"]["sensitivity"]["value"] == 1.0
    assert found["n"] == 12
    assert not any(str(tmp_path) in str(value) for value in found.values())
    with pytest.raises(ConfigError, match=r"no such column.*did you mean 'sex'"):
        evaluate(tiny_run.out, table, by=["sexe"], n_boot=100)


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
