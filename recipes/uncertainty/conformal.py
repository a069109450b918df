"""Split conformal prediction sets with an exact finite-sample quantile.

A prediction set holds the true class of a new case with at least the stated probability, whatever
the network, if the calibration patients and the new one are exchangeable: drawn from one
population in no particular order. A new scanner, another prevalence or a later year breaks that,
and then the coverage is not promised. Where a patient has several images, the patients are what is
exchangeable, not the images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from recipes.errors import RecipeError

Method = Literal["lac", "aps"]
Array = npt.NDArray[np.float64]
ANSWERS = ("absent", "present")
"""The two classes of a label that excludes no other, in the order of its sets."""


def conformal_scores(
    prob: npt.NDArray[Any], *, method: Method, u: npt.NDArray[Any] | None = None
) -> Array:
    """How badly each class would fit each case; the set holds the classes of low score.

    ``lac`` (least ambiguous sets, Sadinle et al. 2019, arXiv:1609.00451): ``1 - p``. ``aps``
    (adaptive prediction sets, Romano et al. 2020, arXiv:2006.02544): the probability of all more
    probable classes plus ``u`` times its own. Both as in Angelopoulos and Bates 2021,
    arXiv:2107.07511.

    Args:
        prob: ``(n, k)`` probabilities that add up to 1.
        method: ``lac`` or ``aps``.
        u: ``(n,)`` uniform numbers in [0, 1] for ``aps``, which make its coverage exact; None
            takes 1, which repeats exactly and errs towards larger sets.

    Returns:
        ``(n, k)`` scores, 0 to 1. Equally probable classes rank by their order.

    Raises:
        RecipeError: An unknown method, or ``u`` of another length.
    """
    p = np.asarray(prob, "float64")
    if method == "lac":
        return np.asarray(1.0 - p)
    if method != "aps":
        raise RecipeError(f"unknown conformal method {method!r}; known: lac, aps")
    share = np.ones(len(p)) if u is None else np.asarray(u, "float64")
    if share.shape != (len(p),):
        raise RecipeError(f"u has shape {share.shape}, expected ({len(p)},)")
    order = np.argsort(-p, axis=1, kind="stable")
    ranked = np.take_along_axis(p, order, axis=1)
    scores = np.empty_like(p)
    ahead = np.cumsum(ranked, axis=1) - ranked
    np.put_along_axis(scores, order, ahead + share[:, None] * ranked, axis=1)
    return np.asarray(scores)


def conformal_quantile(
    scores: npt.ArrayLike, group_of: npt.NDArray[np.int64], *, coverage: float
) -> float:
    """The score that a new case stays at or below with the stated probability.

    With one case per patient: the ``ceil((n + 1) coverage)``-th smallest score, infinite where
    that is more than n. With several, each patient weighs ``1 / (n + 1)``, shared by the cases
    (hierarchical conformal prediction, Lee, Barber and Willett 2023, arXiv:2306.06342): the
    coverage then holds for an image of a new patient.

    Args:
        scores: ``(m,)`` scores of the true classes of the calibration cases.
        group_of: ``(m,)`` number of each case's patient.
        coverage: Wanted coverage, in (0, 1).

    Returns:
        The quantile; ``inf`` where there are too few patients for the coverage.

    Raises:
        RecipeError: A coverage outside (0, 1), or scores that are not finite.
    """
    if not 0 < coverage < 1:
        raise RecipeError(f"coverage {coverage!r} must lie between 0 and 1, e.g. 0.9")
    s: Array = np.asarray(scores, "float64")
    if not np.isfinite(s).all():
        raise RecipeError("a conformal score is not finite")
    if len(s) == 0:
        return float("inf")
    _, places, sizes = np.unique(group_of, return_inverse=True, return_counts=True)
    share = 1.0 / ((len(sizes) + 1) * sizes[places])
    order = np.argsort(s, kind="stable")
    reached = np.cumsum(share[order]) >= coverage - 1e-12
    return float(s[order][int(np.argmax(reached))]) if reached.any() else float("inf")


def class_quantiles(
    scores: Array,
    labels: npt.NDArray[np.int64],
    group_of: npt.NDArray[np.int64],
    *,
    coverage: float,
    per_class: bool,
) -> Array:
    """Quantile for every class: one for all, or each class's own (Mondrian, Vovk 2012).

    Args:
        scores: ``(m, k)`` of the calibration cases.
        labels: ``(m,)`` true classes.
        group_of: ``(m,)`` number of each case's patient.
        coverage: Wanted coverage.
        per_class: Hold the coverage within each true class (arXiv:1209.2673), from the cases of
            that class alone; a class with too few gets an infinite quantile and is always in.

    Returns:
        ``(k,)`` quantiles.
    """
    own = scores[np.arange(len(labels)), labels]
    classes = scores.shape[1]
    if not per_class:
        return np.full(classes, conformal_quantile(own, group_of, coverage=coverage))
    return np.asarray(
        [
            conformal_quantile(own[labels == k], group_of[labels == k], coverage=coverage)
            for k in range(classes)
        ]
    )


def prediction_sets(scores: Array, quantiles: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which classes each set holds, ``(n, k)``; a set can be empty (no class fits well enough)."""
    return np.asarray(scores <= np.asarray(quantiles, "float64"))


def least_units(coverage: float) -> int:
    """Fewest calibration patients for a finite quantile: n with ``ceil((n+1) coverage) <= n``."""
    n = 1
    while np.ceil((n + 1) * coverage - 1e-12) > n:
        n += 1
    return n


def set_text(members: Sequence[bool] | npt.NDArray[np.bool_], class_names: Sequence[str]) -> str:
    """A prediction set as text: names joined by semicolons, nothing for the empty set."""
    return ";".join(name for name, inside in zip(class_names, members, strict=True) if inside)
