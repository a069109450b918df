"""``radzoo data split`` by site, by date and in folds, and a run that takes its round."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from typer.testing import CliRunner, Result

import data_adapters
from data_adapters.split_table import SplitRow, read_splits
from recipes.classification.config import ClassificationConfig, DataConfig
from recipes.classification.data import open_data, prepare
from recipes.cli import app
from recipes.config import load_config


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Forty pictures of twenty patients, four sites and as many years."""
    lines = ["path,label,patient,site,date"]
    for n in range(40):
        pixels = np.random.default_rng(n).integers(0, 256, (20, 20), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{n}.png")
        patient = n // 2
        lines.append(
            f"{n}.png,{n % 2},P{patient},S{patient % 4},{2010 + patient % 7}-01-0{1 + n % 2}"
        )
    (tmp_path / "cases.csv").write_text("\n".join(lines))
    return tmp_path / "cases.csv"


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def split(table: Path, *words: object) -> tuple[dict[str, object], list[SplitRow]]:
    out = table.with_name("splits.csv")
    result = run("data", "split", table, "--out", out, "--json", *words)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout), read_splits(out)


def test_by_site(table: Path) -> None:
    content, rows = split(table, "--by", "site")
    assert content["by"] == "site"
    index = data_adapters.open(table).index
    where = defaultdict(set)
    for entry, row in zip(index, rows, strict=True):
        where[entry.site].add(row.part)
    assert sorted(map(len, where.values())) == [1, 1, 1, 1]
    assert {row.part for row in rows} == {"train", "val", "test"}


def test_by_date(table: Path) -> None:
    _, rows = split(table, "--by", "date")
    index = data_adapters.open(table).index
    days = defaultdict(set)
    for entry, row in zip(index, rows, strict=True):
        days[row.part].add(entry.date or "")
    assert max(days["train"]) < min(days["val"]) <= max(days["val"]) < min(days["test"])
    text = run("data", "split", table, "--out", table.with_name("x.csv"), "--by", "date").stdout
    assert "split by date" in text
    assert "201" not in text.replace(str(table.parent), "")


def test_folds_are_written_and_a_run_takes_its_round(table: Path) -> None:
    content, rows = split(table, "--folds", 4, "--seed", 5)
    assert content["folds"] == [10, 10, 10, 10]
    assert Counter(row.fold for row in rows) == {f"{n}": 10 for n in range(4)}
    assert {row.fold for row in rows if row.part == "test"} == {"0"}
    for fold in (0, 2):
        changes = ["seed=5", "data.folds=4", f"data.fold={fold}", "data.image_size=32"]
        config = load_config(ClassificationConfig, changes=changes)
        prepared = prepare(open_data(str(table), config.data), config)
        tested = {row.case_id for row in prepared.split_rows() if row.part == "test"}
        assert tested == {row.case_id for row in rows if row.fold == f"{fold}"}
        assert {row.fold for row in prepared.split_rows()} == {"0", "1", "2", "3"}
    text = run("data", "split", table, "--out", table.with_name("x.csv"), "--folds", "sites").stdout
    assert "folds of 10, 10, 10, 10 cases" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--by", "hospital"), "split_by"),
        (("--folds", "1"), "folds"),
        (("--folds", "3", "--by", "date"), "past"),
        (("--folds", "21"), "21 folds need 21 patients"),
        (("--folds", "3", "--set", "data.fold=3"), "count from 0"),
    ],
)
def test_refusals_are_one_line(table: Path, words: tuple[str, ...], message: str) -> None:
    result = run("data", "split", table, "--out", table.with_name("x.csv"), *words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not table.with_name("x.csv").exists()


def test_a_fold_without_folds_is_refused() -> None:
    with pytest.raises(ValidationError, match="fold needs folds"):
        DataConfig(fold=1)


def test_masks_are_split_without_labels(tmp_path: Path) -> None:
    lines = ["path,mask,patient"]
    for n in range(12):
        for name in (f"{n}.png", f"{n}-mask.png"):
            pixels = np.random.default_rng(n).integers(0, 2, (20, 20), np.uint8)
            Image.fromarray(pixels).save(tmp_path / name)
        lines.append(f"{n}.png,{n}-mask.png,P{n // 2}")
    (tmp_path / "cases.csv").write_text("\n".join(lines))
    content, rows = split(tmp_path / "cases.csv", "--set", "data.columns.classes=background,lesion")
    assert {part: table["cases"] for part, table in content["counts"].items()} == Counter(  # type: ignore[attr-defined]
        row.part for row in rows
    )
    assert len({(row.patient, row.part) for row in rows}) == 6


def test_blank_patients_are_asked_for(table: Path) -> None:
    lines = [line.split(",") for line in table.read_text().splitlines()]
    blank = [",".join([a, b, "" if n else c, *rest]) for n, (a, b, c, *rest) in enumerate(lines)]
    table.write_text("\n".join(blank))
    content, _ = split(table)
    assert content["unit"] == "image"
    notes = " ".join(content["notes"])  # type: ignore[arg-type]
    assert "blank for every case and counts as unknown" in notes
    assert "--set data.columns.patient=COLUMN" in notes
