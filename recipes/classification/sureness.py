"""How sure a run is: calibrated on its validation cases, judged on others, stored beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.classification.config import UncertaintyConfig
from recipes.evaluation.bootstrap import group_index
from recipes.uncertainty.calibration import (
    Calibration,
    Judged,
    LabelCalibration,
    Rules,
    cross_apply,
    fit_calibration,
)
from recipes.uncertainty.conformal import least_units
from recipes.uncertainty.outside import (
    Reference,
    alarm_threshold,
    fit_mahalanobis,
    fit_neighbours,
)
from recipes.uncertainty.record import (
    LabelRecord,
    OutsideRecord,
    Uncertainty,
    UncertaintyRecord,
    header,
    pack,
    rows,
)
from recipes.uncertainty.summary import cross_flags, part_figures


@dataclass(frozen=True, eq=False)
class Sample:
    """Outputs for cases of one part.

    Attributes:
        logits: ``(n, k)``.
        embeddings: ``(n, d)``.
        targets: ``(n, k)`` one-hot, or 0/1 with NaN unknown.
        groups: Patients, None where unknown.
    """

    logits: npt.NDArray[Any]
    embeddings: npt.NDArray[Any]
    targets: npt.NDArray[Any]
    groups: Sequence[str | None]


@dataclass(frozen=True, eq=False)
class Sureness:
    """What is said of a part.

    Attributes:
        figures: For ``metrics.json`` and the report.
        header: Further columns of ``predictions.csv``.
        rows: Their values, one mapping per case.
    """

    figures: dict[str, Any]
    header: list[str]
    rows: list[dict[str, Any]]


def reference_rows(
    targets: npt.NDArray[Any], kind: str, *, most: int, seed: int
) -> npt.NDArray[np.int64]:
    """Training rows whose embeddings become the reference: at most so many, classes alike.

    Args:
        targets: ``(n, k)`` of the training part.
        kind: ``single`` takes up to ``most / k`` of each class; ``multilabel`` any.
        most: Upper limit, in all.
        seed: Seed of the draw.

    Returns:
        Positions among the training rows, ascending.
    """
    rng = np.random.default_rng([seed, len(targets)])
    if kind != "single":
        return np.sort(np.asarray(rng.permutation(len(targets))[:most], "int64"))
    labels = targets.argmax(axis=1)
    present = np.unique(labels)
    each = max(2, most // max(1, len(present)))
    drawn = [rng.permutation(np.flatnonzero(labels == c))[:each] for c in present]
    return np.sort(np.concatenate(drawn))


def fit_uncertainty(
    train_embeddings: npt.NDArray[Any],
    train_targets: npt.NDArray[Any],
    val: Sample,
    config: UncertaintyConfig,
    *,
    class_names: Sequence[str],
    kind: str,
    model_sha256: str,
    seed: int,
) -> tuple[Uncertainty, bytes]:
    """Calibrate on validation cases and measure distances from training cases.

    Args:
        train_embeddings: ``(m, d)`` of the rows that `reference_rows` chose.
        train_targets: ``(m, k)``.
        val: Validation cases.
        config: How.
        class_names: Names in the order of the logits.
        kind: ``single`` or ``multilabel``.
        model_sha256: Hash of the model that all of it belongs to.
        seed: Seed of the folds.

    Returns:
        What was found, and the bytes of ``uncertainty.npz``.

    Raises:
        RecipeError: Embeddings that do not vary, or are not finite.
    """
    group_of, known = group_index(val.groups, len(val.logits))
    rules = Rules(
        kind=kind,
        coverage=config.coverage,
        method=config.conformal,
        per_class=config.per_class,
        seed=seed,
    )
    calibration = fit_calibration(val.logits, val.targets, group_of, rules, class_names)
    reference: Reference
    if config.outside == "mahalanobis":
        labels = train_targets.argmax(axis=1) if kind == "single" else None
        reference = fit_mahalanobis(train_embeddings, labels)
    else:
        reference = fit_neighbours(train_embeddings, k=config.neighbours)
    far = reference.score(val.embeddings)
    threshold = alarm_threshold(far, group_of, false_alarms=config.false_alarms)
    notes = list(calibration.notes)
    n_groups = int(group_of.max()) + 1
    if not np.isfinite(threshold):
        notes.append(
            f"{n_groups} validation patients are too few for a false alarm rate of "
            f"{config.false_alarms:.0%} (at least {least_units(1 - config.false_alarms)}): no case "
            "is flagged as of another kind."
        )
    arrays = pack(reference)
    record = UncertaintyRecord(
        model_sha256=model_sha256,
        kind="single" if kind == "single" else "multilabel",
        class_names=tuple(class_names),
        coverage=config.coverage,
        method=config.conformal,
        per_class=config.per_class or kind != "single",
        **_stored(calibration, val.targets),
        seed=seed,
        n=len(val.logits),
        n_groups=n_groups,
        unit="patient" if known == len(val.logits) else "image",
        outside=OutsideRecord(
            method=config.outside,
            false_alarms=config.false_alarms,
            threshold=float(threshold) if np.isfinite(threshold) else None,
            n_train=len(train_embeddings),
            width=int(train_embeddings.shape[1]),
            arrays_sha256=hashlib.sha256(arrays).hexdigest(),
        ),
        notes=tuple(notes),
    )
    return Uncertainty(record, calibration, reference), arrays


def _stored(
    calibration: Calibration | LabelCalibration, targets: npt.NDArray[Any]
) -> dict[str, Any]:
    """Temperatures and quantiles as the record has them."""
    if isinstance(calibration, Calibration):
        found = _finite(calibration.quantiles)
        return {"temperature": calibration.temperature, "quantiles": found, "labels": None}
    labels = tuple(
        LabelRecord(
            temperature=one.temperature,
            quantiles=_finite(one.quantiles),  # type: ignore[arg-type]
            n_absent=int((targets[:, k] == 0).sum()),
            n_present=int((targets[:, k] == 1).sum()),
        )
        for k, one in enumerate(calibration.labels)
    )
    return {"temperature": None, "quantiles": None, "labels": labels}


def _finite(quantiles: npt.NDArray[np.float64]) -> tuple[float | None, ...]:
    return tuple(float(q) if np.isfinite(q) else None for q in quantiles)


def judge_part(
    found: Uncertainty,
    part: Sample,
    plain: dict[str, Any],
    *,
    positive: str | None,
    calibrated_on: bool,
    n_boot: int,
    seed: int,
) -> Sureness | None:
    """Columns and figures of a part.

    Args:
        found: What `fit_uncertainty` found.
        part: The part's cases.
        plain: Result of ``evaluation.evaluate`` on the uncalibrated probabilities.
        positive: Positive class of a two-class task.
        calibrated_on: Whether the part is the one that was calibrated on: its cases are then
            judged by calibrations, and flagged by thresholds, made without them.
        n_boot: Bootstrap replicates.
        seed: Their seed.

    Returns:
        None where the part is the calibration part and a single patient.
    """
    record = found.record
    far = found.reference.score(part.embeddings)
    judged: Judged | None
    if calibrated_on:
        group_of, _ = group_index(part.groups, len(part.logits))
        judged = cross_apply(part.logits, part.targets, group_of, found.calibration.rules)
        if judged is None:
            return None
        flags = cross_flags(
            far, group_of, false_alarms=record.outside.false_alarms, seed=record.seed
        )
    else:
        judged = found.judge(part.logits)
        flags = found.flags(far)
    truth = part.targets.argmax(axis=1) if record.kind == "single" else part.targets
    figures = part_figures(
        record,
        truth,
        judged,
        flags,
        part.groups,
        plain,
        positive=positive,
        crossed=calibrated_on,
        n_boot=n_boot,
        seed=seed,
    )
    return Sureness(figures, header(record), rows(record, judged, far, flags))
