"""Linting before a run: what stops it, what is mended, and where that is written."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

import data_adapters
from recipes.classification.config import ClassificationConfig
from recipes.config import load_config
from recipes.errors import RecipeError
from recipes.linting import checked
from recipes.progress import Reporter
from tests.recipes.tiny import TINY, write_pictures
from tests.recipes.tiny_backbone import NAME, write_weights

QUIET = Reporter(quiet=True)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Films in parts, one of them twice in training and one cut short."""
    folder = write_pictures(tmp_path / "data", per_class={"train": 12, "val": 6, "test": 6})
    shutil.copy(folder / "train" / "lesion" / "0.png", folder / "train" / "lesion" / "Doe.png")
    cut = folder / "train" / "plain" / "0.png"
    cut.write_bytes(cut.read_bytes()[:200])
    return folder


def test_off_does_nothing(pictures: Path) -> None:
    adapter = data_adapters.open(pictures)
    assert checked(adapter, "off", QUIET) == (adapter, None)


def test_report_stops_nothing(pictures: Path) -> None:
    adapter = data_adapters.open(pictures)
    same, report = checked(adapter, "report", QUIET)
    assert same is adapter
    assert report is not None
    assert not report.ok


def test_strict_stops_at_errors_and_warnings(pictures: Path) -> None:
    adapter = data_adapters.open(pictures, patient="([a-zA-Z0-9]+).png")
    with pytest.raises(RecipeError, match="duplicate-pixels 1") as caught:
        checked(adapter, "strict", QUIET)
    assert "truncated 1" in str(caught.value) or "corrupt 1" in str(caught.value)
    assert "Doe" not in str(caught.value)


def test_repair_mends_or_stops(pictures: Path) -> None:
    mended, report = checked(data_adapters.open(pictures), "repair", QUIET)
    assert report is not None
    assert len(mended) == report.n_cases - 2 == 48 - 1
    film = pictures / "train" / "lesion" / "0.png"
    shutil.copy(film, pictures / "train" / "plain" / "other.png")
    with pytest.raises(RecipeError, match="label-conflict 3"):
        checked(data_adapters.open(pictures), "repair", QUIET)


@pytest.mark.slow
def test_a_run_on_repaired_data_says_so(pictures: Path, tmp_path: Path) -> None:
    from recipes.classification.fitting import fit

    weights = write_weights(tmp_path / "start.weights.h5")
    own = [f"model.backbone={NAME}", f"model.weights={weights}", "model.members=1"]
    short = ["train.head.epochs=1", "train.finetune.epochs=1", "data.lint=repair"]
    config = load_config(ClassificationConfig, changes=[*TINY, *own, *short])
    fit(str(pictures), tmp_path / "run", config)
    found = json.loads((tmp_path / "run" / "lint.json").read_text())
    assert found["ok"]
    assert len(found["left_out"]) == 2
    assert "Doe" not in (tmp_path / "run" / "lint.json").read_text()
    with (tmp_path / "run" / "splits.csv").open() as file:
        used = {row["case_id"] for row in csv.DictReader(file)}
    assert len(used) == 47
    assert not used & set(found["left_out"])
    assert "2 cases were left out" in (tmp_path / "run" / "report.html").read_text()
