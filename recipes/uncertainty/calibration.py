"""Temperature and prediction sets from calibration cases, never chosen and judged on the same.

The conformal scores of a case are made with a temperature that was fitted without its patient
(cross-fitting), and where calibration cases themselves are judged, a whole calibration without
their fold judges them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.errors import RecipeError
from recipes.uncertainty.conformal import (
    Method,
    class_quantiles,
    conformal_scores,
    least_units,
    prediction_sets,
)
from recipes.uncertainty.temperature import fit_temperature

Array = npt.NDArray[np.float64]
FOLDS = 5
LEAST = 10
"""Fewest patients from whom a temperature is fitted."""
EACH = 5
"""Fewest patients with, and fewest without a label from whom its temperature is fitted."""


@dataclass(frozen=True)
class Rules:
    """How to calibrate.

    Attributes:
        kind: ``single``; or ``multilabel``, where each label is a question of its own with two
            answers, absent and present, and the coverage is held within each answer.
        coverage: Wanted coverage of the prediction sets.
        method: Conformal score.
        per_class: Hold the coverage within each true class (of labels it always is).
        seed: Seed of the folds.
        each: Fewest patients of every class from whom a temperature is fitted.
    """

    kind: str = "single"
    coverage: float = 0.9
    method: Method = "lac"
    per_class: bool = False
    seed: int = 0
    each: int = 0


@dataclass(frozen=True, eq=False)
class Calibration:
    """What calibration found of one question.

    Attributes:
        rules: How it was done.
        temperature: T; 1 where none could be fitted.
        quantiles: ``(k,)`` conformal quantile of every class, infinite where there are too few
            patients.
        notes: What the reader must know.
    """

    rules: Rules
    temperature: float
    quantiles: Array
    notes: tuple[str, ...] = field(default=())

    def probabilities(self, logits: npt.NDArray[Any]) -> Array:
        """Calibrated probabilities of ``(n, k)`` logits."""
        return scaled(logits, self.temperature)

    def sets(self, logits: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Prediction sets of ``(n, k)`` logits, of the same shape."""
        scores = conformal_scores(self.probabilities(logits), method=self.rules.method)
        return prediction_sets(scores, self.quantiles)


@dataclass(frozen=True, eq=False)
class LabelCalibration:
    """What calibration found of labels that do not exclude each other.

    Attributes:
        rules: How it was done.
        labels: Calibration of every label, its classes being absent and present.
        notes: What the reader must know.
    """

    rules: Rules
    labels: tuple[Calibration, ...]
    notes: tuple[str, ...] = field(default=())

    def probabilities(self, logits: npt.NDArray[Any]) -> Array:
        """Calibrated probabilities that a label is present, of ``(n, k)`` logits."""
        pairs = zip(self.labels, np.transpose(logits), strict=True)
        return np.stack([one.probabilities(two_sided(z))[:, 1] for one, z in pairs], axis=1)

    def sets(self, logits: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Which answers the set of each label holds, ``(n, k, 2)``: absent, present."""
        pairs = zip(self.labels, np.transpose(logits), strict=True)
        return np.stack([one.sets(two_sided(z)) for one, z in pairs], axis=1)


def fit_calibration(
    logits: npt.NDArray[Any],
    targets: npt.NDArray[Any],
    group_of: npt.NDArray[np.int64],
    rules: Rules,
    names: Sequence[str] = (),
) -> Calibration | LabelCalibration:
    """Calibrate on cases that the network was not trained on.

    The temperature is fitted on all of them; the conformal scores use temperatures fitted without
    the scored patient. Patients count once however many images they have.

    Args:
        logits: ``(n, k)``.
        targets: ``(n, k)`` one-hot, or 0/1 with NaN unknown.
        group_of: ``(n,)`` number of each case's patient (`evaluation.bootstrap.group_index`).
        rules: How.
        names: Names of labels, for the notes.

    Raises:
        RecipeError: No case, or arrays that do not fit.
    """
    z, y = np.asarray(logits, "float64"), np.asarray(targets, "float64")
    if len(z) == 0 or z.shape != y.shape or len(group_of) != len(z):
        raise RecipeError(
            f"calibration needs logits, targets and patients of the same cases; got {z.shape}, "
            f"{y.shape} and {np.shape(group_of)}"
        )
    if rules.kind != "single":
        return _fit_labels(z, y, group_of, rules, names)
    temperature = None
    if _enough(y, group_of, rules.each):
        temperature = fit_temperature(y, z, patient_weights(group_of), kind="single")
    notes = [] if temperature is not None else [_why_none(y, group_of, rules.each)]
    scores = np.empty_like(z)
    for fold in _folds(group_of, rules.seed):
        t = _without(fold, z, y, group_of, temperature)
        scores[fold] = conformal_scores(scaled(z[fold], t), method=rules.method)
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


def _fit_labels(
    z: Array, y: Array, group_of: npt.NDArray[np.int64], rules: Rules, names: Sequence[str]
) -> LabelCalibration:
    """Each label by the patients of whom it is known; where an answer has too few, both answers."""
    own = replace(rules, kind="single", per_class=True, each=EACH)
    labels, unscaled, unsure = [], [], []
    for k in range(z.shape[1]):
        name = names[k] if names else f"label {k}"
        known = np.isfinite(y[:, k])
        found = Calibration(own, 1.0, np.full(2, np.inf), ("unknown",))
        if known.any():
            truth = np.eye(2)[y[known, k].astype("int64")]
            fitted = fit_calibration(two_sided(z[known, k]), truth, group_of[known], own)
            assert isinstance(fitted, Calibration)
            found = fitted
        if found.temperature == 1.0 and found.notes:
            unscaled.append(name)
        if not np.isfinite(found.quantiles).all():
            unsure.append(name)
            found = replace(found, quantiles=np.full(2, np.inf))
        labels.append(found)
    notes = []
    if unscaled:
        notes.append(
            f"No temperature was fitted for {', '.join(unscaled)}: fewer than {EACH} validation "
            f"patients with and {EACH} without it ({LEAST} in all), or none fits best. These "
            "probabilities are left as they are."
        )
    if unsure:
        notes.append(
            f"Fewer than {least_units(rules.coverage)} validation patients with or without "
            f"{', '.join(unsure)}, too few for a coverage of {rules.coverage:.0%} of each answer: "
            "their sets always hold both answers, absent and present."
        )
    return LabelCalibration(rules, tuple(labels), tuple(notes))


@dataclass(frozen=True, eq=False)
class Judged:
    """Answers for cases by a calibration that had not seen their patients.

    Attributes:
        prob: ``(n, k)`` calibrated probabilities.
        sets: ``(n, k)`` prediction sets; ``(n, k, 2)`` for labels: absent, present.
    """

    prob: Array
    sets: npt.NDArray[np.bool_]


def apply(calibration: Calibration | LabelCalibration, logits: npt.NDArray[Any]) -> Judged:
    """Answers for cases that took no part in the calibration."""
    return Judged(calibration.probabilities(logits), calibration.sets(logits))


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
    shape = np.shape(logits)
    prob = np.empty(shape, "float64")
    sets = np.zeros(shape if rules.kind == "single" else (*shape, 2), bool)
    for fold in _folds(group_of, rules.seed + 1):
        part = fit_calibration(logits[~fold], targets[~fold], group_of[~fold], rules)
        judged = apply(part, logits[fold])
        prob[fold], sets[fold] = judged.prob, judged.sets
    return Judged(prob, sets)


def two_sided(logit: npt.NDArray[Any]) -> Array:
    """Logits ``(n, 2)`` of absent and present, whose softmax is the sigmoid of ``(n,)`` logits."""
    z = np.asarray(logit, "float64")
    return np.stack([np.zeros_like(z), z], axis=1)


def scaled(logits: npt.NDArray[Any], temperature: float) -> Array:
    """Softmax of logits at a temperature."""
    from recipes.engine.losses import probabilities

    return probabilities(np.asarray(logits, "float64") / temperature, task="single")


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


def _without(
    fold: npt.NDArray[np.bool_],
    z: Array,
    y: Array,
    group_of: npt.NDArray[np.int64],
    whole: float | None,
) -> float:
    """Temperature of the cases outside a fold; where all cases have none, 1 here too.

    Scores at one scale and sets at another would not have the stated coverage.
    """
    rest = ~fold
    if whole is None or not rest.any():
        return 1.0
    found = fit_temperature(y[rest], z[rest], patient_weights(group_of[rest]), kind="single")
    return found or whole


def _enough(y: Array, group_of: npt.NDArray[np.int64], each: int) -> bool:
    """Whether there are patients enough for a temperature."""
    classes = y.argmax(axis=1)
    fewest = min(len(np.unique(group_of[classes == k])) for k in range(y.shape[1]))
    return len(np.unique(group_of)) >= LEAST and fewest >= each


def _why_none(y: Array, group_of: npt.NDArray[np.int64], each: int) -> str:
    n = len(np.unique(group_of))
    if not _enough(y, group_of, each):
        return (
            f"{n} validation patients are too few to fit a temperature (at least {LEAST}): the "
            "probabilities are left as they are."
        )
    return (
        "No temperature makes the probabilities of the validation cases fit best (all are right, "
        "or none is telling): they are left as they are."
    )
