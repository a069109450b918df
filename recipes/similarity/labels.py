"""Labels that may be wrong, by confident learning on out-of-sample probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.errors import RecipeError


@dataclass(frozen=True)
class Suspect:
    """A label to look at.

    Attributes:
        row: The case.
        given: Its label.
        suggested: The label that its probabilities speak for.
        margin: Probability of the given label minus that of the suggested one; the lower, the
            more suspect.
    """

    row: int
    given: int
    suggested: int
    margin: float


def confident_joint(
    labels: npt.NDArray[np.int64], prob: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Count given labels against labels that the probabilities are confident of.

    Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset
    Labels", arXiv:1911.00068, equation 1: the threshold of a class is the mean probability of it
    among the cases labelled so; a case counts for the most probable of the classes whose
    threshold it reaches, and not at all where it reaches none.

    Args:
        labels: ``(n,)`` given labels.
        prob: ``(n, k)`` probabilities of a model that has not seen these cases' labels.

    Returns:
        The ``(k, k)`` counts, rows given and columns confident labels; and the confident label
        of each case, -1 where there is none.

    Raises:
        RecipeError: Shapes that do not fit, or no case.
    """
    p = np.asarray(prob, "float64")
    if p.ndim != 2 or np.shape(labels) != (len(p),) or len(p) == 0:
        raise RecipeError(f"labels {np.shape(labels)} and probabilities {p.shape} do not fit")
    classes = p.shape[1]
    thresholds = np.full(classes, np.inf)
    for c in np.unique(labels):
        thresholds[c] = p[labels == c, c].mean()
    sure = p >= thresholds - 1e-12
    best = np.where(sure, p, -1.0).argmax(axis=1)
    confident = np.where(sure.any(axis=1), best, -1)
    joint = np.zeros((classes, classes), "int64")
    counted = confident >= 0
    np.add.at(joint, (labels[counted], confident[counted]), 1)
    return joint, confident


def suspected_labels(labels: npt.NDArray[np.int64], prob: npt.NDArray[Any]) -> list[Suspect]:
    """Cases off the diagonal of the confident joint, the most suspect first.

    Args:
        labels: ``(n,)``, see `confident_joint`.
        prob: ``(n, k)``.

    Returns:
        As method 2 of section 3.2 (off the diagonal of the confident joint), by rising margin.
    """
    _, confident = confident_joint(labels, prob)
    p = np.asarray(prob, "float64")
    found = [
        Suspect(
            row=int(i),
            given=int(labels[i]),
            suggested=int(confident[i]),
            margin=float(p[i, labels[i]] - p[i, confident[i]]),
        )
        for i in np.flatnonzero((confident >= 0) & (confident != labels))
    ]
    return sorted(found, key=lambda suspect: (suspect.margin, suspect.row))


def crossed_probabilities(
    embeddings: npt.NDArray[Any],
    labels: npt.NDArray[np.int64],
    group_of: npt.NDArray[np.int64],
    *,
    seed: int = 0,
    folds: int = 5,
) -> npt.NDArray[np.float64] | None:
    """Out-of-sample probabilities of a logistic regression on embeddings that saw no labels.

    Patients are whole in a fold, the folds stratified by class. Only for embeddings of a network
    that was not trained on these labels: others carry the labels in them.

    Args:
        embeddings: ``(n, d)`` of an untouched backbone.
        labels: ``(n,)`` class numbers, every class from 0 up present.
        group_of: ``(n,)`` number of each case's patient.
        seed: Seed of the folds.
        folds: Number of folds.

    Returns:
        ``(n, k)``; None where a class has fewer patients than there are folds.
    """
    for c in np.unique(labels):
        if len(np.unique(group_of[labels == c])) < folds:
            return None
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classes = int(labels.max()) + 1
    out = np.zeros((len(labels), classes))
    cut = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    for train, test in cut.split(embeddings, labels, group_of):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
        model.fit(embeddings[train], labels[train])
        columns = model.classes_.astype("int64")
        out[np.ix_(test, columns)] = model.predict_proba(embeddings[test])
    return out
