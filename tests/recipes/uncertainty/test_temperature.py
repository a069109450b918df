"""Temperature scaling against a closed form and an independent minimisation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss

from recipes.errors import RecipeError
from recipes.uncertainty.temperature import fit_temperature


def gaussian_logits(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of three Gaussian classes, and logits whose softmax is the true posterior."""
    rng = np.random.default_rng(seed)
    means = np.asarray([[0.0, 0.0], [1.5, 0.0], [0.0, 1.5]])
    labels = rng.integers(0, 3, n)
    x = means[labels] + rng.normal(size=(n, 2))
    return labels, -0.5 * np.square(x[:, None] - means).sum(axis=2)


@pytest.mark.parametrize("sharper", [0.4, 3.0])
def test_it_finds_how_much_too_sharp_logits_were_made(sharper: float) -> None:
    labels, exact = gaussian_logits(20_000, seed=1)
    found = fit_temperature(np.eye(3)[labels], sharper * exact, kind="single")
    assert found == pytest.approx(sharper, rel=0.05)


def test_it_is_the_minimum_that_another_optimiser_finds() -> None:
    labels, exact = gaussian_logits(200, seed=2)
    z = 2.2 * exact + np.random.default_rng(3).normal(size=exact.shape)

    def loss(t: float) -> float:
        e = np.exp(z / t)
        return float(log_loss(labels, e / e.sum(axis=1, keepdims=True), labels=[0, 1, 2]))

    found = fit_temperature(np.eye(3)[labels], z, kind="single")
    other = minimize_scalar(loss, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-9}).x
    assert found == pytest.approx(other, rel=1e-4)


def test_weights_count_like_copies() -> None:
    labels, exact = gaussian_logits(60, seed=4)
    times = np.random.default_rng(5).integers(1, 4, 60)
    weighted = fit_temperature(np.eye(3)[labels], exact, times.astype(float), kind="single")
    rows = np.repeat(np.arange(60), times)
    assert weighted == pytest.approx(
        fit_temperature(np.eye(3)[labels][rows], exact[rows], kind="single"), rel=1e-9
    )


def test_unknown_labels_of_a_vector_do_not_count() -> None:
    rng = np.random.default_rng(6)
    z = rng.normal(size=(400, 2)) * 2
    y = (rng.random((400, 2)) < 1 / (1 + np.exp(-z / 2))).astype(float)
    y[:200, 1] = np.nan
    both = fit_temperature(y, z, kind="multilabel")
    moved = z.copy()
    moved[:200, 1] = 50.0
    assert fit_temperature(y, moved, kind="multilabel") == both
    assert both == pytest.approx(2.0, rel=0.35)


def test_no_temperature_fits_where_every_case_is_right() -> None:
    z = np.asarray([[4.0, 0.0], [0.0, 3.0], [2.0, 1.0]])
    assert fit_temperature(np.eye(2)[[0, 1, 0]], z, kind="single") is None


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(RecipeError, match="not finite"):
        fit_temperature(np.eye(2), np.asarray([[np.nan, 0], [0, 1]]), kind="single")
    with pytest.raises(RecipeError, match="must both be"):
        fit_temperature(np.eye(2), np.zeros((3, 2)), kind="single")
    with pytest.raises(RecipeError, match="known: single"):
        fit_temperature(np.eye(2), np.eye(2), kind="softmax")
    with pytest.raises(RecipeError, match="known label"):
        fit_temperature(np.full((2, 2), np.nan), np.eye(2), kind="multilabel")
