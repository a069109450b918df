"""Intervals: clusters, coverage, pairs, and the notes that go with them."""

from __future__ import annotations

import json
import time
from statistics import NormalDist

import numpy as np
import pytest

from recipes.errors import RecipeError
from recipes.evaluation import bootstrap, evaluate, paired_difference

KEYS = {"class_names": ["no", "yes"], "positive": "yes", "task": "single"}


def sample(n: int, seed: int, shift: float = 1.5):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    z = rng.normal(size=n) + shift * y - shift / 2
    p = 1 / (1 + np.exp(-shift * z))
    return y, np.c_[1 - p, p]


def test_resamples_draw_whole_groups() -> None:
    group_of, known = bootstrap.group_index(["a", "b", "a", None, "", float("nan"), "b"], 7)
    assert known == 4
    assert group_of.tolist() == [0, 1, 0, 2, 3, 4, 1]
    weights = np.concatenate(list(bootstrap.resamples(group_of, 300, seed=1)))
    assert weights.shape == (300, 7)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    np.testing.assert_array_equal(weights[:, 1], weights[:, 6])
    np.testing.assert_array_equal(weights[:, [0, 1, 3, 4, 5]].sum(1), 5)
    assert abs(weights.mean() - 1) < 0.1


def test_memory_is_chunked_and_repeats(monkeypatch) -> None:
    group_of = np.arange(40)
    whole = np.concatenate(list(bootstrap.resamples(group_of, 50, seed=3)))
    monkeypatch.setattr(bootstrap, "_CHUNK", 40 * 7)
    parts = list(bootstrap.resamples(group_of, 50, seed=3))
    assert max(len(part) for part in parts) == 7
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_percentiles_and_undefined_values() -> None:
    values = np.arange(1001.0)
    assert bootstrap.percentile_interval(values, 0.95) == pytest.approx((25, 975, 0))
    assert bootstrap.percentile_interval(values, 0.90) == pytest.approx((50, 950, 0))
    half = np.where(values % 2 == 0, values, np.nan)  # 501 of 1001 defined
    assert bootstrap.percentile_interval(half, 0.95)[2] == 500
    assert bootstrap.percentile_interval(half, 0.95)[0] == pytest.approx(25)
    most = np.where(values % 3 == 0, values, np.nan)
    assert np.isnan(bootstrap.percentile_interval(most, 0.95)[:2]).all()


def test_interval_covers_the_true_auc_about_as_often_as_it_says() -> None:
    truth = NormalDist().cdf(1.5 / np.sqrt(2))
    hits = 0
    for seed in range(120):
        y, prob = sample(120, seed)
        auc = evaluate(y, prob, None, n_boot=200, seed=seed, **KEYS)["auc"]
        hits += auc["low"] <= truth <= auc["high"]
    assert 0.88 <= hits / 120 <= 0.99


def test_copies_of_a_patient_add_no_certainty() -> None:
    y, prob = sample(100, 0)
    one = evaluate(y, prob, [f"p{i}" for i in range(100)], **KEYS)
    four = np.repeat(np.arange(100), 4)
    by_patient = evaluate(y[four], prob[four], [f"p{i}" for i in four], **KEYS)
    by_image = evaluate(y[four], prob[four], None, **KEYS)

    def width(result):
        return result["auc"]["high"] - result["auc"]["low"]

    assert by_patient["n_groups"] == 100
    assert by_patient["unit"] == "patient"
    assert width(by_patient) == pytest.approx(width(one), rel=1e-9)
    assert width(by_image) < 0.6 * width(one)


def test_same_seed_same_answer_and_json() -> None:
    y, prob = sample(80, 1)
    first = evaluate(y, prob, None, seed=5, n_boot=100, **KEYS)
    assert first == evaluate(y, prob, None, seed=5, n_boot=100, **KEYS)
    assert first["auc"] != evaluate(y, prob, None, seed=6, n_boot=100, **KEYS)["auc"]
    assert json.loads(json.dumps(first, allow_nan=False)) == first


def test_notes_say_what_the_intervals_leave_out() -> None:
    y, prob = sample(40, 2)
    few = evaluate(y, prob, [f"p{i // 10}" for i in range(40)], n_boot=50, **KEYS)
    assert any("training variability" in note for note in few["notes"])
    assert any("Only 4 patients" in note for note in few["notes"])
    mixed = evaluate(y, prob, ["a"] * 2 + [None] * 38, n_boot=50, **KEYS)
    assert mixed["unit"] == "image"
    assert any("unknown for 38 of 40" in note for note in mixed["notes"])
    one = evaluate(y, prob, ["a"] * 40, n_boot=50, **KEYS)
    assert one["auc"]["value"] is not None
    assert one["auc"]["low"] is None
    assert any("only one group" in note for note in one["notes"])


def test_undefined_resamples_are_counted() -> None:
    y, prob = sample(60, 3)
    y = np.zeros_like(y)
    y[np.argsort(prob[:, 1])[[10, 50]]] = 1
    result = evaluate(y, prob, None, n_boot=400, **KEYS)
    note = next(note for note in result["notes"] if note.startswith("auc:"))
    lost = int(note.split()[1])
    assert 0.08 < lost / 400 < 0.20  # (1 - 2/60)^60 = 0.13
    assert result["auc"]["low"] is not None


def test_a_perfect_classifier_gets_a_note_and_no_slope() -> None:
    y = np.arange(60) % 2
    p = np.where(y == 1, 0.9, 0.1)
    result = evaluate(y, np.c_[1 - p, p], None, n_boot=200, **KEYS)
    assert result["auc"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert result["calibration_slope"]["value"] is None
    assert any("rule of three" in note for note in result["notes"])
    assert any("perfectly separated" in note for note in result["notes"])


def test_paired_interval_is_narrower_and_exact_for_equal_models() -> None:
    rng = np.random.default_rng(7)
    y, a = sample(300, 7)
    noisy = 1 / (1 + np.exp(-(np.log(a[:, 1] / a[:, 0]) + rng.normal(size=300))))
    b = np.c_[1 - noisy, noisy]
    gap = paired_difference(y, a, b, None, "auc", n_boot=500, **KEYS)
    first, second = (evaluate(y, q, None, n_boot=500, **KEYS)["auc"] for q in (a, b))
    assert gap["value"] == pytest.approx(first["value"] - second["value"])
    assert gap["low"] > 0
    apart = np.hypot(first["high"] - first["low"], second["high"] - second["low"])
    assert gap["high"] - gap["low"] < 0.8 * apart
    same = paired_difference(y, a, a, None, "f1", n_boot=50, **KEYS)
    assert same == {"value": 0.0, "low": 0.0, "high": 0.0}
    op = paired_difference(
        y, a, a, None, "sensitivity_op", thresholds=(0.2, 0.8), n_boot=50, **KEYS
    )
    assert op["value"] > 0.1


def test_unknown_metric_names_the_nearest() -> None:
    y, prob = sample(20, 0)
    with pytest.raises(RecipeError, match="did you mean 'accuracy'"):
        paired_difference(y, prob, prob, None, "acuracy", **KEYS)


def test_a_thousand_resamples_take_no_time() -> None:
    y, prob = sample(624, 0)
    start = time.perf_counter()
    evaluate(y, prob, None, threshold=0.3, prevalence=0.1, n_boot=1000, **KEYS)
    assert time.perf_counter() - start < 3
