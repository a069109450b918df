"""All figures of one question under many weightings of its cases."""

from __future__ import annotations

import numpy as np

from recipes.evaluation import calibration, metrics
from recipes.evaluation.metrics import Array
from recipes.evaluation.question import HALF, Question

Panel = dict[tuple[int, str], Array]
"""(column, metric) -> one figure per weighting; column -1 is the whole."""

WHOLE = -1

_RANKING = ("auc", "average_precision")
_DECISIONS = ("sensitivity", "specificity", "ppv", "npv", "f1")
_FITS = ("calibration_slope", "calibration_intercept", "calibration_in_the_large")
_ALWAYS = ("brier", "log_loss", "ece", "accuracy")


def figures(question: Question, weights: Array) -> Panel:
    """Every figure but the recalibration fits.

    Args:
        question: N cases, K classes.
        weights: Case weights, shape (B, N).

    Returns:
        Arrays of shape (B,), NaN where undefined.
    """
    if question.kind == "binary":
        return _binary(question, weights)
    panel = _multilabel(question, weights)
    if question.kind == "multiclass":
        panel = {key: value for key, value in panel.items() if key[1] != "accuracy"}
        panel.update(_multiclass_whole(question, panel, weights))
    return panel


def fits(question: Question, weights: Array) -> Panel:
    """The recalibration fits (slope, intercept, calibration in the large), which cost more."""
    if question.positive is not None:
        y, p = question.truth[:, question.positive], question.prob[:, question.positive]
        return {(WHOLE, name): value for name, value in _fit(y, p, weights).items()}
    panel: Panel = {}
    columns = question.both()
    for k in columns:
        known = question.known(k)
        one = _fit(question.truth[known, k], question.prob[known, k], weights[:, known])
        panel.update({(k, name): value for name, value in one.items()})
    for name in _FITS:
        panel[WHOLE, name] = _macro(panel, columns, name, len(weights))
    if question.kind == "multiclass":
        nothing = np.full(len(weights), np.nan)
        panel[WHOLE, "calibration_intercept"] = nothing
        panel[WHOLE, "calibration_in_the_large"] = nothing
    return panel


def _fit(y: Array, p: Array, weights: Array) -> dict[str, Array]:
    slope, intercept = calibration.recalibration(y, p, weights)
    large = calibration.calibration_in_the_large(y, p, weights)
    return dict(zip(_FITS, (slope, intercept, large), strict=True))


def _binary(question: Question, weights: Array) -> Panel:
    k = question.positive
    assert k is not None
    threshold = question.thresholds[k] if question.thresholds else None
    one = _column(question.truth[:, k], question.prob[:, k], weights, question, threshold)
    return {(WHOLE, name): value for name, value in one.items()}


def _column(
    y: Array,
    p: Array,
    weights: Array,
    question: Question,
    threshold: float | None,
    called: np.ndarray | None = None,
) -> dict[str, Array]:
    """Figures of one yes-or-no question, `called` saying what was answered (else p >= 0.5)."""
    out = dict(zip(_RANKING, metrics.ranking(y, p, weights), strict=True))
    answers = {"": p >= HALF if called is None else called}
    if threshold is not None:
        answers["_op"] = p >= threshold
    for suffix, answer in answers.items():
        got = metrics.rates(metrics.counts(y, answer, weights))
        out.update({name + suffix: value for name, value in got.items()})
        if question.prevalence is not None and question.kind == "binary":
            pair = metrics.at_prevalence(
                got["sensitivity"], got["specificity"], question.prevalence
            )
            for name, value in zip(("ppv", "npv"), pair, strict=True):
                out[f"{name}_at_prevalence{suffix}"] = value
    out["brier"] = metrics.weighted_mean(metrics.brier_terms(y, p), weights)
    p_true = np.where(y > HALF, p, 1 - p)
    out["log_loss"] = metrics.weighted_mean(metrics.log_loss_terms(p_true), weights)
    out["ece"] = calibration.expected_calibration_error(y, p, weights)
    return out


def _multilabel(question: Question, weights: Array) -> Panel:
    """Each column on its own, and macro averages."""
    panel: Panel = {}
    single = question.kind == "multiclass"
    called = question.called if single else None
    for k in range(len(question.class_names)):
        known = question.known(k)
        if not known.any():
            continue
        one = _column(
            question.truth[known, k],
            question.prob[known, k],
            weights[:, known],
            question,
            question.thresholds[k] if question.thresholds else None,
            called == k if called is not None else None,
        )
        panel.update({(k, name): value for name, value in one.items()})
    both = question.both()
    some = sorted({k for k, _ in panel})
    for name in {name for _, name in panel}:
        base = name.removesuffix("_op")
        columns = some if base in _ALWAYS else both
        panel[WHOLE, name] = _macro(panel, columns, name, len(weights))
    return panel


def _macro(panel: Panel, columns: list[int], name: str, rows: int) -> Array:
    """Mean over the columns; NaN as soon as one of them is undefined."""
    if not columns:
        return np.full(rows, np.nan)
    return np.asarray(np.mean([panel[k, name] for k in columns], axis=0))


def _multiclass_whole(question: Question, panel: Panel, weights: Array) -> Panel:
    """Figures that a multi-class question has as a whole."""
    y, prob = question.labels, question.prob
    right = (question.called == y).astype(np.float64)
    whole: Panel = {(WHOLE, "accuracy"): metrics.weighted_mean(right, weights)}
    present = question.both()
    recalls = [panel[k, "sensitivity"] for k in present]
    missing = np.full(len(weights), np.nan)
    whole[WHOLE, "balanced_accuracy"] = np.mean(recalls, axis=0) if recalls else missing
    if len(question.class_names) > 5:
        whole[WHOLE, "top5_accuracy"] = metrics.weighted_mean(metrics.top_k(y, prob, 5), weights)
    p_true = prob[np.arange(len(y)), y]
    whole[WHOLE, "log_loss"] = metrics.weighted_mean(metrics.log_loss_terms(p_true), weights)
    if len(question.class_names) == 2:
        truth, score = question.truth[:, 1], prob[:, 1]
        terms = metrics.brier_terms(truth, score)
    else:
        truth, score = right, prob.max(axis=1)
        terms = metrics.brier_terms(question.truth, prob)
    whole[WHOLE, "brier"] = metrics.weighted_mean(terms, weights)
    whole[WHOLE, "ece"] = calibration.expected_calibration_error(truth, score, weights)
    return whole
