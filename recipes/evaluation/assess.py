"""Evaluate probabilities against the truth: every figure with an interval over patients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.errors import RecipeError
from recipes.evaluation import remarks
from recipes.evaluation.bootstrap import group_index, percentile_interval, resamples, unbiased_draws
from recipes.evaluation.metrics import Array, confusion_counts
from recipes.evaluation.panel import WHOLE, Panel, figures, fits
from recipes.evaluation.question import HALF, Question, ask

_FIT_BUDGET = 10_000_000
"""Resamples x cases x classes that the recalibration fits may cost; at least 200 resamples."""


def evaluate(
    y: npt.ArrayLike,
    prob: npt.ArrayLike,
    groups: Sequence[object] | None,
    *,
    class_names: Sequence[str],
    positive: str | None,
    task: str,
    threshold: float | Sequence[float] | None = None,
    prevalence: float | None = None,
    n_boot: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    unit: str | None = None,
) -> dict[str, Any]:
    """All metrics with percentile bootstrap intervals over groups.

    A question with two classes and a named positive one is answered for that class. Without a
    named positive class, and with more classes, figures are one-versus-rest macro averages over
    the classes that occur. Multi-label figures are macro averages over the labels of which both
    values occur. `accuracy` and the plain decisions use 0.5 (binary and multi-label) or the
    arg-max; names ending in `_op` use `threshold`. `remarks.DEFINITIONS` defines each.

    Args:
        y: Class numbers, shape (N,) (`single`), or 0/1/NaN for unknown, shape (N, K)
            (`multilabel`).
        prob: Probabilities, shape (N, K); rows add up to 1 for `single`.
        groups: Patient of each case, the unit of resampling; None, or None for some cases,
            where it is unknown: such a case is a group of its own.
        class_names: K names.
        positive: Name of the positive class of a two-class problem, None if none is named.
        task: `single` or `multilabel`.
        threshold: Operating threshold of the positive class (or of each label).
        prevalence: Stated prevalence for `ppv_at_prevalence` and `npv_at_prevalence`.
        n_boot: Bootstrap resamples.
        seed: Seed of the resamples.
        level: Coverage of the intervals.
        unit: `patient` or `image`, to override what `groups` suggests.

    Returns:
        JSON-able dict: metric -> {"value", "low", "high"}, null where undefined; "n",
        "n_groups", "unit", "per_class" (name -> "n" positive, "n_known" and its metrics),
        "confusion" (rows truth, columns answer; multi-label: tp, fp, fn, tn per label),
        "notes", "definitions", and the settings.

    Raises:
        RecipeError: Arrays or settings that do not fit.
    """
    question = ask(
        y,
        prob,
        class_names=class_names,
        positive=positive,
        task=task,
        threshold=threshold,
        prevalence=prevalence,
    )
    n = len(question.prob)
    if groups is not None and len(groups) != n:
        raise RecipeError(f"{len(groups)} groups given for {n} cases")
    group_of, known = group_index(groups, n)
    n_groups = int(group_of.max()) + 1
    unit = unit or ("patient" if known == n else "image")
    point, draws = _replicates(question, group_of, n_boot, seed)
    table = {key: _entry(key[1], value, draws.get(key), level) for key, value in point.items()}
    result: dict[str, Any] = {name: table[WHOLE, name] for k, name in sorted(table) if k == WHOLE}
    for name in ("ppv_at_prevalence", "npv_at_prevalence"):
        result.setdefault(name, {"value": None, "low": None, "high": None})
    result.update(
        n=n,
        n_groups=n_groups,
        unit=unit,
        per_class=_per_class(question, table),
        confusion=_confusion(question),
        task=task,
        class_names=list(question.class_names),
        positive=positive if question.positive is not None else None,
        threshold=threshold if threshold is None else np.asarray(threshold).tolist(),
        prevalence=prevalence,
        level=level,
        n_boot=n_boot,
        seed=seed,
    )
    result["definitions"] = remarks.definitions(question)
    result["notes"] = remarks.notes(question, result, draws, known=known, n_groups=n_groups)
    return result


def _replicates(
    question: Question, group_of: npt.NDArray[np.int64], n_boot: int, seed: int
) -> tuple[dict[tuple[int, str], float], Panel]:
    """Plain figures, and their bootstrap replicates."""
    ones = np.ones((1, len(group_of)))
    whole = {**figures(question, ones), **fits(question, ones)}
    point = {key: float(value[0]) for key, value in whole.items()}
    if int(group_of.max()) < 1 or n_boot < 1:
        return point, {}
    curves = 1 if question.kind == "binary" else len(question.class_names)
    fewer = max(200, _FIT_BUDGET // (len(group_of) * curves))
    draws: Panel = {}
    for part, rows in ((figures, n_boot), (fits, min(n_boot, fewer))):
        chunks = [part(question, w) for w in resamples(group_of, rows, seed=seed)]
        for key in chunks[0]:
            draws[key] = np.concatenate([chunk[key] for chunk in chunks])
    return point, draws


def _entry(name: str, value: float, draws: Array | None, level: float) -> dict[str, float | None]:
    low = high = float("nan")
    if draws is not None and np.isfinite(value):
        if name == "ece":
            draws = unbiased_draws(draws, value)
        low, high, _ = percentile_interval(draws, level)
    return {"value": _number(value), "low": _number(low), "high": _number(high)}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _per_class(
    question: Question, table: dict[tuple[int, str], dict[str, float | None]]
) -> dict[str, dict[str, Any]]:
    out: dict[str, dict[str, Any]] = {}
    for k, name in enumerate(question.class_names):
        known = question.known(k)
        row: dict[str, Any] = {
            "n": int((question.truth[known, k] > HALF).sum()),
            "n_known": int(known.sum()),
        }
        row.update({metric: table[c, metric] for c, metric in sorted(table) if c == k})
        out[name] = row
    return out


def _confusion(question: Question) -> list[list[int]]:
    if question.kind != "multilabel":
        classes = len(question.class_names)
        matrix = confusion_counts(question.labels, question.called, classes)
        return [[int(cell) for cell in row] for row in matrix]
    rows = []
    for k in range(len(question.class_names)):
        known = question.known(k)
        truth = question.truth[known, k] > HALF
        called = question.prob[known, k] >= HALF
        cells = (truth & called, ~truth & called, truth & ~called, ~truth & ~called)
        rows.append([int(cell.sum()) for cell in cells])
    return rows
