"""Figures of many cases together: means with intervals over patients, and what was left out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.errors import RecipeError
from recipes.evaluation.bootstrap import group_index, percentile_interval, resamples
from recipes.evaluation.masks.agreement import bland_altman, burden, number
from recipes.evaluation.masks.cases import FIGURES, MEMBRANE_FIGURES, CaseScores, ScoreOptions
from recipes.evaluation.masks.lesions import Detection

Array = npt.NDArray[np.float64]


def summarise(
    cases: Sequence[CaseScores],
    *,
    options: ScoreOptions | None = None,
    n_boot: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Any]:
    """Mean of every figure and class over the cases, with an interval over patients.

    A figure that is undefined (NaN) for a case is left out of the mean, and so is an infinite
    distance; both are counted. The interval is the percentile bootstrap over patients (all cases
    of a drawn patient come with it); it needs two of them.

    Args:
        cases: Scores of at least one case; all with the same classes.
        options: The definitions they were scored by, to be stated.
        n_boot: Bootstrap resamples.
        seed: Seed of the resamples.
        level: Coverage of the intervals.

    Returns:
        JSON-able dict: "n" cases, "n_patients", "unit" (`patient`, or `case` where patients are
        unknown), "class_names"; for each figure (the keys of `cases.FIGURES`, and of
        `cases.MEMBRANE_FIGURES` where the options ask for them) class -> {"value"
        (mean), "low", "high", "median" (infinite ones included), "n" (cases in the mean),
        "undefined", "infinite"}, null where undefined; "mean" -> figure -> {"value", "low",
        "high"}, the mean over the classes' means; "lesions" -> class -> counts and pooled figures
        over all cases; "agreement" -> class -> Bland-Altman; "burden" per patient; "definitions",
        "settings", "notes".

    Raises:
        RecipeError: No cases, cases of different classes or numbers of axes, or a setting that
            does not fit.
    """
    if not 0 < level < 1:
        raise RecipeError(f"level={level!r}: wanted a share between 0 and 1, such as 0.95")
    if n_boot < 0 or seed < 0:
        raise RecipeError(f"n_boot={n_boot!r}, seed={seed!r}: wanted 0 or more")
    names = _classes(cases)
    keys = [*FIGURES, *(MEMBRANE_FIGURES if (options or ScoreOptions()).membranes else ())]
    patients = [case.patient_id for case in cases]
    group_of, known = group_index(patients, len(cases))
    values = np.array(
        [[[case.figures[name][key] for name in names] for key in keys] for case in cases]
    )
    draws = _draws(values, group_of, n_boot, seed)
    result: dict[str, Any] = {
        "n": len(cases),
        "n_patients": int(group_of.max()) + 1,
        "unit": "patient" if known == len(cases) else "case",
        "class_names": list(names),
    }
    result["mean"] = {}
    for f, figure in enumerate(keys):
        result[figure] = {
            name: _entry(values[:, f, k], draws[:, f, k], level) for k, name in enumerate(names)
        }
        middle = _mean_over_classes(_means(values[None, :, f])[0])
        low, high, _ = percentile_interval(_mean_over_classes(draws[:, f]), level)
        result["mean"][figure] = _numbers(value=middle, low=low, high=high)
    result["lesions"] = {name: _pooled([case.lesions[name] for case in cases]) for name in names}
    true, guess = (values[:, keys.index(f"{name}_volume")] for name in ("truth", "prediction"))
    result["agreement"] = {
        name: bland_altman(true[:, k], guess[:, k], patients, n_boot=n_boot, seed=seed, level=level)
        for k, name in enumerate(names)
    }
    result["burden"] = burden(cases)
    result["definitions"] = definitions(options or ScoreOptions(), cases[0].axes)
    result["settings"] = {"level": level, "n_boot": n_boot, "seed": seed}
    result["notes"] = _notes(result, known, sum(not case.spacing for case in cases))
    return result


def _classes(cases: Sequence[CaseScores]) -> tuple[str, ...]:
    if not cases:
        raise RecipeError("no case was scored, so there is nothing to sum up")
    names = tuple(cases[0].figures)
    for case in cases:
        if tuple(case.figures) != names or case.axes != cases[0].axes:
            raise RecipeError(
                f"case {case.case_id} has other classes or axes than case {cases[0].case_id}"
            )
    return names


def _draws(values: Array, group_of: npt.NDArray[np.int64], n_boot: int, seed: int) -> Array:
    """Means of every figure and class in each resample, shape (B, F, K); none without groups."""
    if int(group_of.max()) < 1 or n_boot < 1:
        return np.full((1, *values.shape[1:]), np.nan)
    chunks = resamples(group_of, n_boot, seed=seed, curves=1)
    return np.concatenate([_weighted(values, weights) for weights in chunks])


def _weighted(values: Array, weights: Array) -> Array:
    """Weighted means over the cases whose figure is finite; NaN where there is none."""
    flat = values.reshape(len(values), -1)
    finite = np.isfinite(flat)
    total = weights @ np.where(finite, flat, 0.0)
    size = weights @ finite.astype(np.float64)
    means = np.divide(total, size, out=np.full_like(total, np.nan), where=size > 0)
    return np.asarray(means.reshape(len(weights), *values.shape[1:]))


def _means(values: Array) -> Array:
    """Means over the second axis, of finite figures only."""
    return np.stack([_weighted(part, np.ones((1, len(part))))[0] for part in values])


def _mean_over_classes(means: Array) -> Array:
    """Mean over the last axis of what is defined; NaN where nothing is."""
    defined = np.isfinite(means)
    size = defined.sum(axis=-1)
    total = np.where(defined, means, 0.0).sum(axis=-1)
    return np.asarray(np.divide(total, size, out=np.full_like(total, np.nan), where=size > 0))


def _entry(values: Array, draws: Array, level: float) -> dict[str, Any]:
    finite = values[np.isfinite(values)]
    defined = values[~np.isnan(values)]
    low = high = math.nan
    if len(finite):
        low, high, _ = percentile_interval(draws, level)
    return {
        **_numbers(
            value=finite.mean() if len(finite) else math.nan,
            low=low,
            high=high,
            median=_median(defined),
        ),
        "n": len(finite),
        "undefined": len(values) - len(defined),
        "infinite": len(defined) - len(finite),
    }


def _median(values: Array) -> float:
    """Median; infinite, and so null, where the middle is."""
    if not len(values):
        return math.nan
    ordered = np.sort(values)
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return float(low if low == high else (low + high) / 2)


def _numbers(**values: Any) -> dict[str, float | None]:
    return {name: number(float(value)) for name, value in values.items()}


def _pooled(parts: Sequence[Detection]) -> dict[str, Any]:
    total = sum(parts, Detection(0, 0, 0, 0))
    return {
        "lesions": total.lesions,
        "found": total.found,
        "claimed": total.claimed,
        "right": total.right,
        **_numbers(sensitivity=total.sensitivity, precision=total.precision, f1=total.f1),
    }


def definitions(options: ScoreOptions, axes: int) -> dict[str, str]:
    """What each figure is, with the definition, tolerance, hit rule and unit used.

    Args:
        options: As scored.
        axes: 2 or 3.
    """
    surface = {
        "monai": "boundary voxels, each counting once (as MONAI)",
        "deepmind": "surface elements weighted by area (as DeepMind's surface-distance)",
    }[options.definition]
    hit = "one shared voxel" if options.min_iou == 0 else f"an IoU of {options.min_iou:g} of a pair"
    more = {
        **dict.fromkeys(("hd95", "assd"), f"mm; over {surface}"),
        "nsd": f"tolerance in mm: {options.tolerance}; over {surface}",
        **dict.fromkeys(
            ("lesion_f1", "lesion_sensitivity", "lesion_precision"),
            f"hit by {hit}; components share a face, edge or corner and have "
            f"{options.min_voxels} voxels or more",
        ),
        **dict.fromkeys(
            ("truth_volume", "prediction_volume", "volume_error"),
            "mL" if axes == 3 else "mm²",
        ),
    }
    figures = {**FIGURES, **(MEMBRANE_FIGURES if options.membranes else {})}
    return {key: f"{text} ({more[key]})" if key in more else text for key, text in figures.items()}


def _notes(result: dict[str, Any], known: int, unspaced: int) -> list[str]:
    notes = []
    if unspaced:
        notes.append(
            f"{unspaced} cases name no spacing: 1 mm was taken, so their distances are in pixels "
            "or voxels, areas in pixels and volumes in thousands of voxels"
        )
    if known < result["n"]:
        notes.append(
            f"{result['n'] - known} of {result['n']} cases have no known patient and count as a "
            "patient each: intervals are too narrow where patients have several"
        )
    if result["n_patients"] < 2:
        notes.append("one patient alone gives no interval")
    for name in result["class_names"]:
        distance, dice = result["hd95"][name], result["dice"][name]
        if distance["infinite"]:
            notes.append(
                f"{name}: one of the masks is empty in {distance['infinite']} cases, whose "
                "distances are infinite and left out of the means of hd95 and assd"
            )
        if dice["undefined"]:
            notes.append(
                f"{name}: both masks are empty in {dice['undefined']} cases, left out of the means"
            )
    return notes


def case_rows(cases: Sequence[CaseScores]) -> list[dict[str, Any]]:
    """One row per case and class, for a table or JSON.

    Args:
        cases: Scores.

    Returns:
        Rows with "case", "patient", "class" and every figure: a number, None where undefined,
        and the text `inf` where infinite (JSON has no such number).
    """
    return [
        {
            "case": case.case_id,
            "patient": case.patient_id,
            "class": name,
            **{key: "inf" if math.isinf(v) else number(v) for key, v in figures.items()},
        }
        for case in cases
        for name, figures in case.figures.items()
    ]
