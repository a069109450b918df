"""Free-response curves: sensitivity against false positives per image, and intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recipes.evaluation.bootstrap import group_index, resamples
from recipes.evaluation.froc.matching import Marks

Array = npt.NDArray[np.float64]

RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False positives per image at which sensitivities are averaged (CPM, LUNA16)."""


@dataclass(frozen=True)
class Curve:
    """An operating point for every distinct score, and the origin before them.

    Attributes:
        rate: False positives per image, rising, shape (P,).
        sensitivity: Share of lesions found, rising, shape (P,); NaN without lesions.
        threshold: Candidates of at least this score are kept; inf at the origin.
    """

    rate: Array
    sensitivity: Array
    threshold: Array


class _Ordered:
    """Marks of either kind from the highest score down, and how many there are to each score."""

    def __init__(self, marks: Marks) -> None:
        found = np.isfinite(marks.lesion_score)
        score = np.concatenate([marks.lesion_score[found], marks.false_score])
        scan = np.concatenate([marks.lesion_scan[found], marks.false_scan])
        true = np.arange(len(score)) < found.sum()
        order = np.argsort(-score, kind="stable")
        score, scan, true = score[order], scan[order], true[order]
        ends = np.flatnonzero(np.r_[score[1:] != score[:-1], len(score) > 0])
        self.threshold = np.r_[np.inf, score[ends]]
        self.true_scan, self.false_scan = scan[true], scan[~true]
        self.n_true = np.r_[0, np.cumsum(true)[ends]]
        self.n_false = np.r_[0, np.cumsum(~true)[ends]]


def froc_curve(marks: Marks) -> Curve:
    """The curve of all images.

    Marks of one score come in together, so between two scores the curve is a straight line.
    """
    ordered = _Ordered(marks)
    lesions, points = len(marks.lesion_scan), len(ordered.threshold)
    return Curve(
        rate=ordered.n_false / marks.n_scans,
        sensitivity=ordered.n_true / lesions if lesions else np.full(points, np.nan),
        threshold=ordered.threshold,
    )


def sensitivity_at(curve: Curve, rates: Array) -> Array:
    """Sensitivities at rates of false positives, linear in between; beyond the last mark its own.

    Where the curve rises straight up at a rate, the upper end counts.

    Args:
        curve: The curve.
        rates: False positives per image, shape (R,).
    """
    ends = _beside(np.searchsorted(curve.rate, rates, side="right"), len(curve.rate))
    return _line(curve.rate[ends], curve.sensitivity[ends], rates)


def _beside(upper: npt.NDArray[np.int64], points: int) -> npt.NDArray[np.int64]:
    """Numbers of the points before and after, shape (2, R); beyond the last both are the last."""
    return np.stack([np.maximum(upper - 1, 0), np.minimum(upper, points - 1)])


def _line(x: Array, y: Array, at: Array) -> Array:
    """Straight lines between two points each, shape (2, R)."""
    span = x[1] - x[0]
    part = np.divide(at - x[0], span, out=np.zeros(len(at)), where=span > 0)
    return np.asarray(y[0] + part * (y[1] - y[0]))


def draw_sensitivities(marks: Marks, rates: Array, *, n_boot: int, seed: int) -> Array:
    """Sensitivities of bootstrap resamples of patients.

    All images of a drawn patient come with it, as often as it is drawn; what counts is the number
    of images, lesions and marks in the resample.

    Args:
        marks: Marks with their patients.
        rates: False positives per image, shape (R,).
        n_boot: Resamples.
        seed: Seed; the same seed draws the same patients for another detector.

    Returns:
        Shape (n_boot, R); NaN where a resample has no lesion.
    """
    group_of, _ = group_index(list(marks.groups) or None, marks.n_scans)
    ordered = _Ordered(marks)
    lesions = np.bincount(marks.lesion_scan, minlength=marks.n_scans).astype(np.float64)
    found = np.full((n_boot, len(rates)), np.nan)
    row = 0
    curves = max(1, -(-2 * len(ordered.false_scan) // marks.n_scans))
    for weights in resamples(group_of, n_boot, seed=seed, curves=curves):
        true, false = (_sums(weights, one) for one in (ordered.true_scan, ordered.false_scan))
        scans, total = weights.sum(axis=1), weights @ lesions
        for k in np.flatnonzero(total > 0):
            found[row + k] = _resampled(ordered, true[k] / total[k], false[k] / scans[k], rates)
        row += len(weights)
    return found


def _sums(weights: Array, scan: npt.NDArray[np.int64]) -> Array:
    """Running sums of the weights of marks, from 0, shape (b, marks + 1)."""
    sums = np.zeros((len(weights), len(scan) + 1))
    np.cumsum(weights[:, scan], axis=1, out=sums[:, 1:])
    return sums


def _resampled(ordered: _Ordered, true: Array, false: Array, rates: Array) -> Array:
    """Sensitivities of one resample; only the points beside the rates are made."""
    beyond = np.searchsorted(false, rates, side="right")
    upper = np.searchsorted(ordered.n_false, beyond, side="left")
    ends = _beside(upper, len(ordered.n_false))
    return _line(false[ordered.n_false[ends]], true[ordered.n_true[ends]], rates)
