"""A whole search on a tiny run's pictures, and what it says of itself."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from recipes.classification.fitting import fit
from recipes.engine.checkpoint import write_json
from recipes.engine.trial import Trial
from recipes.errors import RunFolderError
from recipes.intended_use import INTENDED_USE
from recipes.search import results
from recipes.search.command import print_result
from recipes.search.page import context
from recipes.search.plan import SearchPlan
from recipes.search.running import Budget, search
from recipes.search.space import Range, Space
from tests.recipes.search.fakes import make_plan
from tests.recipes.tiny import TinyRun


def parts(folder: Path) -> set[str]:
    """Parts that a run has predicted."""
    with (folder / "predictions.csv").open() as file:
        return {row["part"] for row in csv.DictReader(file)}


def test_a_trial_stops_before_the_test_part_and_is_finished_without_training(
    tiny_run: TinyRun, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(tiny_run.out, out)
    with pytest.raises(RunFolderError, match="test part has been looked at"):
        fit(tiny_run.data, out, tiny_run.config, trial=Trial())
    state = json.loads((out / "run.json").read_text())
    write_json(out / "run.json", state | {"finished": False})
    names = ("metrics.json", "model.keras", "model.json", "report.html", "predictions.csv")
    for name in names:
        (out / name).unlink()
    epochs: list[dict[str, Any]] = []
    summary = fit(tiny_run.data, out, tiny_run.config, trial=Trial(epochs.append))
    there = json.loads((tiny_run.out / "metrics.json").read_text())
    assert (summary["part"], parts(out)) == ("val", {"val"})
    assert not (out / "report.html").exists()
    assert json.loads((out / "metrics.json").read_text())["validation"] == there["validation"]
    assert epochs == []  # the checkpoints were done: nothing was trained
    written = (out / "model.keras").read_bytes()

    assert fit(tiny_run.data, out, tiny_run.config)["part"] == "test"
    assert json.loads((out / "metrics.json").read_text())["metrics"] == there["metrics"]
    assert (out / "model.keras").read_bytes() == written
    assert (out / "report.html").exists()


@pytest.fixture(scope="module")
def plan(tiny_run: TinyRun) -> SearchPlan:
    """Rates and dropout of one network with a short training."""
    quick = tiny_run.config.model_copy(
        update={
            "model": tiny_run.config.model.model_copy(update={"members": 1}),
            "evaluate": tiny_run.config.evaluate.model_copy(update={"tta": False}),
        }
    )
    axes = {
        "train.finetune.learning_rate": Range(1e-4, 1e-2, log=True),
        "model.dropout": Range(0.0, 0.5),
    }
    return SearchPlan("classification", quick.model_dump(mode="json"), Space(axes), "auc")


@pytest.mark.slow
def test_a_search_tests_the_winner_alone_and_decodes_once(
    tiny_run: TinyRun, plan: SearchPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from data_adapters.image_folder import ImageFolder

    read: list[int] = []
    plain = ImageFolder.__getitem__

    def counted(self: Any, i: int) -> Any:
        read.append(i)
        return plain(self, i)

    monkeypatch.setattr(ImageFolder, "__getitem__", counted)
    monkeypatch.setenv("RADZOO_HOME", str(tmp_path / "home"))
    result = search(tiny_run.data, tmp_path / "s", plan, Budget(3))
    assert len(read) <= 48 + 4 * 16  # every case once, and for each fit a look at a few
    winner = result["winner"]
    for number in range(3):
        folder = tmp_path / "s" / "trials" / f"{number:04d}"
        won = number == winner["number"]
        assert parts(folder) == ({"val", "test"} if won else {"val"})
        assert (folder / "model.keras").exists() == won
    finished = [row for row in result["trials"] if row["state"] == "complete"]
    assert winner["validation"]["value"] == max(row["value"] for row in finished)
    assert (winner["part"], winner["n_test"], result["cost"]["test_looks"]) == ("test", 12, 1)
    assert result["cost"]["validation_looks"] == sum(row["looks"] for row in finished) >= 9
    assert "flatters" in result["notes"][0]
    _check_page(tmp_path / "s", result, str(tiny_run.data))

    again = search(tiny_run.data, tmp_path / "s", plan, Budget(3))
    assert again["trials"] == result["trials"]


def _check_page(folder: Path, result: dict[str, Any], data: str) -> None:
    page = (folder / "search.html").read_text()
    assert INTENDED_USE in page
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page)
    assert data not in page
    assert str(folder) not in page
    shown = context(folder, result)
    assert shown["importance"] is None  # three trials say nothing of importance
    assert shown["parallel"].startswith("data:image/svg")
    assert len(re.findall(r"dropout 0\.\d+", page)) == 2  # of each drawn trial its values
    with (folder / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["value"]) for row in rows] == [row["value"] for row in result["trials"]]


class _Book:
    """Ten trials of pure noise on forty validation cases of twenty patients."""

    def __init__(self, folder: Path) -> None:
        self.plan = make_plan()
        self.folder = folder
        rng = np.random.default_rng(3)
        y = np.arange(40) // 2 % 2
        self.y, self.p = y, rng.uniform(size=(10, 40))
        record = {
            "kind": "single", "class_names": ["a", "b"], "positive": "b", "input_shape": [8, 8, 3],
            "input_range": [0, 255], "chain": [], "views": [], "modality": None, "threshold": None,
            "operating_rule": "youden", "backbone": "x", "weights": "none", "members": 1,
            "prevalence": [0.5, 0.5], "data_hash": "", "model_sha256": "", "radzoo": "0",
        }  # fmt: skip
        head = "case_id,patient,study,series,label,part,fold,pixel_sha256,note\n"
        lines = [f"c{i:02d},p{i // 2},,,{'ab'[y[i]]},val,,,\n" for i in range(40)]
        for k in range(10):
            place = self.run(k)
            write_json(place / "model.json", record)
            (place / "splits.csv").write_text(head + "".join(lines))
            rows = [f"c{i:02d},val,{'ab'[y[i]]},{1 - v},{v}\n" for i, v in enumerate(self.p[k])]
            (place / "predictions.csv").write_text("case_id,part,label,p_a,p_b\n" + "".join(rows))

    def run(self, number: int) -> Path:
        return self.folder / f"{number:04d}"


def test_the_choice_among_noise_is_seen_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book: Any = _Book(tmp_path)
    monkeypatch.setattr(results, "RESAMPLES", 120)
    found = results.optimism(book, range(10))
    assert found is not None
    best = max(roc_auc_score(book.y, p) for p in book.p)
    assert found["apparent"] == pytest.approx(best)
    assert found["apparent"] > 0.6
    assert found["corrected"]["value"] == pytest.approx(_reference(book), abs=0.04)
    assert abs(found["corrected"]["value"] - 0.5) < 0.1
    assert found["optimism"] == pytest.approx(best - found["corrected"]["value"])
    assert results.optimism(book, [0]) is None


def _reference(book: Any) -> float:
    """The same estimate by plain loops over drawn patients."""
    rng = np.random.default_rng(11)
    scores = []
    for _ in range(100):
        patients = rng.integers(0, 20, 20)
        inside = np.concatenate([[2 * p, 2 * p + 1] for p in patients])
        outside = np.setdiff1d(np.arange(40), inside)
        if len(set(book.y[inside])) < 2 or len(set(book.y[outside])) < 2:
            continue
        won = max(range(10), key=lambda k: roc_auc_score(book.y[inside], book.p[k][inside]))
        scores.append(roc_auc_score(book.y[outside], book.p[won][outside]))
    return float(np.mean(scores))


def test_result_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    result: dict[str, Any] = {
        "metric": "auc",
        "cost": {"trials": 4, "hours": 0.5, "validation_looks": 31},
        "counts": {"complete": 2, "pruned": 1, "fail": 1},
        "winner": {
            "number": 2, "run": "trials/0002", "values": {"model.dropout": 0.25},
            "validation": {"value": 0.9, "low": 0.8, "high": 0.95},
        },
        "optimism": {"corrected": {"value": 0.88, "low": 0.7, "high": 0.96}},
        "baseline": 0.85,
        "notes": ["mind this"],
    }  # fmt: skip
    print_result(result, Path("S"))
    said = capsys.readouterr().out
    assert "4 trials (2 finished, 1 stopped early, 1 failed), 0.50 hours, 31 looks" in said
    assert re.search(r"corrected for the choice +0\.880  \(95% CI 0\.700 to 0\.960\)", said)
    assert "note: mind this" in said
