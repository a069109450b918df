"""Exact distances from some voxels to the nearest of others, fast where the two lie close."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from recipes.evaluation.masks.grids import Bools, Floats

Places = NDArray[np.intp]

_LINES = 600
"""Lines of voxels around a point that are looked at before the tree takes over."""
_FAR = 100
"""No voxel on the line within reach; beyond every reach, and 100 + 32 still is a uint8."""
_REACH = 63
_ROUND = 12
"""Lines between two looks at which queries are done."""
_HOPELESS = (8, 0.97)
"""After so many rounds of lines, so large a share undone: the surfaces lie far apart."""
_SPARSE = 300
"""Voxels per query from which the tree alone is cheaper than the table of lines."""


def nearest_distances(queries: Bools, targets: Bools, spacing: Sequence[float]) -> Floats:
    """Distance of each query voxel to the nearest target voxel, between voxel centres.

    Most of two similar surfaces lies within a few voxels of the other. So first the lines of
    voxels around each query are looked at, from the nearest on, in a table that holds how far
    along its line each voxel has the next target; a query is done when no line left is nearer
    than what it has found. Those with nothing near go to a k-d tree (scipy). Both are exact.

    Args:
        queries: Boolean (H, W) or (D, H, W).
        targets: The same shape, not empty.
        spacing: Spacing of the axes in mm.

    Returns:
        (number of queries,) float64 in mm, in the order of `queries.nonzero()`; the root of the
        sum of squares of voxel steps times spacing.
    """
    shape: tuple[int, ...] = queries.shape
    steps = tuple(spacing)
    if queries.ndim == 2:  # one slice; its step to the next is never used
        shape, steps = (1, *shape), (math.inf, *steps)
    places = np.flatnonzero(queries)
    if targets.size > _SPARSE * len(places):
        squares, near = np.zeros(len(places)), np.zeros(len(places), np.bool_)
    else:
        squares, near = _near(places, targets.reshape(shape), steps)
    if not near.all():
        left = np.flatnonzero(~near)
        squares[left] = _by_tree(places[left], np.flatnonzero(targets), shape, steps)
    return np.asarray(np.sqrt(squares))


def _near(places: Places, targets: Bools, steps: tuple[float, ...]) -> tuple[Floats, Bools]:
    """Squared distances found on the lines around the queries, and which of them are final."""
    reach = _reach(steps, targets.shape)
    pads = tuple(_count(reach, step, size) for step, size in zip(steps, targets.shape, strict=True))
    table = _gaps(targets, pads)
    margin = (pads[0] * (targets.shape[1] + 2 * pads[1]) + pads[1]) * targets.shape[2]
    squares = np.full(len(places), np.inf)
    final = np.zeros(len(places), np.bool_)
    active, found = np.arange(len(places)), squares.copy()
    start = _starts(places, targets.shape, pads)
    rounds = [*_rounds(steps, pads, reach, targets.shape), (reach * reach, [])]
    for number, (square, lines) in enumerate(rounds):
        done = found <= square  # no line from here on is nearer
        squares[active[done]] = found[done]
        final[active[done]] = True
        kept = ~done
        active, found, start = active[kept], found[kept], start[kept]
        hopeless = number == _HOPELESS[0] and len(active) > _HOPELESS[1] * len(places)
        if hopeless or not len(active):
            break
        room = np.empty(len(active))
        for offset, across in lines:
            np.multiply(table[margin + offset :].take(start), steps[2], out=room)
            room *= room
            room += across
            np.minimum(found, room, out=found)
    return squares, final


def _starts(places: Places, shape: Sequence[int], pads: Sequence[int]) -> Places:
    """Where the queries lie in the padded table, counted from its first voxel that is no pad."""
    z, rest = np.divmod(places, shape[1] * shape[2])
    y, x = np.divmod(rest, shape[2])
    rows = shape[1] + 2 * pads[1]
    return np.asarray((z * rows + y) * shape[2] + x)


def _reach(steps: Sequence[float], shape: Sequence[int]) -> float:
    """Distance in mm within which every voxel is on one of about `_LINES` lines."""
    if math.isinf(steps[0]) or shape[0] == 1:
        reach = 0.5 * _LINES * steps[1]
    else:
        reach = math.sqrt(_LINES * steps[0] * steps[1] / math.pi)
    return min(reach, _REACH * steps[2])


def _count(reach: float, step: float, size: int) -> int:
    """Steps within reach on an axis, of which no more are of use than the axis has."""
    return min(int(reach / step * (1 + 1e-12)), size - 1)


def _rounds(
    steps: Sequence[float], pads: Sequence[int], reach: float, shape: Sequence[int]
) -> list[tuple[float, list[tuple[int, float]]]]:
    """The lines from the nearest on, the query's own first, then some at a time.

    Returns:
        For each round the squared distance of its nearest line; and of each line its offset in
        the table and its squared distance.
    """
    rows = shape[1] + 2 * pads[1]
    lines = []
    for dz in range(-pads[0], pads[0] + 1):
        for dy in range(-pads[1], pads[1] + 1):
            square = (0.0 if dz == 0 else (dz * steps[0]) ** 2) + (dy * steps[1]) ** 2
            if square <= reach * reach:
                lines.append((square, (dz * rows + dy) * shape[2]))
    lines.sort()
    cuts = [0, *range(1, len(lines), _ROUND), len(lines)]
    parts = (lines[low:high] for low, high in pairwise(cuts))
    return [(part[0][0], [(at, square) for square, at in part]) for part in parts if part]


def _gaps(targets: Bools, pads: Sequence[int]) -> NDArray[np.uint8]:
    """Voxels to the next target on the same line, padded along the other axes; flat."""
    depth, height, width = targets.shape
    table = np.full((depth + 2 * pads[0], height + 2 * pads[1], width), _FAR, np.uint8)
    inside = table[pads[0] : pads[0] + depth, pads[1] : pads[1] + height]
    inside[targets] = 0
    shift = 1
    while shift <= min(pads[2], width - 1):
        hop = np.uint8(shift)
        np.minimum(inside[..., shift:], inside[..., :-shift] + hop, out=inside[..., shift:])
        np.minimum(inside[..., :-shift], inside[..., shift:] + hop, out=inside[..., :-shift])
        shift *= 2
    return table.reshape(-1)


def _by_tree(
    queries: Places, targets: Places, shape: tuple[int, ...], steps: tuple[float, ...]
) -> Floats:
    """Squared distances through a k-d tree over the targets."""
    from scipy.spatial import cKDTree

    scale = np.array([1.0 if math.isinf(step) else step for step in steps])
    from_places = np.stack(np.unravel_index(queries, shape), axis=1)
    to_places = np.stack(np.unravel_index(targets, shape), axis=1)
    tree = cKDTree(to_places * scale, leafsize=32, balanced_tree=False)
    _, chosen = tree.query(from_places * scale, workers=-1)
    apart = ((from_places - to_places[chosen]) * scale) ** 2
    return np.asarray(apart[:, 0] + apart[:, 1] + apart[:, 2])
