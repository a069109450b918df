"""Uncertainty of a finished run: stored as plain data, checked when read, not needed."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

from recipes.classification.calibrating import calibrate
from recipes.classification.ensembling import ensemble
from recipes.classification.evaluating import evaluate
from recipes.classification.predicting import predict
from recipes.cli import app
from recipes.engine.dropout import HeadDropout
from recipes.engine.embedding import split_outputs, with_embedding
from recipes.engine.modelfile import assemble, load_model
from recipes.errors import ConfigError, RecipeError, RunFolderError
from recipes.uncertainty.record import ARRAYS_FILE, RECORD_FILE, load_uncertainty
from tests.recipes.tiny import TinyRun


@pytest.fixture
def run(tiny_run: TinyRun, tmp_path: Path) -> Path:
    """A copy of the tiny run, to be changed."""
    for name in (
        "model.keras",
        "model.json",
        "config.yaml",
        "splits.csv",
        RECORD_FILE,
        ARRAYS_FILE,
    ):
        (tmp_path / "run").mkdir(exist_ok=True)
        shutil.copy(tiny_run.out / name, tmp_path / "run" / name)
    return tmp_path / "run"


def lesion(tiny_run: TinyRun) -> list[Path]:
    return [tiny_run.data / "test" / "lesion"]


def shown(*words: str) -> dict[str, Any]:
    """What a command prints as JSON."""
    result = CliRunner().invoke(app, ["classify", *words, "--json"])
    assert result.exit_code == 0, result.output
    content: dict[str, Any] = json.loads(result.stdout)
    return content


def test_the_run_says_how_sure_it_is(tiny_run: TinyRun) -> None:
    found = json.loads((tiny_run.out / "metrics.json").read_text())["uncertainty"]
    assert (found["val"]["cross_fitted"], found["test"]["cross_fitted"]) == (True, False)
    sets = found["test"]["prediction_sets"]
    assert sets["stated_coverage"] == 0.9
    assert (
        0 <= sets["coverage"]["low"] <= sets["coverage"]["value"] <= sets["coverage"]["high"] <= 1
    )
    assert sets["empty"]["value"] + sets["single"]["value"] + sets["all"]["value"] == pytest.approx(
        1
    )
    page = (tiny_run.out / "report.html").read_text()
    assert "How sure it is" in page
    assert "12 validation patients are too few for a false alarm rate of 5%" in page


def test_predict_and_predictions_agree_on_the_test_cases(tiny_run: TinyRun) -> None:
    with (tiny_run.out / "predictions.csv").open() as file:
        stored = [row for row in csv.DictReader(file) if row["part"] == "test"]
    lesions = [row for row in stored if row["label"] == "lesion"]
    rows = predict(tiny_run.out, lesion(tiny_run))
    assert len(rows) == len(lesions) == 6
    for name in ("calibrated_lesion", "ood_score"):
        here = sorted(float(row[name]) for row in rows)
        there = sorted(float(row[name]) for row in lesions)
        np.testing.assert_allclose(here, there, rtol=1e-3, atol=2e-6)
    assert sorted(r["prediction_set"] for r in rows) == sorted(r["prediction_set"] for r in lesions)
    for row in rows:
        assert row["calibrated_lesion"] + row["calibrated_plain"] == pytest.approx(1)
        assert row["ood_flag"] == ""


def test_a_run_without_it_predicts_as_before(tiny_run: TinyRun, run: Path) -> None:
    (run / RECORD_FILE).unlink()
    (run / ARRAYS_FILE).unlink()
    old, new = predict(run, lesion(tiny_run)), predict(tiny_run.out, lesion(tiny_run))
    for before, after in zip(old, new, strict=True):
        assert not {"prediction_set", "ood_score"} & set(before)
        assert after["logit_lesion"] == pytest.approx(before["logit_lesion"], rel=1e-4)


def test_calibrate_makes_the_same_again(tiny_run: TinyRun, run: Path, tmp_path: Path) -> None:
    before = json.loads((run / RECORD_FILE).read_text())
    (run / RECORD_FILE).unlink()
    result = shown("calibrate", str(run), str(tiny_run.data), "--n-boot", "100")
    after = json.loads((run / RECORD_FILE).read_text())
    assert after["temperature"] == pytest.approx(before["temperature"], rel=1e-3)
    np.testing.assert_allclose(after["quantiles"], before["quantiles"], rtol=1e-3)
    assert result["validation"]["cross_fitted"] is True

    changes = ["uncertainty.coverage=0.8", "uncertainty.false_alarms=0.2"]
    calibrate(run, tiny_run.data, changes, n_boot=100)
    found = load_uncertainty(run, model_sha256=after["model_sha256"])
    assert found is not None
    assert found.record.coverage == 0.8
    assert {row["ood_flag"] for row in predict(run, lesion(tiny_run))} <= {"inside", "outside"}
    noise = tmp_path / "noise"
    noise.mkdir()
    import cv2

    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), "uint8")
    cv2.imwrite(str(noise / "a.png"), pixels)
    assert predict(run, [noise])[0]["ood_flag"] == "outside"


def test_calibrating_again_shows_in_every_file(tiny_run: TinyRun, tmp_path: Path) -> None:
    run = tmp_path / "whole"
    shutil.copytree(tiny_run.out, run, ignore=shutil.ignore_patterns("checkpoints"))
    before = {name: (run / name).read_text() for name in ("report.html", "model_card.md")}
    result = calibrate(run, tiny_run.data, ["uncertainty.coverage=0.8"], n_boot=100)
    assert {"report.html", "model_card.md", "metrics.json", "predictions.csv"} <= set(
        result["files"]
    )
    page = (run / "report.html").read_text()
    assert "<b>Calibrated again</b> after the fit" in page
    assert "<code>uncertainty.coverage=0.8</code>" in page
    assert "(12 cases)" in page
    assert "at least <b>80%</b>" in page
    assert "at least <b>90%</b>" not in page

    def rest(text: str) -> list[str]:
        start = text.index('<h2 id="uncertainty">')
        return [text[:start], text[text.index("</section>", start) :]]

    assert rest(page) == rest(before["report.html"])
    card = (run / "model_card.md").read_text()
    assert "calibrated again after the fit" in card
    assert (
        card.split("## Limits and caveats")[1]
        == before["model_card.md"].split("## Limits and caveats")[1]
    )
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["uncertainty"]["test"]["prediction_sets"]["stated_coverage"] == 0.8
    shown_loss = metrics["uncertainty"]["test"]["calibration"]["log_loss"]
    plain = metrics["metrics"]["log_loss"]["value"]
    assert shown_loss["before"]["value"] == pytest.approx(plain, rel=1e-4)
    with (run / "predictions.csv").open() as file:
        stored = [row for row in csv.DictReader(file) if row["label"] == "lesion"]
    here = sorted(row["prediction_set"] for row in predict(run, lesion(tiny_run)))
    assert sorted(row["prediction_set"] for row in stored if row["part"] == "test") == here

    (run / "report.html").write_text("<p>mine</p>")
    kept = (run / RECORD_FILE).read_text()
    with pytest.raises(RunFolderError, match="no section for the calibration"):
        calibrate(run, tiny_run.data, ["uncertainty.coverage=0.7"], n_boot=100)
    assert (run / RECORD_FILE).read_text() == kept


def test_a_report_without_the_section_gets_it_and_a_missing_test_part_is_said(
    tiny_run: TinyRun, tmp_path: Path
) -> None:
    run, data = tmp_path / "old", tmp_path / "data"
    shutil.copytree(tiny_run.out, run, ignore=shutil.ignore_patterns("checkpoints"))
    page = (run / "report.html").read_text()
    start = page.rindex("<section>", 0, page.index('<h2 id="uncertainty">'))
    end = page.index("</section>", start) + len("</section>")
    link = '<a href="#uncertainty">How sure</a>'
    assert page.count(link) == 1
    (run / "report.html").write_text((page[:start] + page[end:]).replace(link, ""))
    shutil.copytree(tiny_run.data, data)
    next((data / "test" / "plain").iterdir()).unlink()
    result = calibrate(run, data, n_boot=100)
    assert result["test"] is None
    assert any("lack 1 of the run's test cases" in note for note in result["notes"])
    page = (run / "report.html").read_text()
    assert page.count(link) == page.count('<h2 id="uncertainty">') == 1
    assert "shown here on the validation part (12 cases), each case judged by" in page
    with (run / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {bool(row["prediction_set"] or row["ood_score"]) for row in rows} == {True, False}
    assert all(row["ood_score"] for row in rows if row["part"] == "val")


def test_evaluate_judges_on_cases_that_did_not_calibrate(tiny_run: TinyRun) -> None:
    stored = json.loads((tiny_run.out / "metrics.json").read_text())["uncertainty"]["test"]
    result = evaluate(tiny_run.out, tiny_run.data, n_boot=100)
    found = result["uncertainty"]
    assert found["n"] == 12
    assert found["prediction_sets"]["coverage"] == stored["prediction_sets"]["coverage"]
    own = evaluate(tiny_run.out, tiny_run.data, part="val", n_boot=100)
    assert (own["n"], own["uncertainty"]) == (12, None)
    assert any("12 validation cases of the run calibrated it" in note for note in own["notes"])


def test_calibrate_wants_the_run_s_own_data(tiny_run: TinyRun, run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"only keys that begin with 'uncertainty\.'"):
        calibrate(run, tiny_run.data, ["seed=3"])
    shutil.copytree(tiny_run.data / "test", tmp_path / "other")
    with pytest.raises(RecipeError, match="none of the run's train and val cases"):
        calibrate(run, tmp_path / "other")
    other = shutil.copytree(tiny_run.data, tmp_path / "changed")
    for path in (other / "val" / "plain").glob("*.png"):
        shutil.copy(tiny_run.data / "test" / "plain" / "0.png", path)
    with pytest.raises(RecipeError, match="6 of 12 val cases have other pixels"):
        calibrate(run, other)


def test_what_is_damaged_or_foreign_is_refused(tiny_run: TinyRun, run: Path) -> None:
    content = json.loads((run / RECORD_FILE).read_text())
    arrays = (run / ARRAYS_FILE).read_bytes()

    def fails(match: str) -> None:
        with pytest.raises(RunFolderError, match=match):
            load_uncertainty(run, model_sha256=content["model_sha256"])

    with pytest.raises(RunFolderError, match="another model"):
        load_uncertainty(run, model_sha256="0" * 64)
    (run / ARRAYS_FILE).write_bytes(arrays[:-1] + b"x")
    fails("sha256 differs.*calibrate RUN DATA")
    (run / ARRAYS_FILE).unlink()
    fails("no uncertainty.npz")
    for key, value in (("temperature", 0), ("coverage", 1.5), ("quantiles", [0.5]), ("more", 1)):
        (run / RECORD_FILE).write_text(json.dumps(content | {key: value}))
        fails(f"not valid at '{key if key != 'quantiles' else 'content'}'")
    (run / RECORD_FILE).write_text("{")
    fails("not JSON")


def test_the_arrays_need_no_pickle(run: Path) -> None:
    with np.load(run / ARRAYS_FILE, allow_pickle=False) as stored:
        assert {stored[name].dtype.kind for name in stored.files} == {"f"}


def test_the_embedding_is_what_the_logits_are_made_of(tiny_run: TinyRun) -> None:
    model, _ = load_model(tiny_run.out)
    x = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 1)).astype("float32")
    outputs = with_embedding(model).predict_on_batch(x)
    logits, embedding = split_outputs(outputs, 2)
    np.testing.assert_allclose(logits, model.predict_on_batch(x), rtol=1e-5, atol=1e-6)
    halves = np.split(embedding, 2, axis=1)
    each = []
    for i, half in enumerate(halves):
        kernel, bias = model.get_layer(f"member_{i}").get_layer("logits").get_weights()
        each.append(half @ kernel + bias)
    np.testing.assert_allclose(np.mean(each, axis=0), logits, rtol=1e-4, atol=1e-5)


def test_an_ensemble_of_runs_is_their_mean(tiny_run: TinyRun, tmp_path: Path) -> None:
    run = str(tiny_run.out)
    twice = shown("ensemble", run, run, "--data", str(tiny_run.data), "--n-boot", "100")
    stored = json.loads((tiny_run.out / "metrics.json").read_text())["metrics"]
    assert (twice["n"], twice["part"], twice["n_members"]) == (12, "test", 2)
    assert twice["ensemble"]["brier"]["value"] == pytest.approx(stored["brier"]["value"], abs=1e-5)
    assert twice["disagreement"]["value"] == pytest.approx(0, abs=1e-9)
    assert twice["difference"][0]["auc"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    with pytest.raises(RecipeError, match="no case left: 24 of 24"):
        ensemble([tiny_run.out, tiny_run.out], tiny_run.data, part="train")
    alone = CliRunner().invoke(app, ["classify", "ensemble", run, "--data", "x"])
    assert alone.exit_code == 2
    assert "error: an ensemble needs two runs" in alone.stderr


def test_dropout_left_on_gives_passes_that_differ(tiny_run: TinyRun, tmp_path: Path) -> None:
    out = tmp_path / "cases.csv"
    result = ensemble([tiny_run.out], tiny_run.data, mc_dropout=5, out=out, n_boot=100)
    assert (result["n"], result["n_members"], result["method"]) == (12, 10, "mc dropout")
    assert result["disagreement"]["value"] > 1e-4
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert np.mean([float(row["disagreement"]) for row in rows]) == pytest.approx(
        result["disagreement"]["value"], abs=1e-5
    )


def test_passes_repeat_with_the_seed_and_keep_the_norms(tiny_run: TinyRun) -> None:
    model, _ = load_model(tiny_run.out)
    cut = HeadDropout(model)
    x = np.random.default_rng(1).uniform(0, 255, (4, 32, 32, 1)).astype("float32")
    features = np.asarray(cut.features.predict_on_batch(x))
    before = [np.array(v) for v in model.get_weights()]
    first, again = (cut.passes(features, count=300, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, cut.passes(features, count=300, seed=4))
    for old, new in zip(before, model.get_weights(), strict=True):
        if old.dtype.kind == "f":
            np.testing.assert_array_equal(old, new)
    assert first.shape == (600, 4, 2)
    # Every pass and every case drops other features, and without dropout the cut changes nothing.
    assert len(np.unique(first[:, 0, 0].round(6))) > 590
    parts = np.split(features, np.cumsum(cut.widths)[:-1], axis=1)
    plain = [head(part, training=False) for head, part in zip(cut.heads, parts, strict=True)]
    np.testing.assert_allclose(
        np.mean(plain, axis=0), model.predict_on_batch(x), rtol=1e-4, atol=1e-5
    )


def test_a_network_without_dropout_has_no_passes() -> None:
    image = keras.Input((16, 16, 1), name="image")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(keras.layers.Conv2D(4, 3)(image))
    x = keras.layers.Dropout(0.0, name="dropout")(x)
    member = keras.Model(image, keras.layers.Dense(2, name="logits")(x))
    with pytest.raises(RecipeError, match="no dropout in its head"):
        HeadDropout(assemble([member]))
