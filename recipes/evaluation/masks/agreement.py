"""Do the volumes agree: Bland and Altman's figures, and each patient's total burden."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.errors import RecipeError
from recipes.evaluation.bootstrap import group_index, percentile_interval, resamples
from recipes.evaluation.masks.cases import CaseScores

_LIMITS = 1.96


def bland_altman(
    truth: npt.ArrayLike,
    prediction: npt.ArrayLike,
    groups: Sequence[object] | None = None,
    *,
    n_boot: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Any]:
    """Bias of predicted volumes and the limits of agreement (Bland and Altman, Lancet 1986).

    Args:
        truth: Volumes, shape (N,).
        prediction: Volumes of the same cases.
        groups: Patient of each case, the unit of the bias's interval; None where unknown. The
            limits treat the cases as independent.
        n_boot: Bootstrap resamples.
        seed: Seed of the resamples.
        level: Coverage of the bias's interval.

    Returns:
        JSON-able: "n"; "bias" ({"value", "low", "high"}: mean of prediction - truth); "sd" of the
        differences (n - 1); "lower" and "upper" (bias -+ 1.96 sd), null below two cases; and the
        points to draw, "mean" ((truth + prediction) / 2) and "difference".

    Raises:
        RecipeError: Volumes that are not finite, or of different cases.
    """
    first, second = (np.asarray(v, np.float64).ravel() for v in (truth, prediction))
    if len(first) != len(second) or not np.isfinite([*first, *second]).all():
        raise RecipeError("wanted finite volumes of truth and prediction of the same cases")
    if groups is not None and len(groups) != len(first):
        raise RecipeError(f"{len(groups)} groups given for {len(first)} cases")
    apart = second - first
    bias = float(apart.mean()) if len(apart) else math.nan
    spread = float(apart.std(ddof=1)) if len(apart) > 1 else math.nan
    low, high = _interval(apart, groups, n_boot, seed, level)
    return {
        "n": len(apart),
        "bias": {"value": number(bias), "low": number(low), "high": number(high)},
        "sd": number(spread),
        "lower": number(bias - _LIMITS * spread),
        "upper": number(bias + _LIMITS * spread),
        "mean": ((first + second) / 2).tolist(),
        "difference": apart.tolist(),
    }


def _interval(
    apart: npt.NDArray[np.float64],
    groups: Sequence[object] | None,
    n_boot: int,
    seed: int,
    level: float,
) -> tuple[float, float]:
    if not len(apart):
        return math.nan, math.nan
    group_of, _ = group_index(groups, len(apart))
    if int(group_of.max()) < 1 or n_boot < 1:
        return math.nan, math.nan
    draws = [(w @ apart) / w.sum(axis=1) for w in resamples(group_of, n_boot, seed=seed)]
    return percentile_interval(np.concatenate(draws), level)[:2]


def burden(cases: Sequence[CaseScores]) -> list[dict[str, Any]]:
    """Total volume of every patient, all classes together and each alone.

    Args:
        cases: Cases; those of one patient are added up, and one whose patient is unknown stands
            alone.

    Returns:
        JSON-able rows in the order of appearance: "patient" (None where unknown), "cases" (ids),
        "truth", "prediction", "difference", and "classes" (name -> the same three).
    """
    group_of, _ = group_index([case.patient_id for case in cases], len(cases))
    rows: dict[int, dict[str, Any]] = {}
    for group, case in zip(group_of.tolist(), cases, strict=True):
        row = rows.setdefault(group, {"patient": case.patient_id, "cases": [], "classes": {}})
        row["cases"].append(case.case_id)
        for name, figures in case.figures.items():
            _add(row["classes"].setdefault(name, {"truth": 0.0, "prediction": 0.0}), figures)
    for row in rows.values():
        for key in ("truth", "prediction"):
            row[key] = sum(part[key] for part in row["classes"].values())
        for part in (row, *row["classes"].values()):
            part["difference"] = part["prediction"] - part["truth"]
    return list(rows.values())


def _add(total: dict[str, float], figures: Mapping[str, float]) -> None:
    total["truth"] += figures["truth_volume"]
    total["prediction"] += figures["prediction_volume"]


def number(value: float) -> float | None:
    """A finite value, or None, which JSON can hold."""
    return float(value) if math.isfinite(value) else None
