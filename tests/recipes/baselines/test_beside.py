"""Plain classifiers: settings from training patients alone, figures beside the network's."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from recipes.baselines import beside, svm
from recipes.baselines.models import (
    BaselineError,
    Family,
    count_fits,
    families,
    fit_family,
    inner_folds,
)
from recipes.baselines.svm import fit_machine
from recipes.classification import fitting
from recipes.classification.config import ClassificationConfig
from recipes.config import load_config
from recipes.errors import RunFolderError
from recipes.report.beside import table
from tests.recipes.report_inputs import binary
from tests.recipes.tiny import TinyRun


def clouds(n: int, *, seed: int, apart: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Two classes of points, two of each patient."""
    rng = np.random.default_rng(seed)
    y = np.repeat(rng.integers(0, 2, n // 2), 2)
    return rng.normal(size=(n, 4)) + apart * y[:, None], y


def test_inner_folds_keep_patients_together() -> None:
    _, y = clouds(60, seed=1)
    patients = [f"p{i // 2}" for i in range(60)]
    folds = inner_folds(y, patients, seed=0)
    assert len(folds) == 5
    for train, held in folds:
        assert not {patients[i] for i in train} & {patients[i] for i in held}
    assert sorted(np.concatenate([held for _, held in folds])) == list(range(60))
    with pytest.raises(BaselineError, match="at least two patients"):
        inner_folds(np.array([0, 0, 0, 1, 1]), ["a", "b", "c", "d", "d"], seed=0)


@pytest.mark.parametrize("family", families(), ids=lambda family: family.name)
def test_a_family_learns_and_gives_probabilities(family: Family) -> None:
    x, y = clouds(80, seed=2)
    new, truth = clouds(400, seed=3)
    setting, values = family.grid
    make = family.make

    def small(seed: int) -> Any:
        assert make is not None
        return make(seed).set_params(model__n_estimators=40)

    quick = replace(family, grid=(setting, values[-2:]))
    if "forest" in family.name:
        quick = replace(quick, make=small)
    steps: list[int] = []
    patients = [f"p{i // 2}" for i in range(80)]
    fitted = fit_family(quick, x, y, patients, classes=3, seed=0, step=lambda: steps.append(1))
    assert len(steps) == count_fits(quick) == 11
    prob = fitted.probabilities(new)
    assert prob.shape == (400, 3)
    np.testing.assert_allclose(prob.sum(axis=1), 1.0)
    assert (prob[:, 2] == 0).all()  # a class that training did not have
    assert roc_auc_score(truth, prob[:, 1]) > 0.95
    confident = np.abs(prob[:, 1] - 0.5) > 0.25
    assert confident.mean() > 0.5
    assert truth[prob[:, 1] > 0.75].mean() > 0.8
    assert list(fitted.chosen) == [setting]
    assert fitted.chosen[setting] in values[-2:]


@pytest.mark.parametrize("classes", [2, 3])
def test_the_machine_is_that_of_scikit_learn(classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A grid search and a calibrated classifier by scikit-learn give the same probabilities."""
    rng = np.random.default_rng(7)
    y = rng.integers(0, classes, 150)
    x = rng.normal(size=(150, 6)) * 3 + y[:, None] * [3.0, -2.0, 0, 0, 1.0, 0]
    new = rng.normal(size=(40, 6)) * 3
    folds = inner_folds(y, [None] * 150, seed=1)
    pipeline = Pipeline(
        [("scale", StandardScaler()), ("model", SVC(class_weight="balanced", random_state=1))]
    )
    costs = (0.1, 1.0, 10.0)
    scoring = "roc_auc" if classes == 2 else "balanced_accuracy"
    grid = GridSearchCV(pipeline, {"model__C": list(costs)}, scoring=scoring, cv=folds, refit=False)
    grid.fit(x, y)
    best = pipeline.set_params(**grid.best_params_)
    theirs = CalibratedClassifierCV(best, cv=folds, ensemble=False).fit(x, y).predict_proba(new)
    ours = fit_machine(x, y, folds, costs, seed=1)
    assert ours.cost == grid.best_params_["model__C"]
    assert ours.inner == pytest.approx(grid.best_score_)
    np.testing.assert_allclose(ours.probabilities(new), theirs, atol=1e-5)
    monkeypatch.setattr(svm, "MOST", 10)  # as with more rows than a matrix is kept for
    np.testing.assert_allclose(
        fit_machine(x, y, folds, costs, seed=1).probabilities(new), theirs, atol=1e-5
    )


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """One family with one setting, and embeddings of the tiny backbone without weights."""
    family = families()[0]
    one = Family(family.name, family.make, ("C", (0.1, 1.0)))
    monkeypatch.setattr(beside, "families", lambda: (one,))

    def means(prepared: Any, backbone: str, rows: Any, reporter: Any, what: str) -> Any:
        images = prepared.decoded.images[prepared.cache_rows(rows)]
        return images.reshape(len(images), -1).astype("float64")[:, ::64]

    monkeypatch.setattr(beside, "embeddings", means)
    monkeypatch.setattr(beside, "check_wishes", lambda task, backbone: None)


def test_beside_a_finished_run(tiny_run: TinyRun, tmp_path: Path, quick: None) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run.out, run)
    result = beside.baselines(run, tiny_run.data)
    written = json.loads((run / "metrics.json").read_text())
    assert (result["part"], result["n"], len(result["rows"])) == ("test", 12, 2)
    for name in ("auc", "accuracy", "sensitivity_op"):
        own, theirs = result["network"][name]["value"], written["metrics"][name]["value"]
        assert own == pytest.approx(theirs, abs=1e-4)
    assert set(result["seconds"]["features"]) == {row["features"] for row in result["rows"]}
    assert result["seconds"]["total"] >= result["seconds"]["fits"]
    for row in result["rows"]:
        for metric, gap in row["difference"].items():
            network = result["network"].get(metric)
            if network is not None:
                both = network["value"] - row["figures"][metric]["value"]
                assert gap["value"] == pytest.approx(both, abs=1e-9)
    assert json.loads((run / "baselines.json").read_text()) == result
    assert any("best baseline" in note for note in result["notes"])

    with (run / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    with (run / "predictions.csv").open("w") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(row for row in rows if row["part"] != "test")
    with pytest.raises(RunFolderError, match="of the test part"):
        beside.baselines(run, tiny_run.data)


def test_a_fit_counts_their_time(
    tiny_run: TinyRun, tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "check_wishes", lambda task, backbone: None)
    changes = [
        "evaluate.baselines=true", "evaluate.tta=false", "uncertainty.enabled=false",
        "model.members=1", "train.head.epochs=1", "train.finetune.epochs=0",
    ]  # fmt: skip
    base = tiny_run.config.model_dump(mode="json")
    fitting.fit(
        tiny_run.data,
        tmp_path / "run",
        load_config(ClassificationConfig, base=base, changes=changes),
    )
    seconds = json.loads((tmp_path / "run" / "metrics.json").read_text())["seconds"]
    assert seconds == json.loads((tmp_path / "run" / "run.json").read_text())["seconds"]
    own = json.loads((tmp_path / "run" / "baselines.json").read_text())["seconds"]["total"]
    assert 0 < own <= seconds["baselines"] + 0.02


def test_other_data_and_unfinished_runs_are_refused(
    tiny_run: TinyRun, tmp_path: Path, quick: None
) -> None:
    with pytest.raises(RunFolderError, match="no finished run"):
        beside.baselines(tmp_path, tiny_run.data)
    fewer = tmp_path / "data"
    shutil.copytree(tiny_run.data, fewer)
    next((fewer / "train" / "plain").iterdir()).unlink()
    with pytest.raises(RunFolderError, match="not those of the run"):
        beside.baselines(tiny_run.out, fewer)


def test_wishes_are_checked_before_any_work() -> None:
    with pytest.raises(BaselineError, match="one class for each case"):
        beside.check_wishes("multilabel", "efficientnet_lite0")


def test_the_reports_table() -> None:
    figure = {"value": 0.9, "low": 0.8, "high": 0.95}
    row = {
        "features": "simple", "model": "random forest", "chosen": {"min_samples_leaf": 3},
        "figures": {"auc": figure}, "difference": {"auc": {"value": -0.05, "low": None, "high": 0}},
    }  # fmt: skip
    found = {"network": {"auc": figure, "brier": None}, "rows": [row], "notes": ["mind"]}
    shown = table(found)
    assert shown is not None
    assert shown["heads"] == ["ROC AUC", "Brier score"]
    assert shown["rows"][1]["gap"] == {"value": "-0.050", "interval": "–"}
    assert shown["rows"][1]["chosen"] == "min_samples_leaf 3"
    assert table(None) is None
    from recipes.report.page import render

    assert "Plain classifiers beside" not in render(binary())
    assert "random forest" in render(binary(baselines=found))
