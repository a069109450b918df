"""Figures of a free-response evaluation, each with its interval over patients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.errors import RecipeError
from recipes.evaluation.bootstrap import group_index, percentile_interval, resamples
from recipes.evaluation.froc.curve import RATES, draw_sensitivities, froc_curve, sensitivity_at
from recipes.evaluation.froc.matching import Marks

Array = npt.NDArray[np.float64]


def summarise_froc(
    marks: Marks,
    *,
    rates: Sequence[float] = RATES,
    n_boot: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Any]:
    """Sensitivities at rates of false positives, their mean, JAFROC and ROC areas.

    Args:
        marks: Marks of all images, those without lesions among them.
        rates: False positives per image.
        n_boot: Bootstrap resamples of patients; 0 for none.
        seed: Seed of the resamples.
        level: Coverage of the intervals.

    Returns:
        JSON-able dict. "froc": rate (``"0.125"`` ... ``"8"``) -> {"value", "low", "high"}; "cpm",
        their mean (the competition performance metric of LUNA16); "jafroc": chance that a lesion's
        score is above the highest false positive of an image without lesions (JAFROC area with
        equal weights, normals alone; Chakraborty 2006, doi:10.1088/0031-9155/51/14/012; ties and
        nothing against nothing count half); "roc": area under the ROC curve of images by their
        highest score (the inferred ROC); "max_sensitivity" at the lowest score; null where
        undefined. Counts: "n_scans", "n_normal", "n_patients", "n_lesions", "n_hits",
        "n_false_positives", "n_ignored".

    Raises:
        RecipeError: No images, or a setting out of range.
    """
    if marks.n_scans < 1:
        raise RecipeError("no image was looked at, so there is no rate of false positives")
    if not 0 < level < 1 or n_boot < 0 or min(rates, default=0) <= 0:
        raise RecipeError(
            f"level={level!r}, n_boot={n_boot!r}, rates={list(rates)}: wanted a share between 0 "
            "and 1, 0 or more, and rates above 0"
        )
    at = np.asarray(rates, np.float64)
    curve = froc_curve(marks)
    values = sensitivity_at(curve, at)
    draws = draw_sensitivities(marks, at, n_boot=n_boot, seed=seed)
    group_of, _ = group_index(list(marks.groups) or None, marks.n_scans)

    def figure(value: float, replicates: Array) -> dict[str, float | None]:
        low, high, _ = percentile_interval(replicates, level)
        return {"value": _number(value), "low": _number(low), "high": _number(high)}

    areas = {
        name: figure(*_area(make(marks), group_of, n_boot, seed))
        for name, make in (("jafroc", _jafroc_sides), ("roc", _roc_sides))
    }
    normal = np.bincount(marks.lesion_scan, minlength=marks.n_scans) == 0
    return {
        "froc": {
            f"{rate:g}": figure(values[k], draws[:, k]) for k, rate in enumerate(rates)
        },
        "cpm": figure(float(values.mean()), draws.mean(axis=1)),
        **areas,
        "max_sensitivity": _number(float(curve.sensitivity[-1])),
        "n_scans": marks.n_scans,
        "n_normal": int(normal.sum()),
        "n_patients": int(group_of.max()) + 1,
        "n_lesions": len(marks.lesion_scan),
        "n_hits": marks.hits,
        "n_false_positives": len(marks.false_scan),
        "n_ignored": marks.ignored,
    }  # fmt: skip


Sides = tuple[Array, npt.NDArray[np.int64], Array, npt.NDArray[np.int64]]
"""Scores that should be high and their images, scores that should be low and theirs."""


def _highest(scan: npt.NDArray[np.int64], score: Array, n_scans: int) -> Array:
    best = np.full(n_scans, -np.inf)
    np.maximum.at(best, scan, score)
    return best


def _jafroc_sides(marks: Marks) -> Sides:
    normal = np.flatnonzero(np.bincount(marks.lesion_scan, minlength=marks.n_scans) == 0)
    false = _highest(marks.false_scan, marks.false_score, marks.n_scans)
    return marks.lesion_score, marks.lesion_scan, false[normal], normal


def _roc_sides(marks: Marks) -> Sides:
    best = np.maximum(
        _highest(marks.false_scan, marks.false_score, marks.n_scans),
        _highest(marks.lesion_scan, marks.lesion_score, marks.n_scans),
    )
    normal = np.bincount(marks.lesion_scan, minlength=marks.n_scans) == 0
    ill, well = np.flatnonzero(~normal), np.flatnonzero(normal)
    return best[ill], ill, best[well], well


def _area(
    sides: Sides, group_of: npt.NDArray[np.int64], n_boot: int, seed: int
) -> tuple[float, Array]:
    """Chance that a high score is above a low one, and the same of resamples."""
    high, high_scan, low, low_scan = sides
    undefined = np.full(n_boot, np.nan)
    if not len(high) or not len(low):
        return float("nan"), undefined
    order = np.sort(low)
    below = np.searchsorted(order, high, side="left") + np.searchsorted(order, high, side="right")
    value = float(below.mean() / (2 * len(low)))
    rank = np.argsort(low, kind="stable")
    low, low_scan = low[rank], low_scan[rank]
    drawn = resamples(group_of, n_boot, seed=seed, curves=3)
    draws = [_weighted(weights, high, high_scan, low, low_scan) for weights in drawn]
    return value, np.concatenate([undefined[:0], *draws])


def _weighted(
    weights: Array,
    high: Array,
    high_scan: npt.NDArray[np.int64],
    low: Array,
    low_scan: npt.NDArray[np.int64],
) -> Array:
    """The chance under weights of images, shape (b, scans); `low` is sorted."""
    sums = np.cumsum(weights[:, low_scan], axis=1)
    sums = np.concatenate([np.zeros((len(weights), 1)), sums], axis=1)
    under = sums[:, np.searchsorted(low, high, side="left")]
    upto = sums[:, np.searchsorted(low, high, side="right")]
    mine = weights[:, high_scan]
    total = mine.sum(axis=1) * sums[:, -1]
    area = (mine * (under + upto)).sum(axis=1) / 2
    return np.asarray(np.divide(area, total, out=np.full(len(total), np.nan), where=total > 0))


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
