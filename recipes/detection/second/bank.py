"""Patches of lesions and of what is none: what the second network learns from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data_adapters.adapter import Adapter
from data_adapters.case import Case
from data_adapters.errors import CaseError
from data_adapters.patches import PatchPolicy, mirror_axes
from recipes.detection.scoring import Scan, tables
from recipes.detection.second.cutting import Cut, cut_patch, draw_move, pixels
from recipes.engine.checkpoint import disk_error
from recipes.errors import RecipeError
from recipes.evaluation.froc.hits import HitRule, hit_matrix

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Amounts:
    """How many patches a case gives.

    Attributes:
        views: Patches of each lesion, moved and turned.
        negatives: Patches of false positives, the highest first.
        anywhere: Patches of places that are no lesion, drawn evenly.
        policy: The first stage's augmentation, which says what may be mirrored; None: nothing.
    """

    views: int
    negatives: int
    anywhere: int
    policy: PatchPolicy | None


@dataclass(frozen=True)
class Bank:
    """Patches in memory.

    Attributes:
        images: ``(N, *patch, C)`` uint8.
        targets: ``(N,)``: 0 is no lesion, k + 1 is class k.
    """

    images: npt.NDArray[np.uint8]
    targets: npt.NDArray[np.int64]


def truth_of(scan: Scan, rule: HitRule, classes: int) -> npt.NDArray[np.int64]:
    """What each candidate of a scan is: k + 1 where it hits a lesion of its class k, else 0."""
    found = np.zeros(len(scan.found.labels), np.int64)
    for label in range(classes):
        rows = np.flatnonzero(scan.found.labels == label)
        findings, candidates = tables([scan], label)
        if len(rows) and len(findings.scan):
            hits = hit_matrix(
                rule,
                findings.centre,
                candidates.centre,
                radii=findings.radius,
                boxes=findings.box,
                candidate_boxes=candidates.box,
            )
            found[rows[hits.any(axis=0)]] = label + 1
    return found


def make_bank(
    adapter: Adapter,
    scans: Sequence[Scan],
    cut: Cut,
    amounts: Amounts,
    rule: HitRule,
    *,
    classes: int,
    seed: int,
    kept: Path,
    progress: Progress,
) -> Bank:
    """Cut patches of many cases, or take them from a file of an earlier attempt.

    Every lesion gives patches whether the first stage found it or not, so that sensitivity comes
    first. False positives are those of the candidates that hit nothing, the highest score first.

    Args:
        adapter: Where images come from.
        scans: Cases with lesions and candidates; their scores decide which negatives are cut.
        cut: How patches are cut.
        amounts: How many.
        rule: When a candidate hits.
        classes: Classes of lesions.
        seed: Seed of every draw; a case's patches depend on it and its row alone.
        kept: ``.npz`` file in the run folder, of these scans, scores and settings.
        progress: Called with (done, total).

    Raises:
        RecipeError: No case has a lesion.
        recipes.errors.RunFolderError: The file cannot be written.
    """
    try:
        with np.load(kept, allow_pickle=False) as content:
            return Bank(content["images"], content["targets"])
    except (OSError, ValueError, KeyError):
        pass
    images: list[npt.NDArray[np.uint8]] = []
    targets: list[int] = []
    for done, scan in enumerate(scans, start=1):
        try:
            case = adapter[scan.row]
        except CaseError:
            continue
        rng = np.random.default_rng((seed, scan.row))
        scaled, mirrored = pixels(case, cut), _mirrored(case, amounts.policy)
        for target, centre, reach in _places(scan, amounts, rule, classes, rng):
            move = draw_move(rng, cut, len(scan.spacing), reach, mirrored)
            images.append(cut_patch(scaled, scan.spacing, centre, cut, move))
            targets.append(target)
        progress(done, len(scans))
    if not any(targets):
        raise RecipeError("the training part holds no lesion that a second stage could learn")
    bank = Bank(np.stack(images), np.asarray(targets, np.int64))
    partial = kept.with_suffix(".partial.npz")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(partial, images=bank.images, targets=bank.targets)
        partial.replace(kept)
    except OSError as error:
        raise disk_error(error, kept.name) from error
    return bank


def _mirrored(case: Case, policy: PatchPolicy | None) -> tuple[int, ...]:
    """Axes of a case along which its patches may be mirrored."""
    axes = case.image.ndim - 1
    return () if policy is None else mirror_axes(policy, case.geometry, axes=axes)


def _places(
    scan: Scan, amounts: Amounts, rule: HitRule, classes: int, rng: np.random.Generator
) -> list[tuple[int, npt.NDArray[np.float64], float]]:
    """Target, centre and reach of the patches of a case."""
    lesions = scan.lesions
    found = [
        (int(lesions.labels[k]) + 1, lesions.centres[k], float(lesions.radii[k]))
        for k in range(len(lesions.labels))
        for _ in range(amounts.views)
    ]
    false = np.flatnonzero(truth_of(scan, rule, classes) == 0)
    false = false[np.argsort(-scan.found.scores[false], kind="stable")][: amounts.negatives]
    found += [(0, scan.found.centres[k], 0.0) for k in false]
    for _ in range(amounts.anywhere):
        place = rng.uniform(0, 1, len(scan.spacing)) * (np.asarray(scan.sides) - 1)
        if not _inside(place, lesions.boxes):
            found.append((0, place, 0.0))
    return found


def _inside(place: npt.NDArray[np.float64], boxes: npt.NDArray[np.float64]) -> bool:
    """Whether a place lies in any box."""
    axes = len(place)
    at = place + 0.5
    return bool(((at >= boxes[:, :axes]) & (at <= boxes[:, axes:])).all(axis=1).any())
