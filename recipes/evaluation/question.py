"""What is asked of a classifier, checked once: truth, probabilities, classes, thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from recipes.errors import RecipeError
from recipes.evaluation.metrics import Array

Kind = Literal["binary", "multiclass", "multilabel"]

HALF = 0.5
"""Threshold of the plain figures (those whose name does not end in `_op`)."""


@dataclass(frozen=True)
class Question:
    """Truth and answers of one evaluation, validated.

    Attributes:
        kind: `binary` (two classes, one of them named positive), `multiclass` (also two classes
            of which none is named positive) or `multilabel`.
        truth: One-hot or multi-label truth, shape (N, K); NaN where unknown (multi-label only).
        prob: Probabilities, shape (N, K).
        class_names: K names.
        positive: Column of the positive class (binary only).
        thresholds: Operating threshold per column, or None.
        prevalence: Stated share of positive cases, or None.
    """

    kind: Kind
    truth: Array
    prob: Array
    class_names: tuple[str, ...]
    positive: int | None
    thresholds: tuple[float, ...] | None
    prevalence: float | None

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Class number of each case, shape (N,) (single-label questions)."""
        return np.asarray(np.argmax(self.truth, axis=1))

    @property
    def called(self) -> npt.NDArray[np.int64]:
        """Class the model answers: 0.5 for a binary question, else the arg-max; shape (N,)."""
        if self.positive is None:
            return np.asarray(np.argmax(self.prob, axis=1))
        yes = self.prob[:, self.positive] >= HALF
        return np.where(yes, self.positive, 1 - self.positive)

    def known(self, column: int) -> npt.NDArray[np.bool_]:
        """Cases whose truth is known in this column, shape (N,)."""
        return np.isfinite(self.truth[:, column])

    def both(self) -> list[int]:
        """Columns in which both values occur."""
        columns = []
        for k in range(len(self.class_names)):
            values = self.truth[self.known(k), k]
            if (values > HALF).any() and (values <= HALF).any():
                columns.append(k)
        return columns


def ask(
    y: npt.ArrayLike,
    prob: npt.ArrayLike,
    *,
    class_names: Sequence[str],
    positive: str | None,
    task: str,
    threshold: float | Sequence[float] | None = None,
    prevalence: float | None = None,
) -> Question:
    """Check the arrays and put them into one form.

    Raises:
        RecipeError: Shapes that do not fit, probabilities that are not, unknown class names.
    """
    names = tuple(str(name) for name in class_names)
    p = _probabilities(prob, names, task)
    if task == "single":
        truth = _one_hot(y, len(p), names)
        binary = positive is not None and len(names) == 2
        if positive is not None and positive not in names:
            raise RecipeError(f"positive class {positive!r} is not among the classes {list(names)}")
        kind: Kind = "binary" if binary else "multiclass"
    else:
        truth, binary, kind = _multi_hot(y, p.shape), False, "multilabel"
    if prevalence is not None and not 0 < prevalence < 1:
        raise RecipeError(f"prevalence {prevalence!r} must lie between 0 and 1, e.g. 0.05")
    return Question(
        kind=kind,
        truth=truth,
        prob=p,
        class_names=names,
        positive=names.index(positive) if binary and positive is not None else None,
        thresholds=_thresholds(threshold, kind, len(names)),
        prevalence=prevalence,
    )


def _probabilities(prob: npt.ArrayLike, names: tuple[str, ...], task: str) -> Array:
    if task not in ("single", "multilabel"):
        raise RecipeError(f"unknown task {task!r}; known: single, multilabel")
    p = np.asarray(prob, dtype=np.float64)
    if p.ndim != 2 or p.shape[1] != len(names):
        raise RecipeError(f"probabilities have shape {p.shape}, expected (N, {len(names)})")
    if len(p) == 0:
        raise RecipeError("no case to evaluate")
    if task == "single" and len(names) < 2:
        raise RecipeError(f"one class only ({names}): there is nothing to tell apart")
    if not np.isfinite(p).all() or p.min() < -1e-6 or p.max() > 1 + 1e-6:
        raise RecipeError("probabilities must be finite and between 0 and 1 (not logits)")
    if task == "single" and float(np.abs(p.sum(axis=1) - 1).max()) > 1e-3:
        raise RecipeError("the class probabilities of a case must add up to 1")
    return np.clip(p, 0.0, 1.0)


def _one_hot(y: npt.ArrayLike, n: int, names: tuple[str, ...]) -> Array:
    raw: np.ndarray[Any, Any] = np.asarray(y)
    if raw.shape != (n,):
        raise RecipeError(f"truth has shape {raw.shape}, expected ({n},)")
    labels = raw.astype(np.int64)
    if not np.array_equal(labels, raw) or labels.min() < 0 or labels.max() >= len(names):
        raise RecipeError(f"truth must hold class numbers 0..{len(names) - 1}")
    return np.asarray(np.eye(len(names))[labels])


def _multi_hot(y: npt.ArrayLike, shape: tuple[int, ...]) -> Array:
    truth = np.asarray(y, dtype=np.float64)
    if truth.shape != shape:
        raise RecipeError(f"truth has shape {truth.shape}, expected {shape}")
    known = truth[np.isfinite(truth)]
    if not np.isin(known, (0.0, 1.0)).all():
        raise RecipeError("multi-label truth must be 0, 1 or NaN (unknown)")
    return truth


def _thresholds(
    threshold: float | Sequence[float] | None, kind: Kind, classes: int
) -> tuple[float, ...] | None:
    if threshold is None or kind == "multiclass":
        return None
    values = np.atleast_1d(np.asarray(threshold, dtype=np.float64))
    if len(values) == 1:
        values = np.repeat(values, classes)
    if len(values) != classes or not np.isfinite(values).all():
        raise RecipeError(f"expected one threshold, or one for each of the {classes} labels")
    return tuple(float(v) for v in values)
