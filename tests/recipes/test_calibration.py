"""Calibration: recalibration fits and the calibration error."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from recipes.evaluation import calibration as cal
from recipes.evaluation import evaluate


def sample(n: int = 400, seed: int = 0, slope: float = 0.6, shift: float = -0.4):
    """Truth whose true recalibration is `slope` and `shift`."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n) * 1.5
    y = (rng.random(n) < 1 / (1 + np.exp(-(shift + slope * x)))).astype(float)
    return y, 1 / (1 + np.exp(-x)), rng.integers(0, 4, size=(4, n)).astype(float)


def test_slope_and_intercept_equal_sklearn_under_weights() -> None:
    y, p, weights = sample()
    slope, intercept = cal.recalibration(y, p, weights)
    for row, w in enumerate(weights):
        fit = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
        fit.fit(cal.logit(p)[:, None], y, sample_weight=w)
        assert slope[row] == pytest.approx(fit.coef_[0, 0], abs=1e-5)
        assert intercept[row] == pytest.approx(fit.intercept_[0], abs=1e-5)


def test_known_miscalibration_is_found() -> None:
    y, p, _ = sample(n=60_000)
    slope, intercept = cal.recalibration(y, p, np.ones((1, len(y))))
    assert slope[0] == pytest.approx(0.6, abs=0.03)
    assert intercept[0] == pytest.approx(-0.4, abs=0.03)


def test_calibration_in_the_large_balances_the_mean() -> None:
    y, p, weights = sample()
    shift = cal.calibration_in_the_large(y, p, weights)
    for row, w in enumerate(weights):
        moved = 1 / (1 + np.exp(-(cal.logit(p) + shift[row])))
        assert np.average(moved, weights=w) == pytest.approx(np.average(y, weights=w))


@pytest.mark.parametrize("seed", [124, 155, 158, 179])
def test_hard_fits_reach_the_maximum_of_the_likelihood(seed: int) -> None:
    """Few positive cases and far outliers: plain Newton steps overshoot here and diverge."""
    rng = np.random.default_rng(seed)
    n, positive = int(rng.integers(50, 400)), int(rng.integers(1, 6))
    x = rng.normal(size=n) * rng.choice([0.1, 1, 5])
    y = np.zeros(n)
    y[:positive] = 1
    x[:positive] = rng.normal(size=positive) * rng.choice([1, 5, 15]) + rng.choice([-10, 0, 10])
    x[rng.integers(0, n, 3)] = rng.choice([-16, 16])
    p = 1 / (1 + np.exp(-np.clip(x, -16, 16)))
    weights = rng.integers(0, 20, size=(3, n)).astype(float)
    slope, intercept = cal.recalibration(y, p, weights)
    assert np.isfinite(slope).all()
    x = cal.logit(p)
    for row, w in enumerate(weights):
        slack = w * (y - 1 / (1 + np.exp(-(intercept[row] + slope[row] * x))))
        assert abs(slack.sum()) < 1e-5
        assert abs(slack @ x) < 1e-4


@pytest.mark.parametrize(
    ("y", "p"),
    [
        ([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]),  # separated
        ([1, 1, 0, 0], [0.1, 0.2, 0.8, 0.9]),  # separated the wrong way round
        ([0, 0, 1, 1], [0.1, 0.5, 0.5, 0.9]),  # separated but for a shared value
        ([1, 1, 1, 1], [0.1, 0.2, 0.8, 0.9]),  # one class
        ([0, 1, 0, 1], [0.4, 0.4, 0.4, 0.4]),  # one probability
    ],
)
def test_no_fit_is_nan(y, p) -> None:
    slope, intercept = cal.recalibration(np.array(y, float), np.array(p), np.ones((1, 4)))
    assert np.isnan(slope[0])
    assert np.isnan(intercept[0])


def test_only_the_undefined_weightings_are_nan() -> None:
    y, p = np.array([0.0, 1, 0, 1, 1]), np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    weights = np.array([[1.0, 1, 1, 1, 1], [1, 0, 1, 1, 1], [1, 0, 1, 0, 0], [2, 1, 1, 1, 0]])
    slope, _ = cal.recalibration(y, p, weights)
    assert np.isfinite(slope).tolist() == [True, False, False, True]


def test_calibration_error_by_hand() -> None:
    p = np.array([0.05, 0.05, 0.55, 0.55, 1.0])
    y = np.array([0.0, 1.0, 1.0, 1.0, 1.0])
    # bins of width 0.1: [0, 0.1) gap |0.05 - 0.5|, [0.5, 0.6) gap |0.55 - 1|, last gap 0
    want = (2 * 0.45 + 2 * 0.45 + 0) / 5
    weights = np.ones((1, 5))
    assert cal.expected_calibration_error(y, p, weights, bins=10)[0] == pytest.approx(want)
    doubled = np.array([[2.0, 0, 1, 1, 1]])
    want = (2 * 0.05 + 2 * 0.45 + 0) / 5
    assert cal.expected_calibration_error(y, p, doubled, bins=10)[0] == pytest.approx(want)
    bins = cal.reliability_bins(y, p, bins=10)
    assert [b["n"] for b in bins] == [2, 2, 1]
    assert bins[1]["predicted"] == pytest.approx(0.55)
    assert bins[0]["observed"] == 0.5


def test_interval_of_the_calibration_error_holds_the_figure() -> None:
    keys = {"class_names": ["no", "yes"], "positive": "yes", "task": "single"}
    for seed in range(3):
        y, p, _ = sample(n=150, seed=seed, slope=1, shift=0)
        ece = evaluate(y.astype(int), np.c_[1 - p, p], None, n_boot=300, **keys)["ece"]
        assert 0 <= ece["low"] < ece["value"] < ece["high"]
