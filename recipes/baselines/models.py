"""Plain classifiers whose settings are chosen by cross-validation inside the training part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.baselines.svm import Fold, fit_machine
from recipes.errors import RecipeError
from recipes.evaluation.bootstrap import group_index

FOLDS = 5
"""Most folds of the inner cross-validation."""


class BaselineError(RecipeError):
    """A baseline cannot be fitted or compared; the message says why and the way out."""


@dataclass(frozen=True)
class Family:
    """A kind of classifier.

    Attributes:
        name: As reports show it.
        make: A seed to an unfitted scikit-learn pipeline; None: the machine of `baselines.svm`.
        grid: The setting that is tried: its name and values.
    """

    name: str
    make: Callable[[int], Any] | None
    grid: tuple[str, tuple[float, ...]]


def families() -> tuple[Family, ...]:
    """Logistic regression, support vector machine with radial kernel, random forest."""
    return (
        Family("logistic regression", _logistic, ("C", (1e-3, 1e-2, 1e-1, 1.0, 10.0))),
        Family("support vector machine", None, ("C", (0.1, 1.0, 10.0, 100.0))),
        Family("random forest", _forest, ("min_samples_leaf", (1, 3, 10))),
    )


def count_fits(family: Family, folds: int = FOLDS) -> int:
    """Fits of `fit_family`, for a progress bar."""
    return folds * len(family.grid[1]) + 1


def _scaled(model: Any) -> Any:
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    return Pipeline([("scale", StandardScaler()), ("model", model)])


def _logistic(seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    return _scaled(LogisticRegression(class_weight="balanced", max_iter=5000, random_state=seed))


def _forest(seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return _scaled(
        RandomForestClassifier(
            n_estimators=300, class_weight="balanced_subsample", random_state=seed, n_jobs=-1
        )
    )


@dataclass(frozen=True)
class Fitted:
    """A fitted baseline.

    Attributes:
        probabilities: Features ``(n, f)`` to probabilities ``(n, classes)``.
        chosen: Its chosen settings.
        inner: Mean score of the inner cross-validation.
    """

    probabilities: Callable[[npt.NDArray[Any]], npt.NDArray[np.float64]]
    chosen: dict[str, Any]
    inner: float


def inner_folds(
    y: npt.NDArray[np.int64], groups: Sequence[object], *, seed: int
) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Stratified folds that keep each patient on one side, as many as every class allows.

    Args:
        y: Class numbers, ``(n,)``.
        groups: Patient of each row, None where unknown: such a row is a patient of its own.
        seed: Seed of the shuffle.

    Raises:
        BaselineError: A class has fewer than two patients.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    patient, _ = group_index(groups, len(groups))
    fewest = min(len(set(patient[y == k].tolist())) for k in np.unique(y))
    if fewest < 2 or len(np.unique(y)) < 2:
        raise BaselineError(
            "baselines need two classes with at least two patients each in the training part: "
            "their settings are chosen by cross-validation there"
        )
    cut = StratifiedGroupKFold(min(FOLDS, fewest), shuffle=True, random_state=seed)
    folds = [(train, held) for train, held in cut.split(np.zeros((len(y), 1)), y, patient)]
    whole = set(np.unique(y).tolist())
    good = [(a, b) for a, b in folds if set(y[a]) == whole and len(b)]
    if len(good) < 2:
        raise BaselineError("the training part is too small to choose a baseline's settings in it")
    return good


def fit_family(
    family: Family,
    x: npt.NDArray[Any],
    y: npt.NDArray[np.int64],
    groups: Sequence[object],
    *,
    classes: int,
    seed: int,
    step: Callable[[], None] = lambda: None,
) -> Fitted:
    """Choose a setting by inner folds, then fit all rows.

    The score is the log loss; of an SVM, which has none, the AUC (balanced accuracy with more than
    two classes).

    Args:
        family: The kind of classifier.
        x: Features of the training rows, ``(n, f)``.
        y: Class numbers, ``(n,)``.
        groups: Patient of each row, None where unknown.
        classes: Number of classes, those absent from training included.
        seed: Seed of everything random.
        step: Called after every fit, at most `count_fits` times.

    Raises:
        BaselineError: Features are not finite, or there are too few patients.
    """
    if not np.isfinite(x).all():
        raise BaselineError("a feature of the training part is not finite")
    folds = inner_folds(y, groups, seed=seed)
    name, values = family.grid
    known = np.unique(y)
    fitted: Any
    if family.make is None:
        fitted = fit_machine(np.asarray(x, "float64"), y, folds, values, seed=seed, step=step)
        answer, best, inner = fitted.probabilities, fitted.cost, fitted.inner
    else:
        scores = [_inner(family, family.make, v, x, y, folds, seed=seed, step=step) for v in values]
        best, inner = values[int(np.argmax(scores))], max(scores)
        fitted = family.make(seed).set_params(**{f"model__{name}": best}).fit(x, y)
        step()
        answer = fitted.predict_proba

    def probabilities(rows: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        out = np.zeros((len(rows), classes))
        out[:, known] = answer(rows)
        return out

    return Fitted(probabilities, {name: best}, inner)


def _inner(
    family: Family,
    make: Callable[[int], Any],
    value: float,
    x: npt.NDArray[Any],
    y: npt.NDArray[np.int64],
    folds: Sequence[Fold],
    *,
    seed: int,
    step: Callable[[], None],
) -> float:
    """Mean over the folds of minus the log loss of a setting."""
    from sklearn.metrics import log_loss

    found = []
    for train, held in folds:
        model = make(seed).set_params(**{f"model__{family.grid[0]}": value})
        prob = model.fit(x[train], y[train]).predict_proba(x[held])
        found.append(-float(log_loss(y[held], prob, labels=np.unique(y))))
        step()
    return float(np.mean(found))
