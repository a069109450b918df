"""Losses of pretraining against slow references, and the measures of collapse."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from recipes.fewlabels.losses import (
    effective_rank,
    masked_error,
    nt_xent,
    regression_loss,
    spread,
)


def slow_nt_xent(first: np.ndarray, second: np.ndarray, temperature: float) -> float:
    """Equation 1 of the paper, one pair after the other."""
    z = [*first, *second]
    n = len(first)

    def similarity(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))

    total = 0.0
    for i in range(2 * n):
        j = i + n if i < n else i - n
        others = [np.exp(similarity(z[i], z[k]) / temperature) for k in range(2 * n) if k != i]
        total -= np.log(np.exp(similarity(z[i], z[j]) / temperature) / sum(others))
    return total / (2 * n)


@pytest.mark.parametrize(("n", "d", "temperature"), [(2, 3, 0.5), (7, 5, 0.1), (16, 8, 1.0)])
def test_nt_xent_is_the_papers(n: int, d: int, temperature: float) -> None:
    rng = np.random.default_rng([n, d])
    first, second = rng.normal(size=(2, n, d)).astype("float32")
    found = float(nt_xent(first, second, temperature=temperature))
    assert found == pytest.approx(slow_nt_xent(first, second, temperature), rel=1e-5)


def test_nt_xent_does_not_see_lengths_and_prefers_pairs() -> None:
    rng = np.random.default_rng(3)
    z = rng.normal(size=(6, 4)).astype("float32")
    own = float(nt_xent(z, 3.0 * z, temperature=0.5))
    assert own == pytest.approx(float(nt_xent(5.0 * z, z, temperature=0.5)), rel=1e-5)
    assert own < float(nt_xent(z, np.roll(z, 1, axis=0), temperature=0.5))


def test_regression_loss_runs_from_0_to_4() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(2, 9, 5)).astype("float32")
    assert float(regression_loss(a, 2.0 * a)) == pytest.approx(0.0, abs=1e-5)
    assert float(regression_loss(a, -a)) == pytest.approx(4.0, abs=1e-5)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b)]
    wanted = np.square(unit[0] - unit[1]).sum(axis=1).mean()
    assert float(regression_loss(a, b)) == pytest.approx(wanted, rel=1e-5)


def test_masked_error_looks_at_hidden_pixels_only() -> None:
    rng = np.random.default_rng(5)
    pictures, rebuilt = rng.random((2, 3, 4, 4, 2)).astype("float32")
    hidden = (rng.random((3, 4, 4, 1)) < 0.4).astype("float32")
    where = np.broadcast_to(hidden, pictures.shape) > 0
    wanted = np.abs(rebuilt - pictures)[where].mean()
    assert float(masked_error(pictures, rebuilt, hidden)) == pytest.approx(wanted, rel=1e-5)
    elsewhere = np.where(where, rebuilt, 9.0).astype("float32")
    assert float(masked_error(pictures, elsewhere, hidden)) == pytest.approx(wanted, rel=1e-5)


def test_spread_is_1_for_even_directions_and_0_for_a_collapse() -> None:
    rng = np.random.default_rng(6)
    assert spread(rng.normal(size=(4000, 32))) == pytest.approx(1.0, abs=0.03)
    assert spread(np.tile(rng.normal(size=(1, 32)), (50, 1))) == pytest.approx(0.0, abs=1e-9)


def test_effective_rank_counts_directions() -> None:
    corners = np.concatenate([np.eye(5), -np.eye(5)]) @ np.diag([2.0] * 5)
    assert effective_rank(corners) == pytest.approx(5.0)
    assert effective_rank(np.outer([-1.0, 0.0, 1.0], [1.0, 2.0])) == pytest.approx(1.0)
    assert effective_rank(np.full((4, 3), 7.0)) == 0.0


def test_gradients_are_finite_where_embeddings_vanish() -> None:
    import tensorflow as tf

    zeros = tf.Variable(np.zeros((3, 4), "float32"))
    with tf.GradientTape() as tape:
        loss = nt_xent(zeros, keras.ops.ones((3, 4)), temperature=0.2)
    assert np.isfinite(tape.gradient(loss, zeros).numpy()).all()
