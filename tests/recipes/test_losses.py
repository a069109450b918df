"""Losses against scikit-learn and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import log_loss as sk_log_loss

from recipes.engine.losses import (
    class_weights,
    log_loss,
    make_loss,
    prior_offsets,
    probabilities,
)


def _random(n: int = 40, k: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return np.eye(k, dtype="float32")[rng.integers(0, k, n)], rng.normal(size=(n, k)).astype("f4")


def test_single_loss_without_weights_is_cross_entropy() -> None:
    y, z = _random()
    loss = np.asarray(make_loss(np.ones(3, "f4"), task="single")(y, z))
    expected = sk_log_loss(y.argmax(1), probabilities(z, task="single"), labels=[0, 1, 2])
    assert loss.mean() == pytest.approx(expected, rel=1e-5)
    assert log_loss(y, z, task="single") == pytest.approx(expected, rel=1e-6)


def test_label_smoothing_mixes_with_the_uniform_distribution() -> None:
    y, z = _random(seed=1)
    smooth = np.asarray(make_loss(np.ones(3, "f4"), task="single", label_smoothing=0.3)(y, z))
    plain = np.asarray(make_loss(np.ones(3, "f4"), task="single")(y * 0.7 + 0.1, z))
    np.testing.assert_allclose(smooth, plain, rtol=1e-5)


def test_weights_equalise_classes_and_keep_the_mean_at_one() -> None:
    y = np.eye(2, dtype="f4")[[0] * 30 + [1] * 10]
    w = class_weights(y, task="single", balance="inverse")
    assert w[1] / w[0] == pytest.approx(3.0)
    assert (y @ w).mean() == pytest.approx(1.0)
    assert class_weights(y, task="single", balance="none") == pytest.approx([1.0, 1.0])
    assert class_weights(y, task="single", balance="sqrt")[1] == pytest.approx(
        np.sqrt(3.0) * class_weights(y, task="single", balance="sqrt")[0]
    )


@pytest.mark.parametrize("task", ["single", "multilabel"])
def test_offsets_undo_the_weights_exactly(task: str) -> None:
    """A constant model fitted with the weighted loss reports the true prevalence."""
    rng = np.random.default_rng(3)
    if task == "single":
        y = np.eye(3, dtype="f4")[rng.choice(3, 500, p=[0.7, 0.25, 0.05])]
    else:
        y = (rng.random((500, 3)) < [0.7, 0.25, 0.05]).astype("f4")
        y[rng.random(y.shape) < 0.3] = np.nan
    weights = class_weights(y, task=task, balance="inverse")
    loss = make_loss(weights, task=task)
    from scipy.optimize import minimize

    start = np.zeros(3)
    fitted = minimize(
        lambda b: float(np.asarray(loss(y, np.tile(b, (500, 1)).astype("f4"))).mean()),
        start,
        method="Nelder-Mead",
        options={"xatol": 1e-4, "fatol": 1e-8},
    ).x
    z = fitted - prior_offsets(weights)
    np.testing.assert_allclose(
        probabilities(z[None], task=task)[0], np.nanmean(y, axis=0), atol=0.01
    )


def test_unknown_labels_give_no_loss_and_no_nan_gradient() -> None:
    import tensorflow as tf

    y = np.array([[1.0, np.nan], [np.nan, 0.0]], "f4")
    z = tf.Variable(np.array([[0.3, 5.0], [-4.0, 0.2]], "f4"))
    loss = make_loss(np.ones(2, "f4"), task="multilabel")
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(loss(y, z))
    gradient = tape.gradient(value, z).numpy()
    assert np.isfinite(gradient).all()
    assert gradient[0, 1] == 0.0
    assert gradient[1, 0] == 0.0
    assert gradient[0, 0] != 0.0
    expected = np.logaddexp(0, -0.3) + np.logaddexp(0, 0.2)
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_multilabel_log_loss_matches_sklearn_on_known_labels() -> None:
    rng = np.random.default_rng(4)
    y = (rng.random((60, 2)) < 0.4).astype("f4")
    z = rng.normal(size=(60, 2))
    y[::7, 1] = np.nan
    known = np.isfinite(y)
    expected = sk_log_loss(y[known], probabilities(z, task="multilabel")[known])
    assert log_loss(y, z, task="multilabel") == pytest.approx(expected, rel=1e-6)


def test_probabilities_survive_extreme_logits() -> None:
    z = np.array([[1000.0, -1000.0]])
    assert probabilities(z, task="single")[0] == pytest.approx([1.0, 0.0])
    assert probabilities(z, task="multilabel")[0] == pytest.approx([1.0, 0.0])
