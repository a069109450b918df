"""How far the classes lie apart in an embedding, in figures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.similarity.neighbours import nearest
from recipes.uncertainty.summary import mean_figure

K = 10

DEFINITIONS = {
    "silhouette": (
        "mean over the cases of (b - a) / max(a, b): a is the mean distance to the other cases of "
        "the same class, b that to the nearest other class; 1 apart, 0 touching, below 0 mixed "
        "(Rousseeuw 1987, doi:10.1016/0377-0427(87)90125-7)"
    ),
    "neighbour_error": (
        f"share of cases whose {K} nearest cases of other patients mostly bear another label "
        "(the nearest-neighbour rule of Cover and Hart 1967, doi:10.1109/TIT.1967.1053964, "
        "leaving out one patient at a time)"
    ),
    "overlap": (
        "neighbour error among the cases of two classes alone, first within each class and then "
        "the mean of both; 0 apart, 0.5 where the classes cannot be told apart"
    ),
}


def class_overlap(
    embeddings: npt.NDArray[Any],
    labels: npt.NDArray[np.int64],
    group_of: npt.NDArray[np.int64],
    class_names: Sequence[str],
    *,
    k: int = K,
    n_boot: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Silhouette, neighbour error and the overlap of each pair of classes; see `DEFINITIONS`.

    Args:
        embeddings: ``(n, d)``.
        labels: ``(n,)`` class numbers.
        group_of: ``(n,)`` number of each case's patient.
        class_names: Names.
        k: Neighbours.
        n_boot: Bootstrap replicates over patients; the embedding and the neighbours are held.
        seed: Their seed.

    Returns:
        Figures as ``{"value", "low", "high"}``; ``pairs`` is a list of ``first``, ``second`` and
        ``overlap``. None where fewer than two classes occur.
    """
    present = [c for c in range(len(class_names)) if (labels == c).any()]
    nothing = {"value": None, "low": None, "high": None}
    if len(present) < 2 or len(np.unique(group_of)) < 3:
        return {"silhouette": nothing, "neighbour_error": nothing, "pairs": []}
    from sklearn.metrics import silhouette_samples

    each = np.asarray(silhouette_samples(embeddings, labels), "float64")
    wrong = neighbour_errors(embeddings, labels, group_of, k=k)
    pairs = []
    for first, second in combinations(present, 2):
        rows = np.flatnonzero((labels == first) | (labels == second))
        errors = neighbour_errors(embeddings[rows], labels[rows], group_of[rows], k=k)
        own = [errors[labels[rows] == c].mean() for c in (first, second)]
        pairs.append(
            {
                "first": class_names[first],
                "second": class_names[second],
                "overlap": float(np.mean(own)),
            }
        )
    pairs.sort(key=lambda pair: -float(str(pair["overlap"])))
    return {
        "silhouette": mean_figure(each, group_of, n_boot=n_boot, seed=seed),
        "neighbour_error": mean_figure(wrong, group_of, n_boot=n_boot, seed=seed),
        "pairs": pairs,
    }


def neighbour_errors(
    embeddings: npt.NDArray[Any],
    labels: npt.NDArray[np.int64],
    group_of: npt.NDArray[np.int64],
    *,
    k: int = K,
) -> npt.NDArray[np.float64]:
    """Whether a case's nearest cases of other patients mostly bear another label.

    Args:
        embeddings: ``(n, d)``.
        labels: ``(n,)`` class numbers, 0 and up.
        group_of: ``(n,)`` number of each case's patient.
        k: Neighbours.

    Returns:
        ``(n,)`` 0 or 1; where other labels tie with the case's own for the most votes, the chance
        that a fair draw among the tied ones errs.
    """
    found, _ = nearest(embeddings, group_of, k=k)
    classes = int(labels.max()) + 1
    votes = np.zeros((len(labels), classes))
    for column in found.T:
        there = column >= 0
        votes[np.flatnonzero(there), labels[column[there]]] += 1
    top = votes == votes.max(axis=1, keepdims=True)
    return np.asarray(1.0 - top[np.arange(len(labels)), labels] / top.sum(axis=1))
