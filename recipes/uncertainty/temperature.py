"""Temperature scaling: one number that makes probabilities mean what they say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.errors import RecipeError

LOW, HIGH = 0.05, 20.0
"""Temperatures that are tried; an optimum at an end is none."""


def fit_temperature(
    targets: npt.NDArray[Any],
    logits: npt.NDArray[Any],
    weights: npt.NDArray[np.float64] | None = None,
    *,
    kind: str,
) -> float | None:
    """The temperature T that minimises the log loss of ``logits / T`` (Guo et al. 2017).

    "On Calibration of Modern Neural Networks", arXiv:1706.04599, section 4.2. It changes no
    ranking and no most probable class. The loss is convex in 1/T, so the minimum is the only one.

    Args:
        targets: ``(n, k)`` one-hot rows (``single``), or 0/1 with NaN unknown (``multilabel``).
        logits: ``(n, k)``, finite.
        weights: ``(n,)`` weight of every case, such that each patient counts once; None: all 1.
        kind: ``single`` (softmax) or ``multilabel`` (a sigmoid per label, one T for all).

    Returns:
        T in (0.05, 20), above 1 where the probabilities were too extreme; None where the loss has
        no minimum in there (as when every case is right: it falls for ever as T falls).

    Raises:
        RecipeError: Shapes that do not fit, logits that are not finite, an unknown kind, or no
            case with a known label.
    """
    y, z = np.asarray(targets, "float64"), np.asarray(logits, "float64")
    if y.shape != z.shape or z.ndim != 2:
        raise RecipeError(f"targets {y.shape} and logits {z.shape} must both be (n, k)")
    if not np.isfinite(z).all():
        raise RecipeError("a logit is not finite; no temperature can be fitted")
    if kind not in ("single", "multilabel"):
        raise RecipeError(f"unknown kind {kind!r}; known: single, multilabel")
    if not np.isfinite(y).any():
        raise RecipeError("no case with a known label; no temperature can be fitted")
    w = np.ones(len(z)) if weights is None else np.asarray(weights, "float64")

    def slope(log_t: float) -> float:
        return _slope(y, z, w, math.exp(-log_t), kind)

    low, high = math.log(LOW), math.log(HIGH)
    # The derivative by 1/T rises with 1/T, so it falls as T rises: a minimum is a change of sign.
    if slope(low) <= 0 or slope(high) >= 0:
        return None
    from scipy.optimize import brentq

    return math.exp(float(brentq(slope, low, high, xtol=1e-12)))


def _slope(
    y: npt.NDArray[np.float64],
    z: npt.NDArray[np.float64],
    w: npt.NDArray[np.float64],
    beta: float,
    kind: str,
) -> float:
    """Derivative of the weighted log loss by beta = 1/T."""
    from recipes.engine.losses import probabilities

    p = probabilities(beta * z, task="single" if kind == "single" else "multilabel")
    gap = np.where(np.isfinite(y), p - np.nan_to_num(y), 0.0)
    return float((w[:, None] * gap * z).sum())
