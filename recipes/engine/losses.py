"""Losses that handle class imbalance, soft targets and unknown labels.

Weights sit inside the loss because ``class_weight`` of Keras takes the arg-max over the last
axis, which is wrong for multi-label vectors. Each weighting has an exact inverse on the logits
(``prior_offsets``), so that reported probabilities refer to the true prevalence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from zoo.losses import MaskedCrossentropy

Balance = Literal["none", "sqrt", "inverse"]
Task = Literal["single", "multilabel"]
FloatArray = npt.NDArray[np.floating[Any]]

_EXPONENT = {"none": 0.0, "sqrt": 0.5, "inverse": 1.0}


def class_weights(targets: FloatArray, *, task: Task, balance: Balance) -> FloatArray:
    """Weight of every class from its frequency in the training part.

    Args:
        targets: ``(n, k)`` one-hot rows, or 0/1 multi-label rows with NaN where unknown.
        task: ``"single"`` weights classes against each other; ``"multilabel"`` weights the
            positives of each label against its negatives.
        balance: ``"inverse"`` equalises the classes, ``"sqrt"`` goes half the way (in the
            logarithm), ``"none"`` leaves them.

    Returns:
        ``(k,)`` positive weights, float32. For ``"single"`` the mean weight over the training
        rows is 1, so that the size of a gradient step does not depend on the imbalance.
    """
    exponent = _EXPONENT[balance]
    if task == "single":
        frequency = np.maximum(targets.mean(axis=0), 1e-12)
        weights = (1.0 / (len(frequency) * frequency)) ** exponent
        weights = np.where(targets.sum(axis=0) > 0, weights, 1.0)
        return np.asarray(weights / (weights * frequency).sum(), "float32")
    known = np.isfinite(targets)
    positives = np.where(known, targets, 0.0).sum(axis=0)
    negatives = known.sum(axis=0) - positives
    usable = (positives > 0) & (negatives > 0)
    ratio = np.where(usable, negatives / np.maximum(positives, 1e-12), 1.0)
    return np.asarray(ratio**exponent, "float32")


def prior_offsets(weights: FloatArray) -> FloatArray:
    """What to subtract from the logits to undo ``class_weights``.

    The minimiser of the weighted cross-entropy is proportional to ``w_c p(c | x)``, hence
    ``z_c - log w_c`` are logits of ``p(c | x)`` at the prevalence of the training part
    (Elkan 2001, "The foundations of cost-sensitive learning", theorem 2).

    Args:
        weights: ``(k,)`` positive class weights.

    Returns:
        ``(k,)`` offsets, float32.
    """
    return np.asarray(np.log(weights), "float32")


def make_loss(
    weights: FloatArray, *, task: Task, label_smoothing: float = 0.0
) -> Callable[[Any, Any], Any]:
    """Weighted cross-entropy on logits.

    Args:
        weights: ``(k,)`` class weights from ``class_weights``.
        task: ``"single"`` is softmax cross-entropy on (possibly mixed) class distributions;
            ``"multilabel"`` is sigmoid cross-entropy with NaN targets left out.
        label_smoothing: share of each target spread evenly over the classes, in [0, 1).

    Returns:
        ``loss(y_true, y_pred)`` for ``(batch, k)`` targets and logits; ``(batch,)`` values.
    """
    loss = MaskedCrossentropy(
        activation="softmax" if task == "single" else "sigmoid",
        class_weights=[float(weight) for weight in weights],
        label_smoothing=label_smoothing,
    )
    return loss.call


def log_loss(targets: FloatArray, logits: FloatArray, *, task: Task) -> float:
    """Mean unweighted cross-entropy of logits, in nats; the early-stopping default.

    Args:
        targets: ``(n, k)`` one-hot or 0/1 with NaN unknown.
        logits: ``(n, k)`` at the true prevalence.
        task: See ``make_loss``.

    Returns:
        The mean over rows (single) or over known labels (multi-label).
    """
    z = np.asarray(logits, "float64")
    if task == "single":
        top = z.max(axis=1, keepdims=True)
        log_p = z - top - np.log(np.exp(z - top).sum(axis=1, keepdims=True))
        return float(-(targets * log_p).sum(axis=1).mean())
    known = np.isfinite(targets)
    y = np.where(known, targets, 0.0)
    each = np.logaddexp(0.0, z) - y * z
    return float(each[known].mean()) if known.any() else float("nan")


def probabilities(logits: FloatArray, *, task: Task) -> npt.NDArray[np.float64]:
    """Softmax (single) or sigmoid (multi-label) of ``(n, k)`` logits, float64."""
    z = np.asarray(logits, "float64")
    if task == "single":
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return np.asarray(e / e.sum(axis=1, keepdims=True), "float64")
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * z)), "float64")
