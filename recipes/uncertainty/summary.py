"""Figures of a part: what calibration, prediction sets and the foreign-case score are worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.evaluation.assess import evaluate
from recipes.evaluation.bootstrap import group_index, resamples
from recipes.evaluation.metrics import weighted_mean
from recipes.evaluation.question import HALF
from recipes.uncertainty.calibration import Judged, fold_of
from recipes.uncertainty.outside import alarm_threshold
from recipes.uncertainty.record import UncertaintyRecord
from recipes.uncertainty.selective import interval, selective_figures

CALIBRATED = ("log_loss", "brier", "ece", "calibration_slope", "calibration_intercept")
OF_LABEL = ("log_loss", "brier", "ece")


def part_figures(
    record: UncertaintyRecord,
    truth: npt.NDArray[Any],
    judged: Judged,
    flags: Sequence[str],
    groups: Sequence[str | None],
    plain: dict[str, Any],
    *,
    positive: str | None,
    crossed: bool,
    n_boot: int,
    seed: int,
) -> dict[str, Any]:
    """Everything ``metrics.json`` says about uncertainty on one part.

    Args:
        record: What was calibrated.
        truth: ``(n,)`` class numbers, or ``(n, k)`` with NaN unknown.
        judged: Calibrated probabilities and sets, none of them from these patients.
        flags: ``outside``, ``inside`` or nothing, for each case.
        groups: Patients, None where unknown.
        plain: Result of ``evaluation.evaluate`` on the uncalibrated probabilities.
        positive: Positive class of a two-class task.
        crossed: Whether the part is the calibration cases themselves, judged by folds.
        n_boot: Bootstrap replicates.
        seed: Their seed.

    Returns:
        JSON-able figures; each with an interval is ``{"value", "low", "high"}``. Of labels,
        ``labels`` has each one's ``n`` known cases, temperature, calibration before and after,
        coverage (in all, and of those with and without it), shares of sets of one answer, of both
        and of none, and selective prediction.
    """
    group_of, _ = group_index(groups, len(flags))
    after = evaluate(
        truth,
        judged.prob,
        groups,
        class_names=record.class_names,
        positive=positive,
        task=record.kind,
        n_boot=n_boot,
        seed=seed,
    )
    figures: dict[str, Any] = {
        "n": len(flags),
        "n_groups": int(group_of.max()) + 1,
        "cross_fitted": crossed,
        "calibrated_on": {"n": record.n, "n_groups": record.n_groups, "unit": record.unit},
        "temperature": record.temperature,
        "calibration": _both(plain, after, CALIBRATED),
    }

    def share(values: npt.NDArray[Any]) -> dict[str, float | None]:
        return mean_figure(np.asarray(values, "float64"), group_of, n_boot=n_boot, seed=seed)

    boot = {"n_boot": n_boot, "seed": seed}
    if record.kind == "single":
        figures["prediction_sets"] = _sets(record, truth, judged.sets, share)
        answers = judged.prob.argmax(axis=1)
        wrong = np.asarray(answers != truth, "float64")
        figures["selective"] = selective_figures(
            wrong, judged.prob.max(axis=1), group_of, n_boot=n_boot, seed=seed
        )
    else:
        figures["labels"] = {
            name: _label(record, k, truth[:, k], judged, group_of, boot)
            | {"calibration": _both(plain["per_class"][name], after["per_class"][name], OF_LABEL)}
            for k, name in enumerate(record.class_names)
        }
        figures["prediction_sets"] = {
            "method": record.method,
            "per_class": True,
            "stated_coverage": record.coverage,
        }
    figures["outside"] = {
        "method": record.outside.method,
        "stated_false_alarms": record.outside.false_alarms,
        "threshold": record.outside.threshold,
        "flagged": share(np.asarray([flag == "outside" for flag in flags]))
        if all(flags)
        else {"value": None, "low": None, "high": None},
    }
    figures["notes"] = list(record.notes)
    return figures


def _both(
    before: dict[str, Any], after: dict[str, Any], names: Sequence[str]
) -> dict[str, dict[str, Any]]:
    return {
        name: {"before": before[name], "after": after[name]}
        for name in names
        if name in before and name in after
    }


def _label(
    record: UncertaintyRecord,
    k: int,
    truth: npt.NDArray[Any],
    judged: Judged,
    group_of: npt.NDArray[np.int64],
    boot: dict[str, int],
) -> dict[str, Any]:
    """Figures of one label, on the cases of which it is known."""
    known = np.isfinite(truth)
    own = None if record.labels is None else record.labels[k]
    figures: dict[str, Any] = {
        "n": int(known.sum()),
        "n_present": int((truth[known] == 1).sum()),
        "calibrated_on": None if own is None else {"n": own.n_absent + own.n_present,
                                                  "n_present": own.n_present},
        "temperature": record.temperature if own is None else own.temperature,
    }  # fmt: skip
    if not known.any():
        return figures
    answer = truth[known].astype("int64")
    groups = np.unique(group_of[known], return_inverse=True)[1]
    sets, prob = judged.sets[known, k], judged.prob[known, k]
    covered = sets[np.arange(len(answer)), answer]
    sizes = sets.sum(axis=1)

    def share(values: npt.NDArray[Any], rows: npt.NDArray[np.bool_]) -> dict[str, float | None]:
        if not rows.any():
            return {"value": None, "low": None, "high": None}
        places = np.unique(groups[rows], return_inverse=True)[1]
        return mean_figure(np.asarray(values[rows], "float64"), places, **boot)

    every = np.ones(len(answer), bool)
    figures |= {
        "coverage": share(covered, every),
        "coverage_present": share(covered, answer == 1),
        "coverage_absent": share(covered, answer == 0),
        "single": share(sizes == 1, every),
        "all": share(sizes == 2, every),
        "empty": share(sizes == 0, every),
    }
    wrong = np.asarray((prob >= HALF) != (answer == 1), "float64")
    figures["selective"] = selective_figures(wrong, np.maximum(prob, 1 - prob), groups, **boot)
    return figures


def _sets(
    record: UncertaintyRecord, truth: npt.NDArray[Any], sets: npt.NDArray[np.bool_], share: Any
) -> dict[str, Any]:
    covered = sets[np.arange(len(truth)), truth]
    sizes = sets.sum(axis=1)
    return {
        "method": record.method,
        "per_class": record.per_class,
        "stated_coverage": record.coverage,
        "coverage": share(covered),
        "mean_size": share(sizes),
        "empty": share(sizes == 0),
        "single": share(sizes == 1),
        "all": share(sizes == sets.shape[1]),
        "coverage_by_class": {
            name: {
                "n": int((truth == k).sum()),
                "coverage": float(covered[truth == k].mean()) if (truth == k).any() else None,
            }
            for k, name in enumerate(record.class_names)
        },
    }


def mean_figure(
    values: npt.NDArray[np.float64],
    group_of: npt.NDArray[np.int64],
    *,
    n_boot: int,
    seed: int,
    level: float = 0.95,
) -> dict[str, float | None]:
    """A mean over cases with its bootstrap interval over patients.

    Args:
        values: ``(n,)``.
        group_of: ``(n,)`` number of each case's patient.
        n_boot: Replicates.
        seed: Their seed.
        level: Coverage of the interval.
    """
    draws: list[npt.NDArray[np.float64]] = []
    if n_boot > 0 and int(group_of.max()) > 0:
        draws = [weighted_mean(values, w) for w in resamples(group_of, n_boot, seed=seed)]
    return interval(float(values.mean()), np.concatenate([*draws, np.zeros(0)]), level)


def cross_flags(
    far: npt.NDArray[Any], group_of: npt.NDArray[np.int64], *, false_alarms: float, seed: int
) -> list[str]:
    """Flags of the cases that chose the threshold, each by a threshold without its fold.

    Returns:
        ``outside`` or ``inside``; nothing where the other folds are too few for the rate.
    """
    numbers = fold_of(group_of, seed)
    flags = [""] * len(far)
    for fold in np.unique(numbers):
        inside = numbers == fold
        limit = alarm_threshold(far[~inside], group_of[~inside], false_alarms=false_alarms)
        if np.isfinite(limit):
            for i in np.flatnonzero(inside):
                flags[i] = "outside" if far[i] > limit else "inside"
    return flags
