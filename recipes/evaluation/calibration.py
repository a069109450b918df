"""Do the probabilities mean what they say: recalibration fits, calibration error, bins.

Like `metrics`, the functions take weights of shape (B, N) and return figures of shape (B,).
"""

from __future__ import annotations

import numpy as np

from recipes.evaluation.metrics import Array, ratio

BINS = 15
"""Equal-width bins of the calibration error and of the reliability diagram."""

_CLIP = 1e-7
_STEPS = 50
_TOLERANCE = 1e-9
_WATCHED = 0.5


def logit(p: Array) -> Array:
    """Log-odds, the probabilities clipped to [1e-7, 1 - 1e-7]."""
    clipped = np.clip(np.asarray(p, dtype=np.float64), _CLIP, 1 - _CLIP)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))


def recalibration(y: Array, p: Array, weights: Array) -> tuple[Array, Array]:
    """Slope and intercept of the logistic regression of the truth on the logit of `p`.

    Cox's recalibration model, logit P(y = 1) = intercept + slope * logit(p), by maximum
    likelihood (Newton's method, all weightings at once). Perfectly calibrated: slope 1 and
    intercept 0; a slope below 1 means that the probabilities are too extreme.

    Args:
        y: Truth, 0 or 1, shape (N,).
        p: Probabilities, shape (N,).
        weights: Non-negative case weights, shape (B, N).

    Returns:
        Slope and intercept, each of shape (B,). NaN where the fit does not exist: one class
        only, all probabilities equal, or classes that a threshold separates perfectly (the
        slope would be infinite).
    """
    x = logit(p)
    slope, intercept = np.full(len(weights), np.nan), np.full(len(weights), np.nan)
    rows = np.flatnonzero(_overlapping(y, x, weights))
    if len(rows) == 0:
        return slope, intercept
    centre, scale = float(np.mean(x)), float(np.std(x)) or 1.0
    z = (x - centre) / scale
    start, _ = _newton(y, z, weights[rows].mean(axis=0, keepdims=True), np.zeros(2))
    beta, done = _newton(y, z, weights[rows], start[0])
    slope[rows] = np.where(done, beta[:, 1] / scale, np.nan)
    intercept[rows] = np.where(done, beta[:, 0] - beta[:, 1] * centre / scale, np.nan)
    return slope, intercept


def calibration_in_the_large(y: Array, p: Array, weights: Array) -> Array:
    """Intercept of the recalibration model with the slope held at 1.

    The shift of the log-odds that makes the mean probability equal the observed share; 0 is
    perfect, above 0 the probabilities are too low on the whole.

    Returns:
        Shape (B,); NaN where only one class has weight.
    """
    x = logit(p)
    total, events = weights.sum(axis=1), weights @ y
    ok = (events > 0) & (events < total)
    shift = np.zeros(len(weights))
    for _ in range(_STEPS):
        mu = _sigmoid(x[None, :] + shift[:, None])
        slack = events - (weights * mu).sum(axis=1)
        spread = (weights * mu * (1 - mu)).sum(axis=1)
        step = np.clip(np.divide(slack, spread, out=np.zeros_like(slack), where=spread > 0), -2, 2)
        shift += np.where(ok, step, 0.0)
        if float(np.max(np.abs(step[ok]), initial=0.0)) < _TOLERANCE:
            break
    return np.where(ok, shift, np.nan)


def expected_calibration_error(y: Array, p: Array, weights: Array, *, bins: int = BINS) -> Array:
    """Mean gap between probability and observed share over equal-width bins.

    Bins are [0, 1/bins), [1/bins, 2/bins), ..., the last one closed; each counts with its share
    of the cases; empty bins count nothing. It cannot be negative, so small samples push it up
    even when the model is perfectly calibrated.

    Args:
        y: Truth, 0 or 1 (for a multi-class model: whether its first choice was right), (N,).
        p: Probability of it, (N,).
        weights: Shape (B, N).
        bins: Number of bins.

    Returns:
        Shape (B,); NaN where nothing has weight.
    """
    gaps = np.zeros((len(p), bins))
    gaps[np.arange(len(p)), bin_of(p, bins)] = p - y
    return ratio(np.abs(weights @ gaps).sum(axis=1), weights.sum(axis=1))


def bin_of(p: Array, bins: int) -> np.ndarray:
    """Index of each probability's equal-width bin, shape (N,)."""
    return np.clip((np.asarray(p) * bins).astype(np.int64), 0, bins - 1)


def reliability_bins(y: Array, p: Array, *, bins: int = BINS) -> list[dict[str, float]]:
    """Filled bins of the reliability diagram, lowest first.

    Returns:
        One dict per non-empty bin: `low`, `high` (edges), `n`, `predicted` (mean probability),
        `observed` (share of truth 1).
    """
    where = bin_of(p, bins)
    filled = []
    for b in np.unique(where):
        inside = where == b
        filled.append(
            {
                "low": float(b / bins),
                "high": float((b + 1) / bins),
                "n": int(inside.sum()),
                "predicted": float(p[inside].mean()),
                "observed": float(y[inside].mean()),
            }
        )
    return filled


def _sigmoid(x: Array) -> Array:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))


def _overlapping(y: Array, x: Array, weights: Array) -> np.ndarray:
    """Weightings with both classes and no threshold that separates them: the fit exists."""
    drawn, truth = weights > 0, y > 0.5
    top_pos = np.where(drawn & truth, x, -np.inf).max(axis=1)
    low_pos = np.where(drawn & truth, x, np.inf).min(axis=1)
    top_neg = np.where(drawn & ~truth, x, -np.inf).max(axis=1)
    low_neg = np.where(drawn & ~truth, x, np.inf).min(axis=1)
    return np.asarray((top_neg > low_pos) & (top_pos > low_neg))


def _newton(y: Array, x: Array, weights: Array, start: Array) -> tuple[Array, np.ndarray]:
    """Fit intercept and slope for every weighting; also says which fits converged.

    Small Newton steps go uphill by themselves; only large ones have to be watched.
    """
    beta = np.repeat(start[None], len(weights), axis=0)
    active = np.arange(len(weights))
    done = np.zeros(len(weights), dtype=bool)
    for _ in range(_STEPS):
        w = weights[active]
        mu = _sigmoid(beta[active, :1] + beta[active, 1:] * x)
        slack = w * (y - mu)
        curve = w * mu * (1 - mu)
        g0, g1 = slack.sum(axis=1), slack @ x
        h00, h01, h11 = curve.sum(axis=1), curve @ x, curve @ (x * x)
        det = h00 * h11 - h01 * h01
        solvable = det > 1e-300
        safe = np.where(solvable, det, 1.0)
        step = np.stack([h11 * g0 - h01 * g1, h00 * g1 - h01 * g0], axis=1) / safe[:, None]
        step[~solvable] = 0.0
        large = np.abs(step).max(axis=1) > _WATCHED
        if large.any():
            step[large] = _backtrack(y, x, w[large], beta[active[large]], step[large])
        beta[active] += step
        small = np.abs(step).max(axis=1) < _TOLERANCE * (1 + np.abs(beta[active]).max(axis=1))
        done[active[small & solvable]] = True
        active = active[~small & solvable]
        if len(active) == 0:
            break
    return beta, done


def _log_likelihood(y: Array, x: Array, weights: Array, beta: Array) -> Array:
    eta = beta[:, :1] + beta[:, 1:] * x
    return np.asarray((weights * (y * eta - np.logaddexp(0.0, eta))).sum(axis=1))


def _backtrack(y: Array, x: Array, weights: Array, beta: Array, step: Array) -> Array:
    """Halve the steps that make the likelihood worse."""
    before = _log_likelihood(y, x, weights, beta)
    step = step.copy()
    for _ in range(40):
        after = _log_likelihood(y, x, weights, beta + step)
        worse = after < before - 1e-10 * (1 + np.abs(before))
        if not worse.any():
            break
        step[worse] *= 0.5
    return step
