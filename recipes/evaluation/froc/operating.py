"""Figures at one threshold, chosen on other images."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.evaluation.bootstrap import group_index, percentile_interval, resamples
from recipes.evaluation.froc.curve import froc_curve
from recipes.evaluation.froc.matching import Marks

Array = npt.NDArray[np.float64]


def threshold_at(marks: Marks, rate: float) -> float | None:
    """The lowest score at which there are at most `rate` false positives per image.

    Args:
        marks: Marks of the images that choose (validation).
        rate: False positives per image.

    Returns:
        Candidates of at least this score are kept; None where no candidate may be kept.
    """
    curve = froc_curve(marks)
    last = int(np.flatnonzero(curve.rate <= rate + 1e-12)[-1])
    threshold = float(curve.threshold[last])
    return threshold if np.isfinite(threshold) else None


def at_threshold(
    marks: Marks,
    threshold: float,
    *,
    n_boot: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Any]:
    """Lesion sensitivity, positive predictive value, F score and false positives per image.

    A lesion that several candidates hit counts once: the positive predictive value is found
    lesions over found lesions and false positives, F its harmonic mean with the sensitivity.

    Args:
        marks: Marks of the images that are scored.
        threshold: Candidates of at least this score are kept.
        n_boot: Bootstrap resamples of patients.
        seed: Seed.
        level: Coverage.

    Returns:
        "sensitivity", "ppv", "f1", "false_positives": {"value", "low", "high"}, None where
        undefined.
    """
    found = marks.lesion_score >= threshold
    false = marks.false_score >= threshold
    counts = np.stack([
        np.bincount(marks.lesion_scan[found], minlength=marks.n_scans),
        np.bincount(marks.lesion_scan, minlength=marks.n_scans),
        np.bincount(marks.false_scan[false], minlength=marks.n_scans),
        np.ones(marks.n_scans),
    ], axis=1).astype(np.float64)  # fmt: skip
    group_of, _ = group_index(list(marks.groups) or None, marks.n_scans)
    values = _figures(counts.sum(axis=0)[None])[0]
    parts = [
        _figures(weights @ counts) for weights in resamples(group_of, n_boot, seed=seed, curves=1)
    ]
    draws = np.concatenate([np.empty((0, len(values))), *parts])
    result = {}
    for k, name in enumerate(("sensitivity", "ppv", "f1", "false_positives")):
        low, high, _ = percentile_interval(draws[:, k], level)
        result[name] = {
            key: float(v) if np.isfinite(v) else None
            for key, v in (("value", values[k]), ("low", low), ("high", high))
        }
    return result


def _figures(counts: Array) -> Array:
    """Sensitivity, positive predictive value, F and rate from sums, shape (b, 4)."""
    true, lesions, false, images = counts.T
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack([
            true / lesions, true / (true + false), 2 * true / (lesions + true + false),
            false / images,
        ], axis=1)  # fmt: skip
