"""Which cases to label next: how unsure a model is of them, and how unlike each other they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.errors import RecipeError

Array = npt.NDArray[Any]
STRATEGIES = ("entropy", "margin", "mc", "kcenter", "badge", "mixed", "random")
SHORTLIST = 10
"""``mixed`` spreads its choice over so many times the cases asked for, the least certain ones."""


def entropy(p: Array, *, task: str) -> Array:
    """Entropy of predictions in nats; of label vectors the mean over labels.

    Args:
        p: ``(n, k)`` probabilities.
        task: ``single`` or ``multilabel``.

    Returns:
        ``(n,)``.
    """
    p = np.asarray(p, "float64")
    if task == "single":
        return np.asarray(_surprise(p).sum(axis=1))
    return np.asarray((_surprise(p) + _surprise(1.0 - p)).mean(axis=1))


def margin(p: Array, *, task: str) -> Array:
    """How near the two most probable answers are: 1 less their distance, so that more is less sure.

    Args:
        p: ``(n, k)`` probabilities, ``k`` at least 2 for ``single``.
        task: ``single``; or ``multilabel``, where presence and absence are the two answers and the
            least sure label counts.

    Returns:
        ``(n,)`` in [0, 1].
    """
    p = np.asarray(p, "float64")
    if task == "single":
        top = np.sort(p, axis=1)
        return np.asarray(1.0 - (top[:, -1] - top[:, -2]))
    return np.asarray(1.0 - np.abs(2.0 * p - 1.0).min(axis=1))


def mutual_information(passes: Array, *, task: str) -> Array:
    """What a label would tell about the weights (BALD, Houlsby et al. 2011, arXiv:1112.5745).

    Entropy of the mean prediction less the mean entropy of the predictions, over passes with
    dropout (Gal et al. 2017, arXiv:1703.02910).

    Args:
        passes: ``(t, n, k)`` probabilities.
        task: ``single`` or ``multilabel``.

    Returns:
        ``(n,)`` in nats, at least 0.
    """
    whole = entropy(passes.mean(axis=0), task=task)
    each = np.mean([entropy(p, task=task) for p in passes], axis=0)
    return np.asarray(np.maximum(whole - each, 0.0))


def most(scores: Array, n: int, *, groups: Sequence[str | None] | None = None) -> list[int]:
    """The ``n`` highest scores, the first of equal ones first.

    Args:
        scores: ``(N,)``.
        n: How many.
        groups: Patient of each case; no two of one are chosen. None for unknown ones.
    """
    chosen: list[int] = []
    taken: set[str] = set()
    for i in np.argsort(-np.asarray(scores), kind="stable"):
        patient = groups[i] if groups is not None else None
        if patient is not None and patient in taken:
            continue
        chosen.append(int(i))
        taken |= {patient} if patient is not None else set()
        if len(chosen) == n:
            break
    return chosen


def k_center(
    points: Array,
    n: int,
    *,
    centres: Array | None = None,
    first: int = 0,
    groups: Sequence[str | None] | None = None,
) -> list[int]:
    """Greedy k-center: each time the case that is farthest from all there are.

    Sener and Savarese 2018 (arXiv:1708.00489), algorithm 1; the largest distance that is left is
    at most twice the least that any choice of as many cases leaves (Gonzalez 1985).

    Args:
        points: ``(N, d)``.
        n: How many to choose.
        centres: ``(m, d)``, labelled cases already; without any the choice begins with ``first``.
        first: See ``centres``.
        groups: Patient of each case; no two of one are chosen. None for unknown ones.

    Returns:
        At most ``n`` rows of ``points``, in the order of choice; fewer where cases run out.
    """
    x = np.asarray(points, "float64")
    lengths = np.square(x).sum(axis=1)
    free = np.ones(len(x), bool)
    nearest = np.full(len(x), np.inf)
    for centre in np.asarray(centres, "float64") if centres is not None else ():
        nearest = np.minimum(nearest, _squared(x, lengths, centre))
    chosen: list[int] = []
    while len(chosen) < n and free.any():
        if chosen or np.isfinite(nearest).all():
            pick = int(np.argmax(np.where(free, nearest, -1.0)))
        else:
            pick = first
        chosen.append(pick)
        free &= ~_same_patient(groups, pick, len(x))
        nearest = np.minimum(nearest, _squared(x, lengths, x[pick]))
    return chosen


def gradient_embeddings(p: Array, features: Array, *, task: str) -> Array:
    """Gradient of the loss in the last layer, the likeliest answer taken for true.

    BADGE (Ash et al. 2020, arXiv:1906.03671, equation 1): its length says how unsure the model is
    and its direction what it looks at.

    Args:
        p: ``(n, k)`` probabilities.
        features: ``(n, f)``, what the last layer is fed.
        task: ``single`` or ``multilabel``.

    Returns:
        ``(n, k * f)``.
    """
    p = np.asarray(p, "float64")
    answer = np.eye(p.shape[1])[p.argmax(axis=1)] if task == "single" else (p >= 0.5) * 1.0
    product = (p - answer)[:, :, None] * np.asarray(features, "float64")[:, None, :]
    return np.asarray(product.reshape(len(p), -1))


def spread_choice(
    points: Array,
    n: int,
    *,
    rng: np.random.Generator,
    groups: Sequence[str | None] | None = None,
) -> list[int]:
    """The seeding of k-means++ (Arthur and Vassilvitskii 2007), as BADGE uses it.

    The first case is the longest vector; each further one is drawn with a probability in
    proportion to its squared distance from the nearest that was chosen.

    Args:
        points: ``(N, d)``.
        n: How many.
        rng: Source of the draws.
        groups: Patient of each case; no two of one are chosen. None for unknown ones.

    Returns:
        At most ``n`` rows, in the order of choice.
    """
    x = np.asarray(points, "float64")
    free = np.ones(len(x), bool)
    lengths = np.square(x).sum(axis=1)
    pick = int(lengths.argmax())
    chosen: list[int] = []
    nearest = np.full(len(x), np.inf)
    while True:
        chosen.append(pick)
        free &= ~_same_patient(groups, pick, len(x))
        nearest = np.minimum(nearest, _squared(x, lengths, x[pick]))
        if len(chosen) == n or not free.any():
            return chosen
        weight = np.where(free, nearest, 0.0)
        weight = weight if weight.sum() > 0 else free * 1.0
        pick = int(rng.choice(len(x), p=weight / weight.sum()))


def choose(
    strategy: str,
    n: int,
    *,
    p: Array,
    features: Array,
    task: str,
    rng: np.random.Generator,
    passes: Array | None = None,
    centres: Array | None = None,
    groups: Sequence[str | None] | None = None,
) -> list[int]:
    """Choose cases by one of ``STRATEGIES``.

    Args:
        strategy: ``entropy``, ``margin`` and ``mc`` (mutual information) take the least sure
            cases; ``kcenter`` those that cover the features best; ``badge`` both at once;
            ``mixed`` covers the features of the ``SHORTLIST * n`` cases of highest entropy;
            ``random`` is there to compare with.
        n: How many.
        p: ``(N, k)`` probabilities.
        features: ``(N, f)``.
        task: ``single`` or ``multilabel``.
        rng: Source of the draws of ``badge`` and ``random``.
        passes: ``(t, N, k)`` probabilities under dropout, for ``mc``.
        centres: ``(m, f)`` features of labelled cases, for ``kcenter`` and ``mixed``.
        groups: Patient of each case; no two of one are chosen.

    Returns:
        At most ``n`` rows, the most wanted first.

    Raises:
        RecipeError: An unknown strategy, or ``mc`` without passes.
    """
    unsure = entropy(p, task=task)
    if strategy == "entropy":
        return most(unsure, n, groups=groups)
    if strategy == "margin":
        return most(margin(p, task=task), n, groups=groups)
    if strategy == "mc" and passes is not None:
        return most(mutual_information(passes, task=task), n, groups=groups)
    if strategy == "badge":
        return spread_choice(gradient_embeddings(p, features, task=task), n, rng=rng, groups=groups)
    if strategy == "random":
        return most(rng.random(len(p)), n, groups=groups)
    if strategy == "kcenter":
        first = int(unsure.argmax())
        return k_center(features, n, centres=centres, first=first, groups=groups)
    if strategy == "mixed":
        short = most(unsure, SHORTLIST * n, groups=groups)
        own = None if groups is None else [groups[i] for i in short]
        picked = k_center(features[short], n, centres=centres, groups=own)
        return [short[i] for i in picked]
    raise RecipeError(f"unknown strategy {strategy!r}; known: {', '.join(STRATEGIES)}")


def _surprise(p: Array) -> Array:
    return np.asarray(-p * np.log(np.maximum(p, 1e-300)))


def _squared(points: Array, lengths: Array, centre: Array) -> Array:
    """Squared distances as a product, which reads the points once and makes no copy of them."""
    return np.asarray(np.maximum(lengths - 2.0 * (points @ centre) + centre @ centre, 0.0))


def _same_patient(groups: Sequence[str | None] | None, pick: int, n: int) -> Array:
    same = np.zeros(n, bool)
    same[pick] = True
    if groups is not None and groups[pick] is not None:
        same |= np.asarray([patient == groups[pick] for patient in groups])
    return same
