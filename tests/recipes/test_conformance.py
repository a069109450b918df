"""What every registered recipe must do alike."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from data_adapters.errors import DataError
from recipes.cli import app
from recipes.config import load_config, to_yaml
from recipes.errors import ConfigError, RecipeError, RunFolderError
from recipes.intended_use import INTENDED_USE
from recipes.registry import RECIPES, Recipe

FIXTURES = {
    "classification": "tiny_run",
    "segmentation": "tiny_segmentation",
    "detection": "tiny_detection",
}
"""A finished run for each task; a new recipe needs one."""
FILES = {"config.yaml", "run.json", "splits.csv", "metrics.json", "model.json", "report.html",
         "model_card.md"}  # fmt: skip


@pytest.fixture(params=RECIPES, ids=[recipe.command for recipe in RECIPES])
def recipe(request: pytest.FixtureRequest) -> Recipe:
    """Each recipe in turn."""
    found: Recipe = request.param
    return found


@pytest.fixture
def finished(recipe: Recipe, request: pytest.FixtureRequest) -> Any:
    """A finished run of the recipe: ``data``, ``out`` and ``config``."""
    return request.getfixturevalue(FIXTURES[recipe.task])


def figures(content: Any) -> Iterator[dict[str, Any]]:
    """Every figure with an interval, however deep."""
    if isinstance(content, dict):
        if {"value", "low", "high"} <= set(content):
            yield content
        for value in content.values():
            yield from figures(value)


def test_the_configuration_is_data(recipe: Recipe, tmp_path: Path) -> None:
    kind = recipe.config_class()
    default = kind()
    assert default.task == recipe.task
    path = tmp_path / "run.yaml"
    path.write_text(to_yaml(default))
    assert load_config(kind, file=path) == default
    with pytest.raises(ConfigError, match="did you mean 'train'"):
        load_config(kind, changes=["trian.devices=cpu"])
    with pytest.raises(ConfigError):
        load_config(kind, changes=["seed=-1"])


def test_the_command_has_the_same_shape(recipe: Recipe) -> None:
    for name in ("fit", "evaluate", "predict"):
        shown = CliRunner().invoke(app, [recipe.command, name, "--help"])
        assert shown.exit_code == 0
        for option in ("--json", "--quiet"):
            assert option in shown.output, (name, option)
        if name == "fit":
            for option in ("--out", "--set", "--config", "--seed"):
                assert option in shown.output, option


@pytest.mark.slow
def test_a_finished_run_says_what_it_is_for_and_names_no_place(
    finished: Any, recipe: Recipe
) -> None:
    assert {path.name for path in finished.out.iterdir()} >= FILES
    record = json.loads((finished.out / "model.json").read_text())
    assert record["task"] == recipe.task
    assert record["intended_use"] == INTENDED_USE
    for name in ("report.html", "model_card.md"):
        assert INTENDED_USE in (finished.out / name).read_text(), name
    for name in FILES - {"config.yaml"}:
        text = (finished.out / name).read_text()
        for place in (finished.data, finished.out):
            assert str(place) not in text, (name, place)


@pytest.mark.slow
def test_figures_have_intervals_that_hold_them(finished: Any, recipe: Recipe) -> None:
    told = json.loads((finished.out / "metrics.json").read_text())
    assert told["metrics"]["n"] > 0
    again = recipe.part("evaluating:evaluate")(
        finished.out, finished.data, part=told["part"], n_boot=100
    )
    json.dumps(again, allow_nan=False)
    assert again["n"] == told["metrics"]["n"]
    found = [one for one in figures(again) if None not in (one["value"], one["low"], one["high"])]
    assert len(found) >= 5
    for one in found:
        assert one["low"] - 1e-9 <= one["value"] <= one["high"] + 1e-9


@pytest.mark.slow
def test_a_finished_run_is_kept_and_another_configuration_refused(
    finished: Any, recipe: Recipe
) -> None:
    fit = recipe.part("fitting:fit")
    path = finished.out / "model.json"
    before = path.stat().st_mtime_ns
    fit(finished.data, finished.out, finished.config)
    assert path.stat().st_mtime_ns == before
    other = finished.config.model_copy(update={"seed": finished.config.seed + 1})
    with pytest.raises(RunFolderError, match="another configuration"):
        fit(finished.data, finished.out, other)


@pytest.mark.slow
def test_what_cannot_be_read_is_a_row_and_what_is_not_there_an_error(
    finished: Any, recipe: Recipe, tmp_path: Path
) -> None:
    predict = recipe.part("predicting:predict")
    out = tmp_path / ("out.csv" if recipe.task == "classification" else "out")
    cv2.imwrite(str(tmp_path / "good.png"), np.full((64, 72), 90, np.uint8))
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n no picture")
    rows = predict(finished.out, [tmp_path / "good.png", tmp_path / "bad.png"], out)
    states = {Path(row["file"]).name: row["status"] for row in rows}
    assert states["bad.png"] not in ("ok", "unfit")
    assert states["good.png"] == ("unfit" if recipe.task == "segmentation" else "ok")
    with pytest.raises((DataError, RecipeError)):
        predict(finished.out, [tmp_path / "none.png"], out)


def test_a_folder_without_a_run_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"no model\.json in the run folder"):
        recipe.part("evaluating:evaluate")(tmp_path, tmp_path)
