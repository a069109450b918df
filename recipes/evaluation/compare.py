"""Is one model better than another on the same cases: the paired interval."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from recipes.errors import RecipeError
from recipes.evaluation.bootstrap import group_index, percentile_interval, resamples
from recipes.evaluation.metrics import Array
from recipes.evaluation.panel import WHOLE, figures, fits
from recipes.evaluation.question import Question, ask


def paired_difference(
    y: npt.ArrayLike,
    prob_a: npt.ArrayLike,
    prob_b: npt.ArrayLike,
    groups: Sequence[object] | None,
    metric: str,
    *,
    class_names: Sequence[str],
    positive: str | None,
    task: str,
    thresholds: tuple[float | None, float | None] = (None, None),
    n_boot: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, float | None]:
    """Figure of model a minus figure of model b, on the same cases and the same resamples.

    Both models see each bootstrap resample of groups, so what is common to them (hard cases)
    cancels; the interval is narrower than that of two separate ones. It leaves out training
    variability like those of `evaluate`.

    Args:
        y: Truth as for `evaluate`.
        prob_a: Probabilities of model a, shape (N, K).
        prob_b: Probabilities of model b, shape (N, K).
        groups: Patient of each case, None where unknown.
        metric: A key of `evaluate`, e.g. "auc".
        class_names: K names.
        positive: Positive class or None.
        task: `single` or `multilabel`.
        thresholds: Operating thresholds of a and b, for metrics ending in `_op`.
        n_boot: Bootstrap resamples.
        seed: Seed of the resamples.
        level: Coverage.

    Returns:
        {"value", "low", "high"}, null where undefined.

    Raises:
        RecipeError: Arrays that do not fit, or an unknown metric.
    """
    pair = tuple(
        ask(y, p, class_names=class_names, positive=positive, task=task, threshold=t)
        for p, t in zip((prob_a, prob_b), thresholds, strict=True)
    )
    n = len(pair[0].prob)
    if len(pair[1].prob) != n or (groups is not None and len(groups) != n):
        raise RecipeError("both models and the groups must cover the same cases in one order")
    group_of, _ = group_index(groups, n)
    value = float(_gap(pair, metric, np.ones((1, n)))[0])
    low = high = float("nan")
    if int(group_of.max()) >= 1 and np.isfinite(value):
        draws = [_gap(pair, metric, w) for w in resamples(group_of, n_boot, seed=seed)]
        low, high, _ = percentile_interval(np.concatenate(draws), level)
    ends = {"value": value, "low": low, "high": high}
    return {name: float(v) if np.isfinite(v) else None for name, v in ends.items()}


def _gap(pair: tuple[Question, ...], metric: str, weights: Array) -> Array:
    a, b = (_figure(question, metric, weights) for question in pair)
    return a - b


def _figure(question: Question, metric: str, weights: Array) -> Array:
    panel = (fits if metric.startswith("calibration_") else figures)(question, weights)
    if (WHOLE, metric) not in panel:
        known = sorted(name for k, name in panel if k == WHOLE)
        near = difflib.get_close_matches(metric, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise RecipeError(f"unknown metric {metric!r}; {hint}known: {', '.join(known)}")
    return panel[WHOLE, metric]
