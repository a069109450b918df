"""Learning curves: nested draws of patients, paired bands, and a law that knows its limits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from data_adapters.adapter import IndexRow
from data_adapters.splits import Splits
from recipes.classification.config import ClassificationConfig
from recipes.errors import ConfigError, RecipeError, RunFolderError
from recipes.evaluation.question import ask
from recipes.intended_use import INTENDED_USE
from recipes.learning.bands import Key, Point, curve_rows, replicates
from recipes.learning.command import numbers
from recipes.learning.curve import CurvePlan, folder_of, learning_curve
from recipes.learning.power_law import PowerLaw, extrapolate, fit_power_law
from recipes.learning.subset import thin_training
from tests.recipes.tiny import TinyRun


def cases(patients: int = 40) -> tuple[list[IndexRow], Splits]:
    """Two cases of each training patient, every fourth patient positive; four test cases."""
    rows = [
        IndexRow(f"c{i}", patient_id=f"p{i // 2}", label=int(i // 2 % 4 == 0))
        for i in range(2 * patients)
    ]
    rows += [IndexRow(f"t{i}", patient_id=f"q{i}", label=i % 2) for i in range(4)]
    parts = ("train",) * (2 * patients) + ("test",) * 4
    return rows, Splits(parts, "patient", official=True)


def test_draws_are_nested_stratified_and_by_patient() -> None:
    index, splits = cases()
    before: set[int] = set()
    for size in (4, 8, 20, 40):
        kept = set(thin_training(index, splits, patients=size, draw=1).rows("train"))
        assert before <= kept
        people = {index[i].patient_id for i in kept}
        assert (len(people), len(kept)) == (size, 2 * size)
        assert len({index[i].patient_id for i in kept if index[i].label}) == size // 4
        before = kept
    one = thin_training(index, splits, patients=8, draw=1)
    assert one == thin_training(index, splits, patients=8, draw=1)
    assert one.rows("train") != thin_training(index, splits, patients=8, draw=2).rows("train")
    assert one.rows("test") == splits.rows("test")
    assert "8 of 40 training patients" in one.notes[-1]
    with pytest.raises(ConfigError, match="has 40 patients"):
        thin_training(index, splits, patients=41, draw=0)


def test_a_power_law_is_found_again() -> None:
    law = PowerLaw(ceiling=0.93, scale=0.9, rate=0.6)
    sizes = np.array([20, 40, 80, 160, 320])
    found = fit_power_law(sizes, law(sizes), np.full(5, 0.01))
    assert found is not None
    assert (found.ceiling, found.scale, found.rate) == pytest.approx((0.93, 0.9, 0.6), rel=1e-3)


def test_extrapolation_covers_the_truth_and_refuses_what_it_cannot_bear() -> None:
    law = PowerLaw(ceiling=0.95, scale=0.8, rate=0.5)
    sizes, rng = [25, 50, 100, 200], np.random.default_rng(0)
    hits = 0
    for _ in range(8):
        values = law(sizes) + rng.normal(0, 0.008, 4)
        draws = values + rng.normal(0, 0.008, (60, 4))
        found = extrapolate(sizes, values, draws, targets=[400, 4000], level=0.95)
        at = found["at"]["400"]
        hits += at["low"] <= float(law(400)) <= at["high"]
        assert "4 times" in found["at"]["4000"]["refused"]
        assert at["high"] - at["low"] < 0.06
    assert hits >= 6
    flat = np.array([0.8, 0.8, 0.8, 0.8])
    noise = flat + rng.normal(0, 0.02, (100, 4))
    assert "does not rise" in extrapolate(sizes, flat, noise, targets=[400], level=0.95)["refused"]
    few = extrapolate(sizes[:3], flat[:3], noise[:, :3], targets=[400], level=0.95)
    assert "3 sizes" in few["refused"]


def points(*, repeats: int = 3, n: int = 60, gain: float = 1.0) -> dict[Key, Point]:
    """Two kinds of weights on the same cases; the second one sees more."""
    rng = np.random.default_rng(4)
    y = np.arange(n) // 2 % 2
    found: dict[Key, Point] = {}
    for repeat in range(repeats):
        noise = rng.normal(size=n)
        for name, extra in (("a", 0.0), ("b", gain)):
            p = 1 / (1 + np.exp(-(y * (0.8 + extra) + noise)))
            question = ask(
                y, np.stack([1 - p, p], 1), class_names=("no", "yes"), positive="yes", task="single"
            )
            people = tuple(f"p{i // 2}" for i in range(n))
            found[name, 20, repeat] = Point(question, tuple(f"c{i}" for i in range(n)), people)
    return found


def test_bands_are_those_of_plain_loops_over_patients_and_repeats() -> None:
    given = points()
    plain, means = replicates(given, "auc", n_boot=200, seed=1)
    rows = curve_rows(given, plain, means, ["a", "b"])
    assert [row["difference"] is None for row in rows] == [True, False]
    rng = np.random.default_rng(9)
    y = given["a", 20, 0].question.labels
    own, gaps = [], []
    for _ in range(120):
        people = rng.integers(0, 30, 30)
        i = np.concatenate([[2 * p, 2 * p + 1] for p in people])
        chosen = rng.integers(0, 3, 3)

        def mean(name: str, i: Any = i, chosen: Any = chosen) -> float:
            scores = [given[name, 20, r].question.prob[i, 1] for r in chosen]
            return float(np.mean([roc_auc_score(y[i], score) for score in scores]))

        own.append(mean("a"))
        gaps.append(mean("b") - mean("a"))
    for figure, draws in ((rows[0]["figure"], own), (rows[1]["difference"], gaps)):
        ends = np.quantile(draws, [0.025, 0.975])
        assert (figure["low"], figure["high"]) == pytest.approx(ends, abs=0.04)
    wide = rows[1]["figure"]["high"] - rows[1]["figure"]["low"]
    assert rows[1]["difference"]["high"] - rows[1]["difference"]["low"] < 1.5 * wide
    assert rows[1]["difference"]["low"] > 0


def test_a_plan_is_checked_and_folds_come_before_draws() -> None:
    config = ClassificationConfig.model_validate({"data": {"folds": 3}})
    plan = CurvePlan(config, (10, 20), repeats=4, weights=("none",))
    plan.check()
    data = [plan.point(("none", 10, repeat)).data for repeat in range(4)]
    assert [(one.fold, one.draw, one.train_patients) for one in data] == [
        (0, 0, 10), (1, 0, 10), (2, 0, 10), (0, 1, 10),
    ]  # fmt: skip
    for wrong in ({"sizes": (1,)}, {"sizes": (5, 5)}, {"metric": "ece"}, {"weights": ()}):
        with pytest.raises(ConfigError):
            CurvePlan(**{"config": config, "sizes": (10,), **wrong}).check()  # type: ignore[arg-type]
    given = ClassificationConfig.model_validate({"data": {"train_patients": 9}})
    with pytest.raises(ConfigError, match="sets data"):
        CurvePlan(given, (10,)).check()
    assert numbers("10, 20", "--sizes") == (10, 20)
    with pytest.raises(ConfigError, match="--sizes wants whole numbers"):
        numbers("ten", "--sizes")
    path = "/home/someone/weights.h5"
    assert "someone" not in str(folder_of(Path("out"), plan, (path, 10, 0)))
    assert CurvePlan(config, (9,), weights=("none", path)).labels() == {
        "none": "none", path: "local file",
    }  # fmt: skip
    two = CurvePlan(config, (9,), weights=(path, "imagenet", "/home/other/weights.h5")).labels()
    assert list(two.values()) == ["local file 1", "imagenet", "local file 2"]


def test_a_curve_is_fitted_once_and_resumed(
    tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = tiny_run.config.train
    quick = {
        "model": {**tiny_run.config.model.model_dump(), "members": 1, "weights": "none"},
        "train": {**train.model_dump(), "finetune": {"epochs": 1}},
        "evaluate": {"tta": False, "n_boot": 100},
        "data": {"image_size": 32, "positive": "lesion"},
    }
    config = ClassificationConfig.model_validate(quick)
    plan = CurvePlan(config, (6, 99), repeats=1, weights=("none",))
    result = learning_curve(tiny_run.data, tmp_path / "curve", plan)
    assert [(row["patients"], row["repeats"]) for row in result["rows"]] == [(6, 1)]
    assert "has 24 patients" in result["failed"][0]["message"]
    assert "refused" in result["law"]["none"]
    run = folder_of(tmp_path / "curve", plan, ("none", 6, 0))
    cases = json.loads((run / "metrics.json").read_text())["cases"]
    assert (cases["train"]["cases"], cases["test"]["cases"]) == (6, 12)
    page = (tmp_path / "curve" / "learning.html").read_text()
    assert INTENDED_USE in page
    assert str(tmp_path) not in page

    wrong = tmp_path / "wrong.weights.h5"
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="other")]).save_weights(wrong)
    both = learning_curve(
        tiny_run.data, tmp_path / "curve", replace(plan, sizes=(6,), weights=("none", str(wrong)))
    )
    assert [row["weights"] for row in both["failed"]] == ["local file"]
    assert "do not fit" in both["failed"][0]["message"]
    assert [row["weights"] for row in both["rows"]] == ["none"]
    assert str(tmp_path) not in (tmp_path / "curve" / "result.json").read_text()

    def never(*args: Any, **more: Any) -> None:
        raise RecipeError("fitted again")

    monkeypatch.setattr("recipes.classification.fitting.fit", never)
    again = learning_curve(tiny_run.data, tmp_path / "curve", plan)
    assert again["rows"] == result["rows"]
    other = CurvePlan(ClassificationConfig(seed=1), (6,), weights=("none",))
    with pytest.raises(RunFolderError, match="another configuration"):
        learning_curve(tiny_run.data, tmp_path / "curve", other)
