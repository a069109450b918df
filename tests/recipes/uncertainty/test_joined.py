"""An ensemble as one model: the mean of its runs in every command, refused where it is none."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from data_adapters.augment import apply_view
from data_adapters.split_table import SplitRow
from recipes.classification.calibrating import calibrate
from recipes.classification.ensembling import ensemble
from recipes.classification.evaluating import evaluate
from recipes.classification.explaining import ClassifierAsker
from recipes.classification.joined import joined_splits
from recipes.classification.predicting import predict
from recipes.engine.embedding import members, split_outputs, with_embedding
from recipes.engine.joining import Joined, join, without_views
from recipes.engine.losses import probabilities
from recipes.engine.modelfile import file_sha256, load_model
from recipes.errors import ConfigError, RecipeError, RunFolderError
from recipes.explaining.network import Explained
from recipes.exporting import export_backbone
from recipes.fewlabels.suggesting import feature_network
from tests.recipes.tiny import TinyRun

VIEWS = (
    {"view": "identity"},
    {"view": "flip_lr"},
    {"view": "flip_ud"},
    {"view": "turn", "quarters": 1},
    {"view": "turn", "quarters": 3},
    {"view": "shift", "dy": 0.2, "dx": 0.0},
    {"view": "shift", "dy": 0.0, "dx": -0.1},
)


def network(seed: int, outputs: int = 2) -> keras.Model:
    """Eight by eight pictures to logits that no mirror image leaves as they are."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((8, 8, 1), name="image")
    x = keras.layers.Flatten(name="pool")(keras.layers.Rescaling(1 / 255)(image))
    return keras.Model(image, keras.layers.Dense(outputs, name="logits")(x))


@pytest.mark.parametrize("kind", ["single", "multilabel"])
def test_joined_networks_give_the_mean_probability_also_from_a_file(
    kind: str, tmp_path: Path
) -> None:
    first, second, third = (network(seed) for seed in range(3))
    runs = [Joined([first], VIEWS), Joined([second, third], ())]
    join(runs, kind=kind).save(tmp_path / "both.keras")
    model = keras.models.load_model(tmp_path / "both.keras", compile=False, safe_mode=True)
    x = np.random.default_rng(0).uniform(0, 255, (5, 8, 8, 1)).astype("float32")
    own = np.mean([first(apply_view(x, view)) for view in VIEWS], axis=0)
    other = np.mean([second(x), third(x)], axis=0)
    wanted = np.mean([probabilities(z, task=kind) for z in (own, other)], axis=0)
    found = probabilities(model.predict_on_batch(x), task=kind)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    logits, embedding = split_outputs(with_embedding(model).predict_on_batch(x), 2)
    np.testing.assert_allclose(probabilities(logits, task=kind), wanted, atol=1e-6)
    flat = np.mean([apply_view(x, view).reshape(5, -1) for view in VIEWS], axis=0) / 255
    np.testing.assert_allclose(embedding[:, :64], flat, atol=1e-5)
    np.testing.assert_allclose(embedding[:, 64:128], x.reshape(5, -1) / 255, atol=1e-5)
    plain = probabilities(without_views(model, (1, 2), kind=kind).predict_on_batch(x), task=kind)
    wanted = np.mean([probabilities(z, task=kind) for z in (first(x), other)], axis=0)
    np.testing.assert_allclose(plain, wanted, atol=1e-6)
    with pytest.raises(RecipeError, match="one shape"):
        join([Joined([first], ()), Joined([network(4, 3)], ())], kind=kind)


@pytest.fixture(scope="module")
def pair(tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The tiny run, and a copy whose weights are a little different."""
    root = tmp_path_factory.mktemp("pair")
    for name in ("a", "b"):
        shutil.copytree(tiny_run.out, root / name, ignore=shutil.ignore_patterns("checkpoints"))
    model, _ = load_model(root / "b")
    rng = np.random.default_rng(8)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            kernel = keras.ops.convert_to_numpy(layer.kernel)
            layer.kernel.assign(kernel + 0.3 * kernel.std() * rng.normal(size=kernel.shape))
    model.save(root / "b" / "model.keras")
    digest = file_sha256(root / "b" / "model.keras")
    for name in ("model.json", "uncertainty.json"):
        content = json.loads((root / "b" / name).read_text())
        (root / "b" / name).write_text(json.dumps(content | {"model_sha256": digest}))
    return root / "a", root / "b"


@pytest.fixture(scope="module")
def joined(
    pair: tuple[Path, Path], tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """Both as one run folder, and what the command said."""
    out = tmp_path_factory.mktemp("joined") / "both"
    return out, ensemble(pair, tiny_run.data, out=out, n_boot=100)


def test_every_command_says_what_the_ensemble_said(
    joined: tuple[Path, dict[str, Any]], pair: tuple[Path, Path], tiny_run: TinyRun
) -> None:
    out, said = joined
    assert said["stored"]
    with pytest.raises(ConfigError, match="an ensemble of 2 runs; export from one"):
        export_backbone(out, out.with_name("weights"))
    scored = evaluate(out, tiny_run.data, n_boot=100)
    for name in ("auc", "brier", "log_loss", "ece"):
        assert scored[name]["value"] == pytest.approx(said["ensemble"][name]["value"], abs=1e-4)
    pictures = [tiny_run.data / "test" / "lesion"]
    each = [predict(run, pictures) for run in pair]
    rows = predict(out, pictures)
    spread = []
    for whole, *members_ in zip(rows, *each, strict=True):
        p = [row["p_lesion"] for row in members_]
        spread.append(abs(p[0] - p[1]))
        assert whole["p_lesion"] == pytest.approx(np.mean(p), abs=1e-4)
        assert whole["prediction_set"] is not None
    assert max(spread) > 0.01  # the runs differ, so a mean says something
    with (out / "predictions.csv").open() as file:
        stored = [row for row in csv.DictReader(file) if row["label"] == "lesion"]
    np.testing.assert_allclose(
        sorted(float(row["p_lesion"]) for row in stored),
        sorted(row["p_lesion"] for row in rows),
        atol=1e-4,
    )
    np.testing.assert_allclose(
        sorted(float(row["calibrated_lesion"]) for row in stored),
        sorted(row["calibrated_lesion"] for row in rows),
        atol=1e-3,
    )


def test_the_folder_is_a_run_of_its_own(
    joined: tuple[Path, dict[str, Any]], tiny_run: TinyRun
) -> None:
    out, _ = joined
    model, record = load_model(out)
    own, _ = load_model(tiny_run.out)
    assert record.members == 2 * len(members(own))
    assert [run.members for run in record.runs] == [len(members(own))] * 2
    assert record.runs[0].model_sha256 == file_sha256(tiny_run.out / "model.keras")
    assert record.threshold is not None
    page = (out / "report.html").read_text()
    assert "ensemble of 2 runs" in page
    assert page.count('<h2 id="uncertainty">') == 1
    assert "Calibrated again" not in page
    result = calibrate(out, tiny_run.data, n_boot=100)
    assert result["test"]["n"] == 12
    assert "Calibrated again" in (out / "report.html").read_text()
    asker = ClassifierAsker(out)
    x = np.random.default_rng(1).uniform(0, 255, (1, *record.input_shape)).astype("float32")
    # As many as the networks have, none of a mirrored view.
    assert len(asker.network.last_maps()) == 2 * len(Explained(own).last_maps())
    parts = [np.asarray(m.predict_on_batch(x)) for m in members(model)]
    halves = np.split(np.stack(parts), 2)
    wanted = np.mean([probabilities(half.mean(axis=0), task="single") for half in halves], axis=0)
    found = probabilities(asker.network.outputs(x), task="single")
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert len(feature_network(model).outputs) == 2


def test_what_is_no_one_model_is_refused_before_any_work(
    pair: tuple[Path, Path], joined: tuple[Path, dict[str, Any]], tiny_run: TinyRun, tmp_path: Path
) -> None:
    def fails(match: str, *runs: Path, out: Path = tmp_path / "new", **more: Any) -> None:
        with pytest.raises(RecipeError, match=match):
            ensemble(runs, "nowhere", out=out, **more)
        assert not (tmp_path / "new").exists()

    other = tmp_path / "other"
    other.mkdir()
    content = json.loads((pair[0] / "model.json").read_text())
    (other / "model.json").write_text(json.dumps(content | {"input_shape": [48, 48, 1]}))
    fails("runs 1 and 2 have different input sizes.*32, 32.*48, 48", pair[0], other)
    (other / "model.json").write_text(json.dumps(content | {"positive": "plain"}))
    fails("different positive classes.*lesion and plain", pair[0], other)
    fails("run 2 is an ensemble itself", pair[0], joined[0])
    fails("not an empty or new folder", *pair, out=other)
    fails("no runs, and no model", pair[0], mc_dropout=5)
    assert issubclass(RunFolderError, RecipeError)


def test_parts_of_runs_join_to_the_one_that_saw_most() -> None:
    def table(**parts: str) -> list[SplitRow]:
        patients = {"a": "p", "b": "p", "c": "q", "d": "r", "e": "r", "f": "", "g": ""}
        pixels = {name: ("same" if name in "fg" else name) for name in patients}
        return [
            SplitRow(name, patients[name], part=part, pixel_sha256=pixels[name])
            for name, part in parts.items()
        ]

    first = table(a="train", c="val", d="test", f="train", e="")
    second = table(a="val", b="test", c="test", d="test", e="val", g="test")
    found = {row.case_id: row.part for row in joined_splits([first, second])}
    # b is of a patient that the first run trained on, g has the pixels of a training case, and d
    # is of a patient of validation.
    assert found == {
        "a": "train", "b": "train", "c": "val", "d": "val", "e": "val", "f": "train", "g": "train"
    }  # fmt: skip
    assert joined_splits([table(a="", c="train")])[0].part == ""
