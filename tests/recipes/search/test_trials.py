"""Every recipe stops before its test part as a trial, and is finished without training again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from recipes.engine.checkpoint import write_json
from recipes.engine.trial import Trial
from recipes.errors import RunFolderError
from recipes.registry import RECIPES
from recipes.search.plan import objective_of
from recipes.search.trials import UndefinedMetricError, forget, looks, read_outcome
from tests.recipes.detection.tiny import TinyDetection
from tests.recipes.segmentation.tiny import TinySegmentation

NAMES = ("metrics.json", "model.keras", "model.json", "report.html", "model_card.md")


def unfinished(folder: Path) -> None:
    """Take a finished run back to where its training was over."""
    state = json.loads((folder / "run.json").read_text())
    write_json(folder / "run.json", state | {"finished": False, "validated": False})
    for name in NAMES:
        (folder / name).unlink(missing_ok=True)
    first = folder / "first" / "run.json"
    if first.is_file():  # the stage before had come as far
        state = json.loads(first.read_text())
        write_json(first, state | {"finished": False, "validated": True})


@pytest.mark.parametrize("task", ["segmentation", "detection"])
def test_a_trial_and_its_end(
    task: str,
    tiny_segmentation: TinySegmentation,
    tiny_detection: TinyDetection,
    tmp_path: Path,
) -> None:
    tiny: Any = {"segmentation": tiny_segmentation, "detection": tiny_detection}[task]
    recipe = next(one for one in RECIPES if one.task == task)
    fit, out = recipe.part("fitting:fit"), tmp_path / "run"
    shutil.copytree(tiny.out, out)
    with pytest.raises(RunFolderError, match="test part has been looked at"):
        fit(tiny.data, out, tiny.config, trial=Trial())
    unfinished(out)
    rounds: list[dict[str, Any]] = []
    assert fit(tiny.data, out, tiny.config, trial=Trial(rounds.append))["part"] == "val"
    assert rounds == []  # the checkpoints were done
    assert not (out / "report.html").exists()
    there = json.loads((tiny.out / "metrics.json").read_text())
    objective = objective_of(task, None)
    outcome = read_outcome(out, objective)
    figure = there["validation"]
    for key in objective.place:
        figure = figure[key]
    assert outcome.value == figure["value"]
    assert outcome.looks == looks(out) >= 3
    files = ("model.keras",) if task == "segmentation" else ("first/model.keras",)
    kept = {name: (out / name).read_bytes() for name in files}

    fit(tiny.data, out, tiny.config)
    assert json.loads((out / "metrics.json").read_text())["validation"] == there["validation"]
    assert (out / "report.html").exists()
    assert {name: (out / name).read_bytes() for name in files} == kept
    forget(out)
    assert not list(out.rglob("model.keras"))
    assert read_outcome(out, objective).value == outcome.value


def test_an_undefined_figure_is_said(tmp_path: Path) -> None:
    nothing = {"value": None, "low": None, "high": None}
    write_json(tmp_path / "metrics.json", {"validation": {"auc": nothing, "n": 5}})
    with pytest.raises(UndefinedMetricError, match="auc is undefined"):
        read_outcome(tmp_path, objective_of("classification", None))
