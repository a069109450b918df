"""A support vector machine with a radial kernel: one kernel matrix for all costs of a fold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Fold = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
MOST = 8000
"""Training rows up to which the kernel matrix is kept (0.5 GB); above, libsvm computes its rows."""
_AT_ONCE = 1024


class Kernel:
    """Standardised training rows and the radial kernel between them.

    The width is scikit-learn's ``gamma="scale"``: one over features times variance.
    """

    def __init__(self, x: Array) -> None:
        """Standardise the rows and compute the matrix.

        Args:
            x: ``(n, f)``.
        """
        from sklearn.preprocessing import StandardScaler

        self.scaler = StandardScaler().fit(x)
        self.rows: Array = np.ascontiguousarray(self.scaler.transform(x))
        variance = float(self.rows.var())
        self.gamma = 1.0 / (self.rows.shape[1] * variance) if variance > 0 else 1.0
        self.lengths = np.square(self.rows).sum(axis=1)
        self.matrix = self.between(self.rows) if len(x) <= MOST else None

    def between(self, z: Array) -> Array:
        """Kernel of standardised ``(m, f)`` rows and the training rows, ``(m, n)``."""
        squares = np.square(z).sum(axis=1)[:, None] + self.lengths - 2.0 * (z @ self.rows.T)
        return np.asarray(np.exp(-self.gamma * np.maximum(squares, 0.0)))

    def fit(self, y: npt.NDArray[np.int64], cost: float, *, seed: int) -> Any:
        """A machine of a cost; classes weigh alike."""
        from sklearn.svm import SVC

        if self.matrix is None:
            model = SVC(C=cost, gamma=self.gamma, class_weight="balanced", random_state=seed)
            return model.fit(self.rows, y)
        model = SVC(C=cost, kernel="precomputed", class_weight="balanced", random_state=seed)
        return model.fit(self.matrix, y)

    def decide(self, model: Any, x: Array) -> tuple[Array, npt.NDArray[np.int64]]:
        """Decision values ``(m, 1)`` or ``(m, k)``, and answers, of ``(m, f)`` rows."""
        values, answers = [], []
        for start in range(0, len(x), _AT_ONCE):
            z = self.scaler.transform(x[start : start + _AT_ONCE])
            given = z if self.matrix is None else self.between(z)
            values.append(np.asarray(model.decision_function(given)).reshape(len(z), -1))
            answers.append(model.predict(given))
        return np.concatenate(values), np.concatenate(answers)


@dataclass(frozen=True, eq=False)
class Machine:
    """A fitted machine whose cost was chosen by the inner folds.

    Attributes:
        kernel: Its training rows.
        model: The machine on all of them.
        calibrator: Decision values to probabilities (Platt 1999), fitted on values of the inner
            folds, each by a machine without it.
        cost: The chosen cost.
        inner: Mean score of the inner folds at that cost.
    """

    kernel: Kernel
    model: Any
    calibrator: Any
    cost: float
    inner: float

    def probabilities(self, x: Array) -> Array:
        """Probabilities ``(m, classes)`` of rows, in the order of ``model.classes_``."""
        values, _ = self.kernel.decide(self.model, x)
        return np.asarray(self.calibrator.predict_proba(values))


def fit_machine(
    x: Array,
    y: npt.NDArray[np.int64],
    folds: Sequence[Fold],
    costs: Sequence[float],
    *,
    seed: int,
    step: Callable[[], None] = lambda: None,
) -> Machine:
    """Choose the cost by the inner folds, fit all rows, calibrate on the folds' decision values.

    What a grid search and a ``CalibratedClassifierCV(ensemble=False)`` of scikit-learn give, with
    the kernel of a fold computed once for all costs, and with the calibration from the machines
    that the search has fitted already.

    Args:
        x: ``(n, f)``.
        y: Class numbers, ``(n,)``.
        folds: Training and held-out rows of each inner fold.
        costs: Costs that are tried. The score is the AUC; balanced accuracy with more than two
            classes.
        seed: Seed.
        step: Called after every fit.
    """
    values: dict[float, list[Array]] = {cost: [] for cost in costs}
    scores: dict[float, list[float]] = {cost: [] for cost in costs}
    for train, held in folds:
        kernel = Kernel(x[train])
        for cost in costs:
            decided, answers = kernel.decide(kernel.fit(y[train], cost, seed=seed), x[held])
            values[cost].append(decided)
            scores[cost].append(_score(y[held], decided, answers, classes=len(np.unique(y))))
            step()
    means = [float(np.nanmean(scores[cost])) for cost in costs]
    best = int(np.argmax(means))
    cost = costs[best]
    rows = np.concatenate([held for _, held in folds])
    calibrator = _platt(np.concatenate(values[cost]), y[rows])
    kernel = Kernel(x)
    model = kernel.fit(y, cost, seed=seed)
    step()
    return Machine(kernel, model, calibrator, cost, means[best])


def _score(
    y: npt.NDArray[np.int64], decided: Array, answers: npt.NDArray[np.int64], *, classes: int
) -> float:
    """Figure of a held-out fold; NaN where it holds one class of two."""
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score

    if classes > 2:
        return float(balanced_accuracy_score(y, answers))
    if len(np.unique(y)) < 2:
        return float("nan")
    return float(roc_auc_score(y, decided[:, 0]))


def _platt(values: Array, y: npt.NDArray[np.int64]) -> Any:
    """scikit-learn's calibrator on decision values that are known already."""
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator

    class Known(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        """A classifier whose features are its decision values."""

        def fit(self, given: Array, answers: npt.NDArray[np.int64]) -> Known:
            self.classes_ = np.unique(answers)
            return self

        def decision_function(self, given: Array) -> Array:
            return given[:, 0] if given.shape[1] == 1 else given

        def predict(self, given: Array) -> Any:
            places = given.argmax(axis=1) if given.shape[1] > 1 else (given[:, 0] > 0).astype(int)
            return self.classes_[places]

    rows = np.arange(len(y))
    known = FrozenEstimator(Known().fit(values, y))
    return CalibratedClassifierCV(known, method="sigmoid", cv=[(rows, rows)]).fit(values, y)
