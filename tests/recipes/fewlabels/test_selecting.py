"""Choosing cases: against brute force, closed forms and SciPy."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from recipes.errors import RecipeError
from recipes.fewlabels.selecting import (
    STRATEGIES,
    choose,
    entropy,
    gradient_embeddings,
    k_center,
    margin,
    most,
    mutual_information,
    spread_choice,
)


def probabilities(rng: np.random.Generator, n: int, k: int) -> np.ndarray:
    return rng.dirichlet(np.ones(k), size=n)


def test_entropy_is_scipys() -> None:
    p = probabilities(np.random.default_rng(0), 20, 4)
    np.testing.assert_allclose(entropy(p, task="single"), stats.entropy(p, axis=1))
    pairs = np.stack([p, 1 - p])
    np.testing.assert_allclose(entropy(p, task="multilabel"), stats.entropy(pairs).mean(axis=1))
    assert entropy(np.array([[1.0, 0.0]]), task="single") == pytest.approx(0.0)


def test_margin_is_largest_where_two_answers_tie() -> None:
    p = np.array([[0.5, 0.5, 0.0], [0.9, 0.06, 0.04]])
    np.testing.assert_allclose(margin(p, task="single"), [1.0, 0.16])
    np.testing.assert_allclose(margin(p[:, :2], task="multilabel"), [1.0, 0.2])


def test_mutual_information_is_0_where_passes_agree_and_log_2_where_they_contradict() -> None:
    agree = np.tile(probabilities(np.random.default_rng(1), 5, 3), (4, 1, 1))
    np.testing.assert_allclose(mutual_information(agree, task="single"), 0.0, atol=1e-12)
    against = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    assert mutual_information(against, task="single") == pytest.approx(np.log(2))


def greedy(points: np.ndarray, n: int, centres: list[np.ndarray]) -> list[int]:
    """The algorithm of the paper, all distances anew in each step."""
    chosen: list[int] = []
    for _ in range(n):
        there = centres + [points[i] for i in chosen]
        gaps = [
            -1.0 if i in chosen else min(float(np.linalg.norm(x - c)) for c in there)
            for i, x in enumerate(points)
        ]
        chosen.append(int(np.argmax(gaps)))
    return chosen


def test_k_center_is_the_slow_one() -> None:
    rng = np.random.default_rng(2)
    points, centres = rng.normal(size=(40, 6)), rng.normal(size=(3, 6))
    assert k_center(points, 12, centres=centres) == greedy(points, 12, list(centres))
    assert k_center(points, 9, first=7) == [7, *greedy_from(points, 9, 7)]


def greedy_from(points: np.ndarray, n: int, first: int) -> list[int]:
    rest = [i for i in range(len(points)) if i != first]
    found = greedy(points[rest], n - 1, [points[first]])
    return [rest[i] for i in found]


@pytest.mark.parametrize("seed", range(5))
def test_k_center_is_within_twice_the_best_cover(seed: int) -> None:
    points = np.random.default_rng(seed).normal(size=(11, 2))
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)

    def radius(chosen: list[int]) -> float:
        return float(distance[:, chosen].min(axis=1).max())

    best = min(radius(list(some)) for some in combinations(range(11), 3))
    assert radius(k_center(points, 3)) <= 2 * best + 1e-12


def test_patients_are_chosen_once() -> None:
    rng = np.random.default_rng(3)
    groups = ["a", "a", "b", None, None, "b"]
    p, features = probabilities(rng, 6, 2), rng.normal(size=(6, 3))
    for strategy in STRATEGIES:
        chosen = choose(
            strategy, 6, p=p, features=features, task="single",
            rng=np.random.default_rng(0), passes=np.stack([p, p[::-1]]), groups=groups,
        )  # fmt: skip
        known = [groups[i] for i in chosen if groups[i] is not None]
        assert sorted(known) == ["a", "b"], strategy
        assert {3, 4} <= set(chosen), strategy
        assert len(set(chosen)) == len(chosen) == 4, strategy


def test_most_takes_the_first_of_equal_scores() -> None:
    assert most(np.array([1.0, 3.0, 3.0, 2.0]), 3) == [1, 2, 3]


def test_badge_embeddings_are_gradients_of_the_last_layer() -> None:
    import tensorflow as tf

    rng = np.random.default_rng(4)
    features = rng.normal(size=(5, 3))
    kernel = tf.Variable(rng.normal(size=(3, 4)))
    for i in range(5):
        with tf.GradientTape() as tape:
            logits = tf.constant(features[i : i + 1]) @ kernel
            answer = tf.argmax(logits, axis=1)
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(answer, logits)
        gradient = tape.gradient(loss, kernel).numpy()
        p = tf.nn.softmax(logits).numpy()
        found = gradient_embeddings(p, features[i : i + 1], task="single")
        np.testing.assert_allclose(found.reshape(4, 3), gradient.T, rtol=1e-9)


def test_spread_choice_draws_by_squared_distance() -> None:
    points = np.array([[10.0, 0.0], [10.0, 1.0], [10.0, 3.0]])  # the third is the longest
    drawn = [spread_choice(points, 2, rng=np.random.default_rng(s)) for s in range(400)]
    assert all(first == 2 for first, _ in drawn)
    share = np.mean([second == 0 for _, second in drawn])  # 9 to 4
    assert share == pytest.approx(9 / 13, abs=0.08)


def test_spread_choice_goes_on_where_all_points_are_one() -> None:
    chosen = spread_choice(np.ones((4, 2)), 4, rng=np.random.default_rng(0))
    assert sorted(chosen) == [0, 1, 2, 3]


def test_an_unknown_strategy_is_named() -> None:
    p = np.full((3, 2), 0.5)
    with pytest.raises(RecipeError, match="unknown strategy 'entropie'; known: entropy"):
        choose("entropie", 1, p=p, features=p, task="single", rng=np.random.default_rng(0))
