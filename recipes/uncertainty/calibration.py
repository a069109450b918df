"""Temperature and prediction sets from calibration cases, never chosen and judged on the same.

The conformal scores of a case are made with a temperature that was fitted without its patient
(cross-fitting), and where calibration cases themselves are judged, a whole calibration without
their fold judges them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.errors import RecipeError
from recipes.uncertainty.conformal import Method, class_quantiles, conformal_scores, prediction_sets
from recipes.uncertainty.temperature import fit_temperature

Array = npt.NDArray[np.float64]
FOLDS = 5
LEAST = 10
"""Fewest patients from whom a temperature is fitted."""


@dataclass(frozen=True)
class Rules:
    """How to calibrate.

    Attributes:
        kind: ``single`` or ``multilabel`` (which has no prediction sets).
        coverage: Wanted coverage of the prediction sets.
        method: Conformal score.
        per_class: Hold the coverage within each true class.
        seed: Seed of the folds.
    """

    kind: str = "single"
    coverage: float = 0.9
    method: Method = "lac"
    per_class: bool = False
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Calibration:
    """What calibration found.

    Attributes:
        rules: How it was done.
        temperature: T; 1 where none could be fitted.
        quantiles: ``(k,)`` conformal quantile of every class, infinite where there are too few
            patients; None for multi-label.
        notes: What the reader must know.
    """

    rules: Rules
    temperature: float
    quantiles: Array | None
    notes: tuple[str, ...] = field(default=())

    def probabilities(self, logits: npt.NDArray[Any]) -> Array:
        """Calibrated probabilities of ``(n, k)`` logits."""
        return scaled(logits, self.temperature, self.rules.kind)

    def sets(self, logits: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Prediction sets of ``(n, k)`` logits.

        Raises:
            RecipeError: A multi-label task, which has none.
        """
        if self.quantiles is None:
            raise RecipeError("a multi-label task has no prediction sets")
        scores = conformal_scores(self.probabilities(logits), method=self.rules.method)
        return prediction_sets(scores, self.quantiles)


def fit_calibration(
    logits: npt.NDArray[Any],
    targets: npt.NDArray[Any],
    group_of: npt.NDArray[np.int64],
    rules: Rules,
) -> Calibration:
    """Calibrate on cases that the network was not trained on.

    The temperature is fitted on all of them; the conformal scores use temperatures fitted without
    the scored patient. Patients count once however many images they have.

    Args:
        logits: ``(n, k)``.
        targets: ``(n, k)`` one-hot, or 0/1 with NaN unknown.
        group_of: ``(n,)`` number of each case's patient (`evaluation.bootstrap.group_index`).
        rules: How.

    Raises:
        RecipeError: No case, or arrays that do not fit.
    """
    z, y = np.asarray(logits, "float64"), np.asarray(targets, "float64")
    if len(z) == 0 or z.shape != y.shape or len(group_of) != len(z):
        raise RecipeError(
            f"calibration needs logits, targets and patients of the same cases; got {z.shape}, "
            f"{y.shape} and {np.shape(group_of)}"
        )
    temperature = _temperature(z, y, group_of, rules)
    notes = []
    if temperature is None:
        notes.append(_why_none(group_of))
    if rules.kind != "single":
        return Calibration(rules, temperature or 1.0, None, tuple(notes))
    scores = np.empty_like(z)
    for fold in _folds(group_of, rules.seed):
        without = ~fold
        t = _temperature(z[without], y[without], group_of[without], rules) or 1.0
        scores[fold] = conformal_scores(scaled(z[fold], t, rules.kind), method=rules.method)
    quantiles = class_quantiles(
        scores,
        y.argmax(axis=1),
        group_of,
        coverage=rules.coverage,
        per_class=rules.per_class,
    )
    if not np.isfinite(quantiles).all():
        notes.append(
            f"Too few validation patients for a coverage of {rules.coverage:.0%}"
            + (" within each class" if rules.per_class else "")
            + ": the prediction sets hold classes that could not be excluded."
        )
    return Calibration(rules, temperature or 1.0, quantiles, tuple(notes))


@dataclass(frozen=True, eq=False)
class Judged:
    """Answers for cases by a calibration that had not seen their patients.

    Attributes:
        prob: ``(n, k)`` calibrated probabilities.
        sets: ``(n, k)`` prediction sets; None for multi-label.
    """

    prob: Array
    sets: npt.NDArray[np.bool_] | None


def apply(calibration: Calibration, logits: npt.NDArray[Any]) -> Judged:
    """Answers for cases that took no part in the calibration."""
    sets = None if calibration.quantiles is None else calibration.sets(logits)
    return Judged(calibration.probabilities(logits), sets)


def cross_apply(
    logits: npt.NDArray[Any],
    targets: npt.NDArray[Any],
    group_of: npt.NDArray[np.int64],
    rules: Rules,
) -> Judged | None:
    """Answers for the calibration cases themselves, each by a calibration without its fold.

    Returns:
        The answers; None where one patient is all there is.
    """
    if int(group_of.max()) < 1:
        return None
    prob = np.empty(np.shape(logits), "float64")
    sets = np.zeros(np.shape(logits), bool)
    for fold in _folds(group_of, rules.seed + 1):
        part = fit_calibration(logits[~fold], targets[~fold], group_of[~fold], rules)
        judged = apply(part, logits[fold])
        prob[fold] = judged.prob
        if judged.sets is not None:
            sets[fold] = judged.sets
    return Judged(prob, sets if rules.kind == "single" else None)


def scaled(logits: npt.NDArray[Any], temperature: float, kind: str) -> Array:
    """Probabilities of logits at a temperature."""
    from recipes.engine.losses import probabilities

    z = np.asarray(logits, "float64") / temperature
    return probabilities(z, task="single" if kind == "single" else "multilabel")


def patient_weights(group_of: npt.NDArray[np.int64]) -> Array:
    """Weight of every case such that each patient weighs 1 in all."""
    _, places, sizes = np.unique(group_of, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / sizes[places])


def fold_of(group_of: npt.NDArray[np.int64], seed: int, folds: int = FOLDS) -> npt.NDArray[Any]:
    """Number of each case's fold; patients are whole, and folds as equal as they can be."""
    names, places = np.unique(group_of, return_inverse=True)
    drawn = np.random.default_rng([seed, len(names)]).permutation(len(names))
    return np.asarray(drawn[places] % min(folds, len(names)))


def _folds(group_of: npt.NDArray[np.int64], seed: int) -> list[npt.NDArray[np.bool_]]:
    """Masks of the folds; a single patient is a fold of its own, and nothing is left without it."""
    numbers = fold_of(group_of, seed)
    return [numbers == f for f in np.unique(numbers)]


def _temperature(z: Array, y: Array, group_of: npt.NDArray[np.int64], rules: Rules) -> float | None:
    if len(np.unique(group_of)) < LEAST or not np.isfinite(y).any():
        return None
    return fit_temperature(y, z, patient_weights(group_of), kind=rules.kind)


def _why_none(group_of: npt.NDArray[np.int64]) -> str:
    n = len(np.unique(group_of))
    if n < LEAST:
        return (
            f"{n} validation patients are too few to fit a temperature (at least {LEAST}): the "
            "probabilities are left as they are."
        )
    return (
        "No temperature makes the probabilities of the validation cases fit best (all are right, "
        "or none is telling): they are left as they are."
    )
