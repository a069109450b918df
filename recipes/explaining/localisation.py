"""How well an attribution points at what is known to be there: pure functions on arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.evaluation.bootstrap import group_index, percentile_interval, resamples

Array = npt.NDArray[Any]

MEASURES = ("pointing", "energy")


def pointing_hit(heat: Array, truth: Array) -> float:
    """Pointing game (Zhang et al., 2016, arXiv:1608.00507): is the highest place inside the truth?

    Args:
        heat: ``(*grid)``, finite.
        truth: Boolean, on the same grid.

    Returns:
        1.0 or 0.0; where several places are equally high the share of them that is inside, which
        is what choosing one of them at random gives. NaN where there is no truth.

    Raises:
        ValueError: The grids differ, or ``heat`` is not finite.
    """
    inside = _checked(heat, truth)
    if not inside.any():
        return float("nan")
    return float(inside[heat == heat.max()].mean())


def energy_inside(heat: Array, truth: Array) -> float:
    """Share of an attribution that lies inside the truth (Wang et al., 2020, arXiv:1910.01279).

    Args:
        heat: ``(*grid)``, finite; what is negative does not count.
        truth: Boolean, on the same grid.

    Returns:
        In [0, 1]; for a map without anything positive the share of a flat map. NaN where there is
        no truth.

    Raises:
        ValueError: The grids differ, or ``heat`` is not finite.
    """
    inside = _checked(heat, truth)
    if not inside.any():
        return float("nan")
    energy = np.maximum(heat, 0).astype(np.float64)
    whole = energy.sum()
    return float(energy[inside].sum() / whole) if whole > 0 else float(inside.mean())


def by_chance(truth: Array) -> float:
    """What a place chosen at random scores in the pointing game, and a flat map in energy.

    Args:
        truth: Boolean ``(*grid)``.

    Returns:
        The share of the grid that the truth takes; NaN where there is none.
    """
    inside = np.asarray(truth, bool)
    return float(inside.mean()) if inside.any() else float("nan")


def at_centre(truth: Array) -> float:
    """What pointing at the middle of the image scores, whatever it shows.

    Args:
        truth: Boolean ``(*grid)``.

    Returns:
        1.0 or 0.0; NaN where there is no truth.
    """
    inside = np.asarray(truth, bool)
    if not inside.any():
        return float("nan")
    return float(inside[tuple(n // 2 for n in inside.shape)])


def mean_with_interval(
    values: Sequence[float],
    groups: Sequence[object] | None,
    *,
    n_boot: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, float | None]:
    """Mean of the defined values, with a percentile interval over whole patients.

    Args:
        values: One a question, NaN where undefined.
        groups: Patient of each; unknown ones are each a patient of their own.
        n_boot: Bootstrap replicates.
        seed: Their seed.
        level: Coverage.

    Returns:
        ``value``, ``low``, ``high`` (None where undefined), ``n`` values and ``groups``.
    """
    found = np.asarray(values, np.float64)
    kept = np.isfinite(found)
    names = None if groups is None else [g for g, k in zip(groups, kept, strict=True) if k]
    found = found[kept]
    if not len(found):
        return {"value": None, "low": None, "high": None, "n": 0, "groups": 0}
    group_of, _ = group_index(names, len(found))
    draws = np.concatenate([
        (weights @ found) / weights.sum(axis=1)
        for weights in resamples(group_of, n_boot, seed=seed)
    ])  # fmt: skip
    count = int(group_of.max()) + 1
    low, high, _ = percentile_interval(draws, level)
    wide = count > 1 and np.isfinite(low)
    return {
        "value": float(found.mean()),
        "low": low if wide else None,
        "high": high if wide else None,
        "n": len(found),
        "groups": count,
    }


def summarised(
    rows: Sequence[Mapping[str, Any]], *, n_boot: int = 1000, seed: int = 0
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Figures of each method, and of chance and of the image's middle beside them.

    Args:
        rows: ``case``, ``question``, ``method``, ``patient``, and ``pointing``, ``energy``,
            ``chance`` and ``centre``, None where there is no truth.
        n_boot: Bootstrap replicates.
        seed: Their seed; the same resamples for every method.

    Returns:
        Method -> measure -> figure; empty where no row has truth.
    """
    scored = [row for row in rows if row.get("pointing") is not None]
    if not scored:
        return {}
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    options: dict[str, Any] = {"n_boot": n_boot, "seed": seed}
    for method in dict.fromkeys(str(row["method"]) for row in scored):
        mine = [row for row in scored if row["method"] == method]
        patients = [row["patient"] for row in mine]
        found[method] = {
            measure: mean_with_interval([row[measure] for row in mine], patients, **options)
            for measure in MEASURES
        }
    once = list({(row["case"], row["question"]): row for row in scored}.values())
    patients = [row["patient"] for row in once]
    chance = mean_with_interval([row["chance"] for row in once], patients, **options)
    centre = mean_with_interval([row["centre"] for row in once], patients, **options)
    return found | {"random place": {"pointing": chance, "energy": chance},
                    "middle of the image": {"pointing": centre}}  # fmt: skip


def _checked(heat: Array, truth: Array) -> npt.NDArray[np.bool_]:
    inside = np.asarray(truth, bool)
    if np.shape(heat) != inside.shape:
        raise ValueError(f"an attribution of {np.shape(heat)} and a truth of {inside.shape}")
    if not np.isfinite(heat).all():
        raise ValueError("the attribution holds values that are not finite")
    return inside
