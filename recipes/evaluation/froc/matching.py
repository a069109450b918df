"""From findings and candidates to marks: detected lesions and false positives, image by image."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from recipes.errors import RecipeError
from recipes.evaluation.bootstrap import group_index
from recipes.evaluation.froc.hits import HitRule, hit_matrix

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Lesions of many images.

    Attributes:
        scan: Number of the image of each, shape (L,).
        centre: Centres in mm or pixels, shape (L, D).
        radius: Radii, shape (L,); None where boxes count.
        box: Lowest corner then highest, shape (L, 2 D); None where radii count.
    """

    scan: Ints
    centre: Array
    radius: Array | None = None
    box: Array | None = None


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Marks of a detector in many images.

    Attributes:
        scan: Number of the image of each, shape (N,).
        centre: Centres, shape (N, D).
        score: The higher, the more suspicious; finite, shape (N,).
        box: Lowest corner then highest, shape (N, 2 D), where known.
    """

    scan: Ints
    centre: Array
    score: Array
    box: Array | None = None

    def __post_init__(self) -> None:
        """Check the scores.

        Raises:
            RecipeError: A score that is not finite.
        """
        bad = np.flatnonzero(~np.isfinite(self.score))
        if len(bad):
            raise RecipeError(f"candidate {bad[0]} has the score {self.score[bad[0]]}: not finite")

    def capped(self, most: int | None) -> Candidates:
        """The highest `most` of each image; of equal scores the earlier ones."""
        if most is None:
            return self
        if most < 1:
            raise RecipeError(f"max_candidates={most}: wanted 1 or more")
        order = np.lexsort((np.arange(len(self.score)), -self.score, self.scan))
        scans = self.scan[order]
        starts = np.flatnonzero(np.r_[True, scans[1:] != scans[:-1]]) if len(scans) else scans
        rank = np.arange(len(scans)) - np.repeat(starts, np.diff(np.r_[starts, len(scans)]))
        return self.only(np.sort(order[rank < most]))

    def only(self, rows: Ints) -> Candidates:
        """Those at these positions."""
        box = None if self.box is None else self.box[rows]
        return Candidates(
            scan=self.scan[rows], centre=self.centre[rows], score=self.score[rows], box=box
        )


@dataclass(frozen=True)
class Marks:
    """What a free-response curve is made of.

    Attributes:
        n_scans: Images looked at, those without a candidate or lesion among them.
        lesion_scan: Image of each lesion, shape (L,).
        lesion_score: Highest score among the candidates that hit it, -inf where none does.
        false_scan: Image of each false positive, shape (F,).
        false_score: Its score.
        hits: Candidates that hit a lesion.
        ignored: Candidates that hit none but an excluded finding: neither true nor false.
        groups: Patient of each image, for intervals; empty: each image is one.
    """

    n_scans: int
    lesion_scan: Ints
    lesion_score: Array
    false_scan: Ints
    false_score: Array
    hits: int
    ignored: int
    groups: Sequence[object] = field(default=())


def per_patient(marks: Marks) -> Marks:
    """The same marks counted per patient: all images of one are one."""
    number, _ = group_index(list(marks.groups) or None, marks.n_scans)
    return replace(
        marks,
        n_scans=int(number.max()) + 1 if len(number) else 0,
        lesion_scan=number[marks.lesion_scan],
        false_scan=number[marks.false_scan],
        groups=(),
    )


def match(
    n_scans: int,
    findings: Findings,
    candidates: Candidates,
    rule: HitRule,
    *,
    excluded: Findings | None = None,
    groups: Sequence[object] = (),
) -> Marks:
    """Match candidates to lesions by the rules of LUNA16.

    A lesion has the score of its best candidate, however many hit it, and one candidate may hit
    two lesions. Candidates that hit no lesion but an excluded finding count neither way; lesions
    come before excluded findings. All others are false positives. (Setio et al. 2017,
    doi:10.1016/j.media.2017.06.015, and the challenge's evaluation script.)

    Args:
        n_scans: Number of images; scan numbers are below it.
        findings: Lesions that count.
        candidates: The detector's marks.
        rule: When a candidate hits.
        excluded: Findings that do not count.
        groups: Patient of each image.

    Raises:
        RecipeError: Numbers of images or patients that do not fit, or a rule without its figures.
    """
    for what, scans in (("finding", findings.scan), ("candidate", candidates.scan)):
        if len(scans) and not 0 <= scans.min() <= scans.max() < n_scans:
            raise RecipeError(f"a {what} is in an image beyond the {n_scans} that were looked at")
    if groups and len(groups) != n_scans:
        raise RecipeError(f"{len(groups)} patients for {n_scans} images")
    best = np.full(len(findings.scan), -np.inf)
    hit = np.zeros(len(candidates.scan), bool)
    spared = np.zeros(len(candidates.scan), bool)
    rows = _by_scan(candidates.scan, n_scans)
    for scan, mine in _occupied(findings.scan):
        here = rows[scan]
        table = _table(rule, findings, mine, candidates, here)
        if table.size:
            best[mine] = np.where(table, candidates.score[here], -np.inf).max(axis=1)
            hit[here] = table.any(axis=0)
    if excluded is not None:
        for scan, mine in _occupied(excluded.scan):
            if 0 <= scan < n_scans:
                here = rows[scan]
                spared[here] |= _table(rule, excluded, mine, candidates, here).any(axis=0)
    spared &= ~hit
    false = ~hit & ~spared
    return Marks(
        n_scans=n_scans,
        lesion_scan=findings.scan,
        lesion_score=best,
        false_scan=candidates.scan[false],
        false_score=candidates.score[false],
        hits=int(hit.sum()),
        ignored=int(spared.sum()),
        groups=tuple(groups),
    )


def _table(
    rule: HitRule, findings: Findings, mine: Ints, candidates: Candidates, here: Ints
) -> npt.NDArray[np.bool_]:
    return hit_matrix(
        rule,
        findings.centre[mine],
        candidates.centre[here],
        radii=None if findings.radius is None else findings.radius[mine],
        boxes=None if findings.box is None else findings.box[mine],
        candidate_boxes=None if candidates.box is None else candidates.box[here],
    )


def _by_scan(scans: Ints, n_scans: int) -> list[Ints]:
    """Positions of each image's rows."""
    order = np.argsort(scans, kind="stable")
    ends = np.searchsorted(scans[order], np.arange(n_scans + 1))
    return [order[a:b] for a, b in itertools.pairwise(ends)]


def _occupied(scans: Ints) -> list[tuple[int, Ints]]:
    """Images that have rows, and these."""
    return [(int(scan), np.flatnonzero(scans == scan)) for scan in np.unique(scans)]
