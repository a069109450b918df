"""Figures of detections: candidates of many images against their lesions, class by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.detection.candidates import Found
from recipes.detection.config import EvaluateConfig
from recipes.detection.truth import Marks as Lesions
from recipes.evaluation.froc.hits import HitRule
from recipes.evaluation.froc.matching import Candidates, Findings, Marks, match, per_patient
from recipes.evaluation.froc.operating import at_threshold, threshold_at
from recipes.evaluation.froc.precision import Detections, average_precision, detections
from recipes.evaluation.froc.summary import summarise_froc

Array = npt.NDArray[np.float64]
OVERLAPS = {"ap10": 0.1, "ap50": 0.5}
DEFAULT_IOU = 0.1


@dataclass(frozen=True)
class Scan:
    """One image with its truth and what was found in it.

    Attributes:
        row: Row of the adapter.
        case_id: Its id.
        patient_id: Patient, None where unknown.
        lesions: The truth.
        found: The candidates.
        spacing: Voxel size along the axes, mm; ones where unknown.
        sides: Voxels along the axes.
    """

    row: int
    case_id: str
    patient_id: str | None
    lesions: Lesions
    found: Found
    spacing: Array
    sides: tuple[int, ...]


def hit_rule(evaluate: EvaluateConfig, *, volume: bool) -> HitRule:
    """The rule of a configuration.

    Raises:
        recipes.errors.RecipeError: A limit that the rule does not want, or lacks.
    """
    rule = evaluate.rule
    if rule == "auto":
        rule = "radius" if volume else "centre_or_iou"
    limit = None if evaluate.limit == "auto" else evaluate.limit
    if limit is None and rule in ("iou", "centre_or_iou"):
        limit = DEFAULT_IOU
    return HitRule(rule, limit)


def marks_of_class(scans: Sequence[Scan], rule: HitRule, label: int | None, *, per: str) -> Marks:
    """Hits and false positives of one class, or of all: a candidate hits its own class alone.

    Args:
        scans: Images.
        rule: When a candidate hits.
        label: A class; None for all.
        per: ``image`` or ``patient``.
    """
    findings, candidates = tables(scans, label)
    lesion_class = _labels([scan.lesions.labels for scan in scans], label)
    mark_class = _labels([scan.found.labels for scan in scans], label)
    classes = 1 + int(max(lesion_class.max(initial=0), mark_class.max(initial=0)))
    apart = match(
        len(scans) * classes,
        replace(findings, scan=findings.scan * classes + lesion_class),
        replace(candidates, scan=candidates.scan * classes + mark_class),
        rule,
    )
    marks = Marks(
        n_scans=len(scans),
        lesion_scan=apart.lesion_scan // classes,
        lesion_score=apart.lesion_score,
        false_scan=apart.false_scan // classes,
        false_score=apart.false_score,
        hits=apart.hits,
        ignored=0,
        groups=tuple(s.patient_id for s in scans),
    )
    return per_patient(marks) if per == "patient" else marks


def _labels(parts: Sequence[npt.NDArray[np.int64]], label: int | None) -> npt.NDArray[np.int64]:
    """Classes of all images' rows, or of those of one class."""
    every = np.concatenate([np.empty(0, np.int64), *parts])
    return every if label is None else every[every == label]


def tables(scans: Sequence[Scan], label: int | None) -> tuple[Findings, Candidates]:
    """Lesions and candidates of a class (None: all) in mm, or pixels where unknown."""
    axes = len(scans[0].spacing)
    lesions = [(scan, _rows(scan.lesions.labels, label)) for scan in scans]
    marks = [(scan, _rows(scan.found.labels, label)) for scan in scans]

    def stacked(parts: Sequence[Array], width: int) -> Array:
        return np.concatenate([np.empty((0, width)), *parts])

    findings = Findings(
        scan=np.repeat(np.arange(len(scans)), [len(rows) for _, rows in lesions]),
        centre=stacked([s.lesions.centres[rows] * s.spacing for s, rows in lesions], axes),
        radius=np.concatenate([s.lesions.radii[rows] for s, rows in lesions]),
        box=stacked([_faces(s.lesions.boxes[rows], s.spacing) for s, rows in lesions], 2 * axes),
    )
    candidates = Candidates(
        scan=np.repeat(np.arange(len(scans)), [len(rows) for _, rows in marks]),
        centre=stacked([s.found.centres[rows] * s.spacing for s, rows in marks], axes),
        score=np.concatenate([s.found.scores[rows] for s, rows in marks]),
        box=stacked([_faces(s.found.boxes[rows], s.spacing) for s, rows in marks], 2 * axes),
    )
    return findings, candidates


def _rows(labels: npt.NDArray[np.int64], label: int | None) -> npt.NDArray[np.int64]:
    return np.arange(len(labels)) if label is None else np.flatnonzero(labels == label)


def _faces(boxes: Array, spacing: Array) -> Array:
    """Boxes in mm on the scale of the centres: voxel i reaches from i - 0.5 to i + 0.5."""
    return np.asarray((boxes - 0.5) * np.tile(spacing, 2))


def score(
    scans: Sequence[Scan],
    class_names: Sequence[str],
    rule: HitRule,
    *,
    per: str = "image",
    thresholds: Sequence[float | None] | None = None,
    n_boot: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Every figure of a part.

    Args:
        scans: Images with truth and candidates.
        class_names: Names of the classes.
        rule: When a candidate hits.
        per: What false positives are counted per.
        thresholds: Operating point of each class; None: not chosen.
        n_boot: Bootstrap resamples of patients.
        seed: Seed.

    Returns:
        `summarise_froc`'s figures over all classes (a candidate hits lesions of its class alone);
        "ap10" and "ap50", with several classes the mean over them; "classes": the
        same of each class with "operating"; "n", "per", "rule".
    """
    options: dict[str, Any] = {"n_boot": n_boot, "seed": seed}
    groups: list[object] = [s.patient_id for s in scans]
    classes = {}
    matched: dict[str, list[Detections]] = {key: [] for key in OVERLAPS}
    for label, name in enumerate(class_names):
        marks = marks_of_class(scans, rule, label, per=per)
        findings, candidates = tables(scans, label)
        one = summarise_froc(marks, **options)
        for key, iou in OVERLAPS.items():
            matched[key].append(detections(len(scans), findings, candidates, iou=iou))
            one[key] = average_precision(matched[key][-1], groups=groups, **options)
        threshold = None if thresholds is None else thresholds[label]
        if threshold is not None:
            figures = at_threshold(marks, threshold, **options)
            one["operating"] = {"threshold": threshold, **figures}
        classes[name] = one
    whole = dict(classes[class_names[0]])
    if len(class_names) > 1:
        whole = summarise_froc(marks_of_class(scans, rule, None, per=per), **options)
        whole |= {
            key: average_precision(mine, groups=groups, **options) for key, mine in matched.items()
        }
    return {"n": len(scans), **whole, "per": per, "rule": str(rule), "classes": classes}


def choose_thresholds(
    scans: Sequence[Scan], classes: int, rule: HitRule, *, per: str, rate: float
) -> tuple[float | None, ...]:
    """The operating point of each class on validation; see `threshold_at`."""
    return tuple(
        threshold_at(marks_of_class(scans, rule, label, per=per), rate) for label in range(classes)
    )
