"""What became of each lesion and candidate at the operating point, image by image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from recipes.detection.scoring import Scan, tables
from recipes.evaluation.froc.hits import HitRule, hit_matrix

Kind = Literal["hit", "miss", "false"]


@dataclass(frozen=True)
class Outcome:
    """A lesion that was found or missed, or a false positive.

    Attributes:
        kind: ``hit``, ``miss`` or ``false``.
        scan: Its image.
        label: Class.
        lesion: Number of the lesion; None for a false positive.
        candidate: Number of the candidate; of a missed lesion the best one below the threshold
            that would have hit, if any.
    """

    kind: Kind
    scan: Scan
    label: int
    lesion: int | None
    candidate: int | None

    @property
    def score(self) -> float:
        """Score of the candidate; 0 without one."""
        return 0.0 if self.candidate is None else float(self.scan.found.scores[self.candidate])


def outcomes(
    scans: Sequence[Scan], rule: HitRule, thresholds: Sequence[float | None]
) -> Iterator[Outcome]:
    """Outcomes of all images.

    Args:
        scans: Images with truth and candidates.
        rule: When a candidate hits.
        thresholds: Operating point of each class; None keeps no candidate.
    """
    for scan in scans:
        for label, threshold in enumerate(thresholds):
            lesions = np.flatnonzero(scan.lesions.labels == label)
            marks = np.flatnonzero(scan.found.labels == label)
            if len(lesions) or len(marks):
                yield from _of_class(scan, label, lesions, marks, rule, threshold)


def _of_class(
    scan: Scan,
    label: int,
    lesions: npt.NDArray[np.int64],
    marks: npt.NDArray[np.int64],
    rule: HitRule,
    threshold: float | None,
) -> Iterator[Outcome]:
    findings, candidates = tables([scan], label)
    hits = hit_matrix(
        rule,
        findings.centre,
        candidates.centre,
        radii=findings.radius,
        boxes=findings.box,
        candidate_boxes=candidates.box,
    )
    above = candidates.score >= (np.inf if threshold is None else threshold)
    for row, lesion in enumerate(lesions):
        mine = np.flatnonzero(hits[row])  # candidates come with the highest score first
        best = int(marks[mine[0]]) if len(mine) else None
        kind: Kind = "hit" if (hits[row] & above).any() else "miss"
        yield Outcome(kind, scan, label, int(lesion), best)
    for column in np.flatnonzero(above & ~hits.any(axis=0)):
        yield Outcome("false", scan, label, None, int(marks[column]))
