"""Nearest neighbours among the cases of other patients."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.errors import RecipeError

_CELLS = 4_000_000
"""Distances held at once."""


def nearest(
    embeddings: npt.NDArray[Any],
    group_of: npt.NDArray[np.int64],
    *,
    k: int,
    among: npt.NDArray[np.bool_] | None = None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The k nearest cases of other patients, by Euclidean distance.

    Images of one patient are alike for reasons that have nothing to do with the question, so a
    case's own patient is left out.

    Args:
        embeddings: ``(n, d)``, finite.
        group_of: ``(n,)`` number of each case's patient.
        k: Neighbours.
        among: ``(n,)`` cases that may be neighbours; None: all.

    Returns:
        Row numbers ``(n, k)``, nearest first (of equal ones the lower number), -1 where there are
        not so many; and distances, infinite there.

    Raises:
        RecipeError: ``k`` below 1, shapes that do not fit, or embeddings that are not finite.
    """
    x = np.asarray(embeddings, "float64")
    if x.ndim != 2 or np.shape(group_of) != (len(x),) or k < 1:
        raise RecipeError(
            f"embeddings {x.shape}, patients {np.shape(group_of)} and k = {k} do not fit"
        )
    if not np.isfinite(x).all():
        raise RecipeError("an embedding is not finite; no distance can be measured")
    allowed = np.ones(len(x), bool) if among is None else among
    x = x - x.mean(axis=0)  # smaller numbers, less cancellation
    length = np.square(x).sum(axis=1)
    found = np.full((len(x), k), -1, "int64")
    far = np.full((len(x), k), np.inf)
    step = max(1, _CELLS // max(1, len(x)))
    for start in range(0, len(x), step):
        rows = slice(start, start + step)
        squares = length[rows, None] + length[None] - 2.0 * (x[rows] @ x.T)
        squares = np.maximum(squares, 0.0)
        squares[:, ~allowed] = np.inf
        squares[group_of[rows, None] == group_of[None]] = np.inf
        order = np.argsort(squares, axis=1, kind="stable")[:, :k]
        near = np.sqrt(np.take_along_axis(squares, order, axis=1))
        width = order.shape[1]
        found[rows, :width] = np.where(np.isfinite(near), order, -1)
        far[rows, :width] = near
    return found, far
