"""Average precision of boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.evaluation.bootstrap import group_index, percentile_interval, resamples
from recipes.evaluation.froc.hits import box_iou
from recipes.evaluation.froc.matching import Candidates, Findings

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Detections:
    """Candidates from the highest score down, each true or false.

    Attributes:
        scan: Image of each, shape (N,).
        true: Whether it is the first to find its lesion.
        score: Its score.
        lesions: Lesions of every image, shape (n_scans,).
    """

    scan: npt.NDArray[np.int64]
    true: npt.NDArray[np.bool_]
    score: Array
    lesions: Array


def detections(
    n_scans: int, findings: Findings, candidates: Candidates, *, iou: float
) -> Detections:
    """Match boxes as COCO does: the highest score first, each to the lesion it overlaps most.

    A lesion that was found already is not found again: the candidate then takes the next one that
    it overlaps enough, or is false (Lin et al. 2014, arXiv:1405.0312, without crowds).

    Args:
        n_scans: Number of images.
        findings: Lesions with boxes.
        candidates: Candidates with boxes.
        iou: Least overlap.
    """
    assert findings.box is not None
    assert candidates.box is not None
    order = np.argsort(-candidates.score, kind="stable")
    true = np.zeros(len(order), bool)
    for scan in np.unique(findings.scan):
        mine = np.flatnonzero(findings.scan == scan)
        here = np.flatnonzero(candidates.scan[order] == scan)
        overlaps = box_iou(candidates.box[order[here]], findings.box[mine])
        free = np.ones(len(mine), bool)
        for place, row in zip(here, overlaps, strict=True):
            best = int(np.argmax(np.where(free, row, -1)))
            if free[best] and row[best] >= iou:
                free[best], true[place] = False, True
    return Detections(
        scan=candidates.scan[order],
        true=true,
        score=candidates.score[order],
        lesions=np.bincount(findings.scan, minlength=n_scans).astype(np.float64),
    )


def average_precision(
    found: Detections | Sequence[Detections],
    *,
    groups: list[object] | None = None,
    n_boot: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Any]:
    """Area under precision against recall, precision made falling (PASCAL VOC from 2010 on).

    Args:
        found: Matched candidates; of several classes in the same images, for the mean over those
            that have lesions (in the images, and in each resample of them).
        groups: Patient of each image; None: each is one.
        n_boot: Bootstrap resamples of patients, the same for all classes.
        seed: Seed.
        level: Coverage.

    Returns:
        {"value", "low", "high"}; None where there are no lesions.
    """
    every = [found] if isinstance(found, Detections) else list(found)
    n_scans = len(every[0].lesions)

    def means(weights: Array) -> Array:
        areas = np.stack([_areas(one, weights) for one in every])
        known = np.isfinite(areas)
        total = np.where(known, areas, 0.0).sum(axis=0)
        count = known.sum(axis=0)
        empty = np.full(len(total), np.nan)
        return np.asarray(np.divide(total, count, out=empty, where=count > 0))

    value = means(np.ones((1, n_scans)))[0]
    group_of, _ = group_index(groups, n_scans)
    curves = max(1, -(-4 * max(len(one.scan) for one in every) // n_scans))
    draws = [means(w) for w in resamples(group_of, n_boot, seed=seed, curves=curves)]
    low, high, _ = percentile_interval(np.concatenate([np.empty(0), *draws]), level)
    return {
        key: float(v) if np.isfinite(v) else None
        for key, v in (("value", value), ("low", low), ("high", high))
    }


def _areas(found: Detections, weights: Array) -> Array:
    """The area under weights of images, shape (b, n_scans)."""
    total = weights @ found.lesions
    if not len(found.scan):
        return np.where(total > 0, 0.0, np.nan)
    mine = weights[:, found.scan]
    true = np.cumsum(mine * found.true, axis=1)
    count = np.cumsum(mine, axis=1)
    ends = np.r_[found.score[1:] != found.score[:-1], True]
    true, count = true[:, ends], count[:, ends]
    precision = np.divide(true, count, out=np.zeros_like(true), where=count > 0)
    falling = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    gained = np.diff(true, axis=1, prepend=0)
    area = (falling * gained).sum(axis=1)
    return np.asarray(np.divide(area, total, out=np.full(len(total), np.nan), where=total > 0))
