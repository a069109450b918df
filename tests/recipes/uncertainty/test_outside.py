"""Distances from the training cases against scikit-learn and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import ledoit_wolf
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from recipes.errors import RecipeError
from recipes.uncertainty.outside import (
    alarm_threshold,
    fit_mahalanobis,
    fit_neighbours,
    read_reference,
)


def two_classes(n: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    mixing = rng.normal(size=(width, width))
    return rng.normal(size=(n, width)) @ mixing + 3 * labels[:, None], labels


@pytest.mark.parametrize("n", [200, 12])  # 12 cases of 20 features: singular without shrinkage
def test_mahalanobis_is_the_least_distance_to_a_class_mean(n: int) -> None:
    x, labels = two_classes(n, 20, seed=0)
    means = [x[labels == c].mean(axis=0) for c in (0, 1)]
    rest = x - np.asarray(means)[labels]
    inverse = np.linalg.inv(ledoit_wolf(rest, assume_centered=True)[0])
    new = np.random.default_rng(1).normal(size=(5, 20)) * 4
    expected = [min(mahalanobis(v, m, inverse) for m in means) for v in new]
    found = fit_mahalanobis(x, labels)
    np.testing.assert_allclose(found.score(new), expected, rtol=1e-6)
    again = read_reference("mahalanobis", found.arrays())
    np.testing.assert_array_equal(again.score(new), found.score(new))


def test_one_mean_serves_where_there_are_no_classes() -> None:
    x, _ = two_classes(100, 4, seed=2)
    found = fit_mahalanobis(x, None)
    assert found.means.shape == (1, 4)
    assert found.score(x.mean(axis=0, keepdims=True))[0] == pytest.approx(0.0, abs=1e-9)


def test_the_kth_neighbour_on_the_sphere() -> None:
    x, _ = two_classes(150, 8, seed=3)
    new = np.random.default_rng(4).normal(size=(40, 8))
    found = fit_neighbours(x, k=7)
    search = NearestNeighbors(n_neighbors=7).fit(normalize(x))
    expected = search.kneighbors(normalize(new))[0][:, -1]
    np.testing.assert_allclose(found.score(new), expected, atol=1e-5)
    again = read_reference("neighbours", found.arrays())
    np.testing.assert_array_equal(again.score(new), found.score(new))
    assert fit_neighbours(x[:3], k=10).k == 3


def test_the_threshold_raises_the_stated_share_of_false_alarms() -> None:
    rng = np.random.default_rng(5)
    rates = []
    for _ in range(300):
        limit = alarm_threshold(rng.normal(size=99), np.arange(99), false_alarms=0.05)
        rates.append((rng.normal(size=500) > limit).mean())
    assert np.mean(rates) == pytest.approx(0.05, abs=0.006)
    assert alarm_threshold(np.zeros(18), np.arange(18), false_alarms=0.05) == np.inf


def test_what_cannot_be_measured_is_refused() -> None:
    x, labels = two_classes(20, 3, seed=6)
    with pytest.raises(RecipeError, match="not finite"):
        fit_mahalanobis(np.where(x > 2, np.nan, x), labels)
    with pytest.raises(RecipeError, match="do not vary"):
        fit_mahalanobis(np.ones((5, 3)), np.zeros(5, int))
    with pytest.raises(RecipeError, match="at least 2"):
        fit_mahalanobis(x[:1], labels[:1])
    with pytest.raises(RecipeError, match="expected \\(n, 3\\)"):
        fit_mahalanobis(x, labels).score(np.zeros((2, 4)))
    with pytest.raises(RecipeError, match="at least 1"):
        fit_neighbours(x, k=0)
    with pytest.raises(RecipeError, match="lacks 'whiten'"):
        read_reference("mahalanobis", {"means": x})
    with pytest.raises(RecipeError, match="do not fit"):
        read_reference("neighbours", {"cases": x, "k": np.asarray(0)})
