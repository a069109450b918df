"""``radzoo weights export``: a run's backbone starts the next run, and its cases are known."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import zoo
from data_adapters.errors import LeakageError
from recipes.classification.fitting import fit
from recipes.cli import app
from recipes.config import load_config
from recipes.engine.modelfile import load_model
from recipes.errors import ConfigError, RunFolderError
from recipes.exporting import export_backbone
from recipes.fewlabels.gate import SEEN
from tests.recipes.tiny import TinyRun
from tests.recipes.tiny_backbone import NAME


def test_what_is_exported_is_the_members_backbone(tiny_run: TinyRun, tmp_path: Path) -> None:
    done = export_backbone(tiny_run.out, tmp_path / "w", member=1)
    assert done["backbone"] == NAME
    assert done["files"] == ["backbone.weights.h5", SEEN]
    model, record = load_model(tiny_run.out)
    member = model.get_layer("member_1")
    loaded = zoo.create_backbone(
        NAME, input_shape=record.input_shape, weights=tmp_path / "w" / "backbone.weights.h5"
    )
    shared = {layer.name for layer in member.layers} & {layer.name for layer in loaded.layers}
    same = [name for name in shared if loaded.get_layer(name).weights]
    assert len(same) == done["layers"] > 2
    for name in same:
        for ours, theirs in zip(
            loaded.get_layer(name).get_weights(), member.get_layer(name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
    other = model.get_layer("member_0")
    assert not all(
        np.array_equal(ours, theirs)
        for name in same
        for ours, theirs in zip(
            loaded.get_layer(name).get_weights(), other.get_layer(name).get_weights(), strict=True
        )
    )


def test_layers_that_the_run_left_out_are_as_it_started(tiny_run: TinyRun, tmp_path: Path) -> None:
    done = export_backbone(tiny_run.out, tmp_path / "w")
    assert done["kept"], "the tiny run uses a middle level"
    shape = load_model(tiny_run.out)[1].input_shape
    ours = zoo.create_backbone(
        NAME, input_shape=shape, weights=tmp_path / "w" / "backbone.weights.h5"
    )
    start = zoo.create_backbone(NAME, input_shape=shape, weights=tiny_run.config.model.weights)
    for name in done["kept"]:
        for one, other in zip(
            ours.get_layer(name).get_weights(), start.get_layer(name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(one, other)


def test_the_next_run_knows_what_the_weights_have_seen(tiny_run: TinyRun, tmp_path: Path) -> None:
    """Training and validation cases of the first run may not be tested on by the second."""
    export_backbone(tiny_run.out, tmp_path / "w")
    with (tmp_path / "w" / SEEN).open(newline="") as file:
        listed = {row["pixel_sha256"] for row in csv.DictReader(file)}
    with (tiny_run.out / "splits.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert listed == {row["pixel_sha256"] for row in rows if row["part"] in ("train", "val")}
    weights = tmp_path / "w" / "backbone.weights.h5"
    again = load_config(
        type(tiny_run.config),
        base=tiny_run.config.model_dump(mode="json"),
        changes=[f"model.weights={weights}"],
    )
    with pytest.raises(LeakageError, match="12 of 'pretraining'"):
        fit(tiny_run.data, tmp_path / "again", again)


def test_refusals(tiny_run: TinyRun, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--member 2: the run has 2"):
        export_backbone(tiny_run.out, tmp_path / "a", member=2)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("kept")
    with pytest.raises(RunFolderError, match="not an empty or new folder"):
        export_backbone(tiny_run.out, tmp_path / "full")
    assert (tmp_path / "full" / "notes.txt").read_text() == "kept"
    with pytest.raises(RunFolderError, match=r"model\.json"):
        export_backbone(tmp_path, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_the_command(tiny_run: TinyRun, tmp_path: Path) -> None:
    words = ["weights", "export", str(tiny_run.out), "--out", str(tmp_path / "w")]
    found = CliRunner().invoke(app, [*words, "--json"])
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["n_seen"] == 36
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 2
    assert "not an empty or new folder" in again.stderr
    assert str(tmp_path) not in again.stderr
