"""Groups that an embedding falls into by itself, and whether they are the classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.errors import RecipeError
from recipes.evaluation.bootstrap import resamples
from recipes.uncertainty.selective import interval

MOST = 10_000
"""Most cases for the silhouette of a clustering, drawn at random above."""


def clusterings(
    embeddings: npt.NDArray[Any],
    labels: npt.NDArray[np.int64] | None,
    group_of: npt.NDArray[np.int64],
    *,
    ks: tuple[int, ...] = (2, 3, 4, 5, 6, 8, 10),
    n_boot: int = 200,
    seed: int = 0,
) -> tuple[dict[str, Any], npt.NDArray[np.int64]]:
    """k-means for several k, and the agreement of the best one with the labels.

    The best k has the highest mean silhouette (Rousseeuw 1987). Agreement is the adjusted Rand
    index (Hubert and Arabie 1985; 0 by chance, 1 the same groups) and the normalised mutual
    information (arithmetic mean, Strehl and Ghosh 2002; 0 to 1, above 0 by chance).

    Args:
        embeddings: ``(n, d)``.
        labels: ``(n,)`` class numbers; None: no agreement.
        group_of: ``(n,)`` number of each case's patient.
        ks: Numbers of clusters to try; those not below the number of cases are left out.
        n_boot: Bootstrap replicates over patients (the clustering is held), and permutations.
        seed: Seed of all of them.

    Returns:
        ``tried`` (``k``, ``silhouette``, ``inertia``), ``k`` of the best, ``sizes``, and with
        labels ``ari`` and ``nmi`` as value, low, high and ``chance`` (95th percentile over
        permutations that keep a patient's cases together); and the best clustering ``(n,)``.

    Raises:
        RecipeError: Fewer than three cases, or all of them equal.
    """
    x = np.asarray(embeddings, "float64")
    distinct = len(np.unique(x, axis=0))
    wanted = [k for k in ks if 2 <= k < distinct]
    if not wanted:
        raise RecipeError(f"{distinct} different embeddings: nothing to cluster")
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    tried, found = [], {}
    for k in wanted:
        model = KMeans(n_clusters=k, n_init=4, random_state=seed).fit(x)
        found[k] = np.asarray(model.labels_, "int64")
        size = MOST if len(x) > MOST else None
        width = float(silhouette_score(x, found[k], sample_size=size, random_state=seed))
        tried.append({"k": k, "silhouette": width, "inertia": float(model.inertia_)})
    best = int(max(tried, key=lambda row: row["silhouette"])["k"])
    numbers = found[best]
    result: dict[str, Any] = {
        "tried": tried,
        "k": best,
        "sizes": [int(n) for n in np.bincount(numbers, minlength=best)],
    }
    if labels is not None:
        result |= agreement(labels, numbers, group_of, n_boot=n_boot, seed=seed)
    return result, numbers


def agreement(
    labels: npt.NDArray[np.int64],
    numbers: npt.NDArray[np.int64],
    group_of: npt.NDArray[np.int64],
    *,
    n_boot: int,
    seed: int,
) -> dict[str, Any]:
    """Adjusted Rand index and normalised mutual information; see `clusterings`."""
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    scores = {"ari": adjusted_rand_score, "nmi": normalized_mutual_info_score}
    draws: dict[str, list[float]] = {name: [] for name in scores}
    chance: dict[str, list[float]] = {name: [] for name in scores}
    order = np.argsort(group_of, kind="stable")
    starts = np.flatnonzero(np.diff(group_of[order], prepend=-1))
    blocks = np.split(labels[order], starts[1:])
    rng = np.random.default_rng(seed)
    for chunk in resamples(group_of, n_boot, seed=seed):
        for weights in chunk:
            rows = np.repeat(np.arange(len(labels)), weights.astype("int64"))
            shuffled = np.concatenate([blocks[i] for i in rng.permutation(len(blocks))])
            for name, score in scores.items():
                draws[name].append(float(score(labels[rows], numbers[rows])))
                chance[name].append(float(score(shuffled, numbers[order])))
    return {
        name: interval(float(score(labels, numbers)), np.asarray(draws[name]), 0.95)
        | {"chance": float(np.quantile(chance[name], 0.95)) if n_boot else None}
        for name, score in scores.items()
    }
