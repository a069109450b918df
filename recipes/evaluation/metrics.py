"""Weighted metrics of probabilities, many weightings at once.

Every function takes `weights` of shape (B, N): row b is one weighting of the N cases, for example
how often a bootstrap resample drew each of them, and returns one figure per row, shape (B,). A row
of ones gives the plain figure. Where a figure is undefined (no positive case, nothing called
positive) the answer is NaN, never 0.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

RATES = ("sensitivity", "specificity", "ppv", "npv", "f1", "accuracy", "balanced_accuracy")


def ratio(numerator: Array, denominator: Array) -> Array:
    """Divide, giving NaN where the denominator is not positive."""
    out = np.full(np.broadcast_shapes(np.shape(numerator), np.shape(denominator)), np.nan)
    np.divide(numerator, denominator, out=out, where=np.asarray(denominator) > 0)
    return out


def ranking(y: Array, score: Array, weights: Array) -> tuple[Array, Array]:
    """Area under the ROC curve and average precision, equal scores handled exactly.

    The area is the weighted Mann-Whitney statistic: the share of (positive, negative) pairs in
    which the positive case has the higher score, ties counting one half. Average precision is
    the sum over distinct scores of precision times the step in recall, without interpolation;
    cases of equal score enter in one step.

    Args:
        y: Truth, 0 or 1, shape (N,).
        score: Any monotone score, shape (N,).
        weights: Non-negative case weights, shape (B, N).

    Returns:
        Two arrays of shape (B,); NaN where a class has no weight.
    """
    order = np.argsort(score, kind="stable")
    ranked = score[order]
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    drawn = weights[:, order]
    positive = np.add.reduceat(drawn * y[order], starts, axis=1)
    negative = np.add.reduceat(drawn, starts, axis=1) - positive
    n_pos, n_neg = positive.sum(axis=1), negative.sum(axis=1)
    below = np.cumsum(negative, axis=1) - negative
    auc = ratio((positive * (below + 0.5 * negative)).sum(axis=1), n_pos * n_neg)
    hits = np.cumsum(positive[:, ::-1], axis=1)
    called = hits + np.cumsum(negative[:, ::-1], axis=1)
    precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
    average_precision = ratio((positive[:, ::-1] * precision).sum(axis=1), n_pos)
    return auc, average_precision


def counts(y: Array, called: npt.NDArray[np.bool_], weights: Array) -> Array:
    """Weighted true positives, false positives, false negatives, true negatives: (4, B)."""
    truth = np.asarray(y) > 0.5
    cells = np.stack([truth & called, ~truth & called, truth & ~called, ~truth & ~called])
    return np.asarray(cells.astype(np.float64) @ weights.T)


def rates(cells: Array) -> dict[str, Array]:
    """Sensitivity, specificity, PPV, NPV, F1, accuracy and balanced accuracy from `counts`.

    F1 is undefined, like sensitivity, where there is no positive case; balanced accuracy (the
    mean of sensitivity and specificity) where either class is missing.

    Args:
        cells: True positives, false positives, false negatives, true negatives, shape (4, B).

    Returns:
        Name -> array of shape (B,), NaN where undefined.
    """
    tp, fp, fn, tn = cells
    sensitivity, specificity = ratio(tp, tp + fn), ratio(tn, tn + fp)
    return {
        "sensitivity": sensitivity,
        "specificity": specificity,
        "ppv": ratio(tp, tp + fp),
        "npv": ratio(tn, tn + fn),
        "f1": np.where(tp + fn > 0, ratio(2 * tp, 2 * tp + fp + fn), np.nan),
        "accuracy": ratio(tp + tn, tp + fp + fn + tn),
        "balanced_accuracy": (sensitivity + specificity) / 2,
    }


def at_prevalence(sensitivity: Array, specificity: Array, prevalence: float) -> tuple[Array, Array]:
    """Predictive values at a stated prevalence, by Bayes' rule.

    Args:
        sensitivity: Shape (B,).
        specificity: Shape (B,).
        prevalence: Share of positive cases where the model is to be used, between 0 and 1.

    Returns:
        Positive and negative predictive value, each of shape (B,); NaN where undefined.
    """
    hit, alarm = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    clear, miss = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
    return ratio(hit, hit + alarm), ratio(clear, clear + miss)


def weighted_mean(values: Array, weights: Array) -> Array:
    """Mean of (N,) values under each weighting, shape (B,); NaN where nothing has weight."""
    return ratio(weights @ np.asarray(values, dtype=np.float64), weights.sum(axis=1))


def brier_terms(truth: Array, prob: Array) -> Array:
    """Squared error of each case, shape (N,).

    For a two-class question given as (N,) arrays: (p - y)^2, between 0 and 1. For (N, K) one-hot
    truth: the sum over the classes, Brier's own definition, between 0 and 2 (so a two-class
    problem in this form scores twice the first).
    """
    error = np.square(prob - truth)
    return np.asarray(error if error.ndim == 1 else error.sum(axis=1))


def log_loss_terms(p_true: Array) -> Array:
    """Minus the natural logarithm of the probability given to the truth, clipped at 2.2e-16."""
    floor = np.finfo(np.float64).eps
    return np.asarray(-np.log(np.clip(p_true, floor, 1.0)))


def top_k(y: npt.NDArray[np.int64], prob: Array, k: int) -> Array:
    """Whether the true class is among the k most probable; equal ones go by class order."""
    best = np.argsort(-prob, axis=1, kind="stable")[:, :k]
    return np.asarray((best == y[:, None]).any(axis=1).astype(np.float64))


def confusion_counts(
    y: npt.NDArray[np.int64], called: npt.NDArray[np.int64], classes: int
) -> npt.NDArray[np.int64]:
    """Confusion matrix of shape (K, K): rows are the truth, columns the answer."""
    flat = np.bincount(y * classes + called, minlength=classes * classes)
    return flat.reshape(classes, classes).astype(np.int64)


def roc_points(y: Array, score: Array) -> tuple[Array, Array, Array]:
    """False positive rate, true positive rate and threshold (call when score >= threshold).

    The thresholds fall from infinity (nothing called) through every distinct score. NaN rates
    where a class is missing.
    """
    thresholds, tp, fp = _steps(y, score)
    return ratio(fp, fp[-1:]), ratio(tp, tp[-1:]), thresholds


def pr_points(y: Array, score: Array) -> tuple[Array, Array, Array]:
    """Recall, precision and threshold at every distinct score, from the highest down."""
    thresholds, tp, fp = _steps(y, score)
    return ratio(tp, tp[-1:])[1:], ratio(tp, tp + fp)[1:], thresholds[1:]


def _steps(y: Array, score: Array) -> tuple[Array, Array, Array]:
    order = np.argsort(-score, kind="stable")
    ranked, truth = score[order], y[order]
    ends = np.flatnonzero(np.concatenate([ranked[1:] != ranked[:-1], [True]]))
    tp = np.concatenate([[0.0], np.cumsum(truth)[ends]])
    fp = np.concatenate([[0.0], np.cumsum(1.0 - truth)[ends]])
    return np.concatenate([[np.inf], ranked[ends]]), tp, fp
