"""Bands of a learning curve: over patients of the scored part and over draws of training patients.

Each replicate draws scored patients with replacement, and repeats (draws of training patients, or
folds) with replacement as well; all curves see the same draw, which pairs their differences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.evaluation.bootstrap import group_index, percentile_interval, resamples
from recipes.evaluation.panel import WHOLE, figures
from recipes.evaluation.question import Question

Array = npt.NDArray[np.float64]
Key = tuple[str, int, int]
"""Weights, size, repeat."""


@dataclass(frozen=True)
class Point:
    """A fitted point: what it answered on its scored part.

    Attributes:
        question: Truth and probabilities.
        cases: Case ids in the order of the question.
        patients: Patient of each, None where unknown.
    """

    question: Question
    cases: tuple[str, ...]
    patients: tuple[str | None, ...]


def replicates(
    points: Mapping[Key, Point], metric: str, *, n_boot: int, seed: int
) -> tuple[dict[Key, float], dict[tuple[str, int], Array]]:
    """The figure of every point, and bootstrap replicates of the mean of each weights and size.

    Args:
        points: All points.
        metric: A key of ``recipes.evaluation.evaluate``.
        n_boot: Replicates.
        seed: Seed.

    Returns:
        Figure of each point; and (weights, size) to ``(n_boot,)``, NaN where undefined.
    """
    patient_of: dict[str, str | None] = {}
    for point in points.values():
        patient_of |= dict(zip(point.cases, point.patients, strict=True))
    cases = sorted(patient_of)
    place = {case: i for i, case in enumerate(cases)}
    group_of, _ = group_index([patient_of[case] for case in cases], len(cases))
    rows = {key: np.array([place[c] for c in point.cases]) for key, point in points.items()}
    plain = {
        key: float(_figure(point.question, metric, np.ones((1, len(point.cases))))[0])
        for key, point in points.items()
    }
    drawn: dict[Key, list[Array]] = {key: [] for key in points}
    if int(group_of.max()) >= 1:
        for weights in resamples(group_of, n_boot, seed=seed):
            for key, point in points.items():
                drawn[key].append(_figure(point.question, metric, weights[:, rows[key]]))
    rng = np.random.default_rng([seed, 1])
    repeats = sorted({key[2] for key in points})
    picks = rng.integers(0, len(repeats), size=(n_boot, len(repeats)))
    means: dict[tuple[str, int], Array] = {}
    for weights_name, size in sorted({key[:2] for key in points}):
        table = np.full((n_boot, len(repeats)), np.nan)
        for column, repeat in enumerate(repeats):
            found = drawn.get((weights_name, size, repeat))
            if found:
                table[:, column] = np.concatenate(found)
        means[weights_name, size] = _mean(np.take_along_axis(table, picks, axis=1))
    return plain, means


def _mean(table: Array) -> Array:
    """Mean of the defined values of each row; NaN without any."""
    defined = np.isfinite(table)
    count = defined.sum(axis=1)
    total = np.where(defined, table, 0.0).sum(axis=1)
    return np.asarray(np.divide(total, count, out=np.full(len(table), np.nan), where=count > 0))


def _figure(question: Question, metric: str, weights: Array) -> Array:
    return figures(question, weights)[WHOLE, metric]


def band(value: float, draws: Array, level: float = 0.95) -> dict[str, float | None]:
    """A figure with the percentile interval of its replicates; null where undefined."""
    low, high, _ = percentile_interval(draws, level) if len(draws) else (np.nan, np.nan, 0)
    ends = {"value": value, "low": low, "high": high}
    return {name: float(v) if np.isfinite(v) else None for name, v in ends.items()}


def curve_rows(
    points: Mapping[Key, Point],
    plain: Mapping[Key, float],
    means: Mapping[tuple[str, int], Array],
    weights: Sequence[str],
) -> list[dict[str, Any]]:
    """One row for each weights and size: mean over repeats with its band, and the difference.

    The difference is that to the first of the weights on the same sizes, repeats and cases.
    """
    rows = []
    for name in weights:
        for size in sorted({key[1] for key in points if key[0] == name}):
            own = {k[2]: v for k, v in plain.items() if k[:2] == (name, size)}
            value = float(np.mean(list(own.values())))
            row: dict[str, Any] = {
                "weights": name,
                "patients": size,
                "repeats": len(own),
                "figure": band(value, means[name, size]),
                "each": [own[r] for r in sorted(own)],
                "difference": None,
            }
            other = {k[2]: v for k, v in plain.items() if k[:2] == (weights[0], size)}
            if name != weights[0] and set(other) == set(own):
                gap = value - float(np.mean(list(other.values())))
                row["difference"] = band(gap, means[name, size] - means[weights[0], size])
            rows.append(row)
    return rows
