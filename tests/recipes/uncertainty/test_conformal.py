"""Conformal quantiles by the formula, and coverage where it is known exactly."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recipes.errors import RecipeError
from recipes.uncertainty.conformal import (
    class_quantiles,
    conformal_quantile,
    conformal_scores,
    least_units,
    prediction_sets,
    set_text,
)


def test_the_quantile_is_the_stated_order_statistic() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        n, percent = int(rng.integers(1, 60)), int(rng.integers(1, 100))
        scores = rng.random(n)
        place = -(-(n + 1) * percent // 100)  # the ceiling, in whole numbers
        expected = np.sort(scores)[place - 1] if place <= n else math.inf
        found = conformal_quantile(scores, np.arange(n), coverage=percent / 100)
        assert found == expected


def test_coverage_is_exact_for_one_image_per_patient() -> None:
    """For continuous scores it is ceil((n + 1) 0.9) / (n + 1), here 9/10 exactly."""
    draws = np.random.default_rng(1).random((4000, 20))
    hits = [row[-1] <= conformal_quantile(row[:-1], np.arange(19), coverage=0.9) for row in draws]
    assert np.mean(hits) == pytest.approx(0.9, abs=4 * math.sqrt(0.09 / 4000))


def test_a_patient_with_many_images_counts_once() -> None:
    scores = np.concatenate([np.linspace(0.1, 0.9, 9), np.full(1000, 5.0)])
    groups = np.concatenate([np.arange(9), np.full(1000, 9)])
    # Ten patients: each weighs 1/11, the tenth one's images share theirs.
    assert conformal_quantile(scores, groups, coverage=0.8) == pytest.approx(0.9)
    assert conformal_quantile(scores, groups, coverage=0.9) == 5.0
    assert conformal_quantile(scores, np.arange(1009), coverage=0.8) == 5.0


def test_coverage_holds_for_an_image_of_a_new_patient() -> None:
    """Scores differ by patient far more than within; the patients have 1 to 8 images."""
    rng = np.random.default_rng(2)
    hits, naive = [], []
    for _ in range(1500):
        sizes = rng.choice([1, 8], size=20)
        groups = np.repeat(np.arange(20), sizes)
        own = rng.normal(size=20) - 1.5 * (sizes == 8)  # those with many images score low
        scores = own[groups] + 0.1 * rng.normal(size=len(groups))
        old, new = groups < 19, np.flatnonzero(groups == 19)
        picked = scores[rng.choice(new)]
        hits.append(picked <= conformal_quantile(scores[old], groups[old], coverage=0.9))
        images = np.arange(old.sum())
        naive.append(picked <= conformal_quantile(scores[old], images, coverage=0.9))
    error = 4 * math.sqrt(0.09 / 1500)
    assert 0.9 - error <= np.mean(hits) <= 0.96
    assert np.mean(naive) < 0.9 - error


def test_too_few_patients_give_an_infinite_quantile() -> None:
    assert [least_units(c) for c in (0.5, 0.8, 0.9, 0.95, 0.99)] == [1, 4, 9, 19, 99]
    assert math.isfinite(conformal_quantile(np.zeros(9), np.arange(9), coverage=0.9))
    assert conformal_quantile(np.zeros(8), np.arange(8), coverage=0.9) == math.inf
    assert conformal_quantile(np.zeros(0), np.zeros(0, int), coverage=0.9) == math.inf


def test_scores_of_a_small_example() -> None:
    prob = np.asarray([[0.2, 0.7, 0.1], [0.4, 0.4, 0.2]])
    np.testing.assert_allclose(conformal_scores(prob, method="lac"), 1 - prob)
    np.testing.assert_allclose(
        conformal_scores(prob, method="aps"), [[0.9, 0.7, 1.0], [0.4, 0.8, 1.0]]
    )
    np.testing.assert_allclose(
        conformal_scores(prob, method="aps", u=np.asarray([0.5, 0.0])),
        [[0.8, 0.35, 0.95], [0.0, 0.4, 0.8]],
    )


def test_randomised_adaptive_scores_of_the_truth_are_uniform() -> None:
    """With true probabilities the score of the true class is uniform (Romano et al. 2020)."""
    rng = np.random.default_rng(3)
    prob = rng.dirichlet([1, 2, 0.5], size=20_000)
    labels = (rng.random(20_000)[:, None] > prob.cumsum(axis=1)).sum(axis=1)
    scores = conformal_scores(prob, method="aps", u=rng.random(20_000))
    own = np.sort(scores[np.arange(20_000), labels])
    assert np.abs(own - (np.arange(20_000) + 0.5) / 20_000).max() < 0.015


def test_each_class_can_have_its_own_quantile() -> None:
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 2, 400)
    scores = rng.random((400, 2)) + labels[:, None]
    groups = np.arange(400)
    own = class_quantiles(scores, labels, groups, coverage=0.9, per_class=True)
    for k in (0, 1):
        rows = labels == k
        assert own[k] == conformal_quantile(scores[rows, k], groups[rows], coverage=0.9)
    one = class_quantiles(scores, labels, groups, coverage=0.9, per_class=False)
    assert one[0] == one[1] > own[0]
    few = class_quantiles(scores[:1], labels[:1], groups[:1], coverage=0.9, per_class=True)
    assert np.isinf(few).all()


def test_sets_hold_what_scores_low_enough() -> None:
    sets = prediction_sets(np.asarray([[0.1, 0.9], [0.5, 0.5], [0.9, 0.95]]), [0.5, 0.9])
    assert sets.tolist() == [[True, True], [True, True], [False, False]]
    assert [set_text(row, ("a", "b")) for row in sets] == ["a;b", "a;b", ""]


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(RecipeError, match="between 0 and 1"):
        conformal_quantile(np.zeros(3), np.arange(3), coverage=90)
    with pytest.raises(RecipeError, match="not finite"):
        conformal_quantile(np.asarray([np.nan]), np.arange(1), coverage=0.9)
    with pytest.raises(RecipeError, match="known: lac, aps"):
        conformal_scores(np.eye(2), method="raps")  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="u has shape"):
        conformal_scores(np.eye(2), method="aps", u=np.zeros(3))
