"""The classification recipe on one tiny run: files, parity, evaluation, prediction."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import data_adapters
from data_adapters.files import open_files
from data_adapters.pipeline import eval_stream
from recipes.classification import evaluating
from recipes.classification.config import DataConfig
from recipes.classification.data import open_data, prepare
from recipes.classification.evaluating import evaluate
from recipes.classification.fitting import fit
from recipes.classification.inference import infer
from recipes.classification.predicting import predict
from recipes.config import Columns
from recipes.engine.modelfile import load_model, load_record
from recipes.errors import ConfigError, RecipeError, RunFolderError
from recipes.intended_use import INTENDED_USE
from tests.recipes.tiny import TinyRun, write_pictures

FILES = {
    "config.yaml",
    "history.csv",
    "metrics.json",
    "model.json",
    "model.keras",
    "model_card.md",
    "predictions.csv",
    "report.html",
    "splits.csv",
}


def test_a_run_leaves_every_file(tiny_run: TinyRun) -> None:
    assert {p.name for p in tiny_run.out.iterdir()} >= FILES


def test_metrics_are_of_the_test_part(tiny_run: TinyRun) -> None:
    content = json.loads((tiny_run.out / "metrics.json").read_text())
    assert content["part"] == "test"
    assert content["metrics"]["n"] == 12
    assert content["validation"]["n"] == 12
    for name in ("auc", "accuracy", "balanced_accuracy", "average_precision", "sensitivity",
                 "specificity", "f1", "brier", "ece", "sensitivity_op", "ppv"):  # fmt: skip
        figure = content["metrics"][name]
        assert set(figure) >= {"value", "low", "high"}
    rule = content["operating_point"]["rule"]
    assert rule == "sensitivity>=0.95"


def test_report_is_one_file_and_says_what_it_is(tiny_run: TinyRun) -> None:
    page = (tiny_run.out / "report.html").read_text()
    assert INTENDED_USE in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert str(tiny_run.out) not in page
    assert INTENDED_USE in (tiny_run.out / "model_card.md").read_text()


def test_no_path_of_the_user_is_kept(tiny_run: TinyRun) -> None:
    secret = str(tiny_run.data.parent)
    for file in tiny_run.out.iterdir():
        if file.suffix in {".json", ".csv", ".html", ".md"}:
            assert secret not in file.read_text(), file.name


def test_plain_keras_opens_the_model_in_safe_mode(tiny_run: TinyRun) -> None:
    code = (
        "import sys, keras\n"
        "m = keras.models.load_model(sys.argv[1], safe_mode=True)\n"
        "assert not [n for n in sys.modules if n.split('.')[0] in ('zoo', 'recipes')]\n"
        "print(m.input_shape, m.output_shape)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny_run.out / "model.keras")],
        capture_output=True, text=True, check=True, cwd="/",
    )  # fmt: skip
    assert done.stdout.strip() == "(None, 32, 32, 1) (None, 2)"


def test_parity_of_training_pipeline_and_a_fresh_predict(
    tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logits agree to 1e-4: cache and tf.data here, ``predict`` there, batches of 1 and 8."""
    monkeypatch.setenv("RADZOO_HOME", str(tiny_run.out.parent / "home"))
    model, record = load_model(tiny_run.out)
    prepared = prepare(open_data(str(tiny_run.data), tiny_run.config.data), tiny_run.config)
    rows = prepared.rows("test")
    from data_adapters.augment import apply_view

    stream = eval_stream(prepared.decoded.images, prepared.cache_rows(rows), batch_size=5)
    here = np.concatenate(
        [
            np.mean([model(apply_view(np.asarray(x), v)) for v in record.views], axis=0)
            for x in stream
        ]
    )
    names = [prepared.adapter.source_name(int(i)) for i in prepared.cache_rows(rows)]
    for batch in (1, 8):
        out = tmp_path / f"{batch}.csv"
        _fresh_predict(tiny_run.out, tiny_run.data / "test", out, batch)
        with out.open() as file:
            there = {row["file"]: row for row in csv.DictReader(file)}
        logits = np.array(
            [
                [float(there[name.removeprefix("test/")][f"logit_{c}"]) for c in record.class_names]
                for name in names
            ]
        )
        assert np.abs(logits - here).max() <= 1e-4 * np.abs(here).max()


def _fresh_predict(run: Path, source: Path, out: Path, batch: int) -> None:
    code = (
        "import sys; from recipes.classification.predicting import predict\n"
        "predict(sys.argv[1], [sys.argv[2]], sys.argv[3], batch_size=int(sys.argv[4]))\n"
    )
    subprocess.run([sys.executable, "-c", code, run, source, out, str(batch)], check=True)


def test_stored_predictions_are_those_of_the_model(tiny_run: TinyRun) -> None:
    model, record = load_model(tiny_run.out)
    adapter = data_adapters.open(tiny_run.data)
    places = [i for i, row in enumerate(adapter.index) if row.part == "test"]
    result = infer(model, record, adapter, places)
    with (tiny_run.out / "predictions.csv").open() as file:
        stored = {r["case_id"]: r for r in csv.DictReader(file) if r["part"] == "test"}
    z = np.exp(result.logits - result.logits.max(axis=1, keepdims=True))
    prob = z / z.sum(axis=1, keepdims=True)
    for i, p in zip(result.indices, prob, strict=True):
        row = stored[adapter.index[i].case_id]
        assert float(row["p_lesion"]) == pytest.approx(p[0], abs=1e-4)


def test_members_are_branches_whose_logits_are_averaged(tiny_run: TinyRun) -> None:
    model, record = load_model(tiny_run.out)
    assert record.members == 2
    x = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 1)).astype("f4")
    each = [np.asarray(model.get_layer(f"member_{i}")(x)) for i in range(2)]
    np.testing.assert_allclose(np.asarray(model(x)), np.mean(each, axis=0), rtol=1e-5, atol=1e-6)
    assert np.abs(each[0] - each[1]).max() > 1e-3


def test_the_same_fit_again_trains_nothing(tiny_run: TinyRun) -> None:
    before = (tiny_run.out / "model.keras").stat().st_mtime_ns
    summary = fit(tiny_run.data, tiny_run.out, tiny_run.config)
    assert (tiny_run.out / "model.keras").stat().st_mtime_ns == before
    assert summary["n"] == 12


def test_evaluate_reports_every_figure_with_its_interval(tiny_run: TinyRun) -> None:
    result = evaluate(tiny_run.out, tiny_run.data, n_boot=100)
    stored = json.loads((tiny_run.out / "metrics.json").read_text())["metrics"]
    assert (result["part"], result["n"], result["n_seen"]) == ("test", 12, 0)
    assert result["auc"]["value"] == pytest.approx(stored["auc"]["value"], abs=1e-6)
    assert result["accuracy"]["value"] == pytest.approx(stored["accuracy"]["value"])
    assert result["sensitivity_op"]["value"] == pytest.approx(stored["sensitivity_op"]["value"])
    json.dumps(result, allow_nan=False)


def test_evaluate_leaves_seen_cases_out(tiny_run: TinyRun, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(tiny_run.data / "test", mixed)
    shutil.copy(tiny_run.data / "train" / "lesion" / "0.png", mixed / "lesion" / "known.png")
    result = evaluate(tiny_run.out, mixed, n_boot=100)
    assert (result["part"], result["n"], result["n_seen"]) == ("all", 12, 1)
    assert evaluate(tiny_run.out, mixed, include_seen=True, n_boot=100)["n"] == 13
    with pytest.raises(RecipeError, match="include-seen"):
        evaluate(tiny_run.out, tiny_run.data, part="train", n_boot=100)


def test_evaluate_takes_classes_by_name(tiny_run: TinyRun, tmp_path: Path) -> None:
    one = tmp_path / "one"
    shutil.copytree(tiny_run.data / "test" / "plain", one / "plain")
    shutil.copytree(tiny_run.data / "test" / "lesion", one / "other")
    with pytest.raises(RecipeError, match="classes differ"):
        evaluate(tiny_run.out, one)
    with pytest.raises(ConfigError, match="unknown part"):
        evaluate(tiny_run.out, tiny_run.data, part="holdout")


def test_predict_names_files_and_records_what_it_cannot_read(
    tiny_run: TinyRun, tmp_path: Path
) -> None:
    folder = tmp_path / "new"
    shutil.copytree(tiny_run.data / "test" / "lesion", folder)
    (folder / "zz.png").write_bytes(b"")
    rows = predict(tiny_run.out, [folder], tmp_path / "out.csv")
    status = {row["file"]: row["status"] for row in rows}
    assert status["0.png"] == "ok"
    assert status["zz.png"] == "zero-byte"
    good = [row for row in rows if row["status"] == "ok"]
    assert all(row["p_lesion"] + row["p_plain"] == pytest.approx(1.0) for row in good)


def test_a_foreign_model_file_is_refused(tiny_run: TinyRun, tmp_path: Path) -> None:
    for name in ("model.keras", "model.json"):
        shutil.copy(tiny_run.out / name, tmp_path / name)
    with (tmp_path / "model.keras").open("ab") as file:
        file.write(b"x")
    with pytest.raises(RunFolderError, match="sha256"):
        load_model(tmp_path)
    content = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(content | {"class_names": ["one"]}))
    with pytest.raises(RunFolderError, match=r"model\.json"):
        load_record(tmp_path)
    with pytest.raises(RunFolderError, match="no run folder 'nowhere'"):
        load_record(tmp_path / "nowhere")


def test_the_report_tells_what_feature_caching_saved(tiny_run: TinyRun) -> None:
    facts = json.loads((tiny_run.out / "metrics.json").read_text())["training"]
    with (tiny_run.out / "history.csv").open() as file:
        head = [row for row in csv.DictReader(file) if row["phase"] == "head"]
    assert {row["member"] for row in head} == {"0", "1"}
    features = facts["features"]
    assert features["head_epochs"] == len(head)
    expected = features["seconds_once"] * (len(head) - 1)
    assert features["seconds_saved"] == pytest.approx(expected, abs=0.01 * len(head) + 0.1)
    assert facts["frozen_verified"] >= 16


def test_unlabelled_data_cannot_be_fitted(tiny_run: TinyRun, tmp_path: Path) -> None:
    adapter = open_files([tiny_run.data / "test" / "lesion"])
    assert adapter.task == "unlabelled"
    with pytest.raises(RecipeError, match="no labels"):
        prepare(adapter, tiny_run.config)


def test_keras_is_not_left_with_a_global_seed_dependence(tiny_run: TinyRun, tmp_path: Path) -> None:
    """The same fit after other random draws gives the same metrics."""
    keras.utils.set_random_seed(99)
    keras.random.normal((3,))
    config = tiny_run.config.model_copy(
        update={"model": tiny_run.config.model.model_copy(update={"members": 1})}
    )
    figures = []
    for name in ("a", "b"):
        fit(tiny_run.data, tmp_path / name, config)
        content = json.loads((tmp_path / name / "metrics.json").read_text())
        figures.append(content["metrics"])
    assert figures[0] == figures[1]


def test_a_given_part_that_cannot_be_read_stops_the_run(tiny_run: TinyRun, tmp_path: Path) -> None:
    data = write_pictures(tmp_path / "data", per_class={"train": 6, "val": 3, "test": 3})
    for path in (data / "val").rglob("*.png"):
        path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(RecipeError, match=r"none of the 6 cases of the given val part .* 6\)"):
        fit(data, tmp_path / "run", tiny_run.config)


@pytest.mark.parametrize(
    ("fitted", "source", "kept"),
    [
        ("folder", "pictures", "folder"),
        ("person([0-9]+)_", "pictures", "person([0-9]+)_"),
        ("patient_id", "pictures", None),
        ("patient_id", "cases.csv", "patient_id"),
        ("patient_id", "cases.pq", "patient_id"),
        ("folder", "breast.npz", None),
    ],
)
def test_evaluate_keeps_the_rule_that_finds_the_patient(
    fitted: str, source: str, kept: str | None, tmp_path: Path
) -> None:
    (tmp_path / "pictures").mkdir()
    columns = Columns(patient=fitted)
    opening = evaluating.opening(DataConfig(columns=columns), str(tmp_path / source))
    assert opening.columns.patient == kept


def test_the_report_tells_the_head_and_the_size_of_the_network_as_trained(
    tiny_run: TinyRun,
) -> None:
    page = (tiny_run.out / "report.html").read_text()
    assert "mean and standard deviation of every channel of P3, hidden layer of 256" in page
    model, record = load_model(tiny_run.out)
    size = f"{model.count_params() // record.members:,}"
    assert size.split(",") in [
        re.split(r"\s", text) for text in re.findall(r">([\d\s]+)</td>", page)
    ]
