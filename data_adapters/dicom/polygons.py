"""Filling polygons: which pixel centres lie inside, and how contours of one region combine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SNAP = 5
"""Decimals, in pixels, to which corners are rounded, so that ties do not hang on the last bit."""
CONTAINED = 0.01
"""Largest part of a contour that may lie outside one that is said to contain it."""


@dataclass(frozen=True, eq=False, slots=True)
class Raster:
    """A filled polygon, cropped to its box.

    Attributes:
        row: First row.
        column: First column.
        values: (h, w) uint8, 0 or 1.
    """

    row: int
    column: int
    values: NDArray[np.uint8]


def fill(points: Any, shape: Sequence[int]) -> Raster | None:
    """Pixels whose centres lie inside a closed polygon, by the even-odd rule.

    A centre exactly on an edge belongs to the polygon to its right or below, so that polygons that
    share an edge share no pixel.

    Args:
        points: (n, 2) row and column of the corners; whole numbers are pixel centres.
        shape: (rows, columns) of the image.

    Returns:
        The pixels inside both polygon and image; None when there are none.
    """
    corners: NDArray[np.float64] = np.asarray(points, np.float64).round(SNAP)
    rows, columns = shape
    low, high = corners.min(0), corners.max(0)
    top, bottom = max(0, int(np.ceil(low[0]))), min(rows, int(np.floor(high[0])) + 1)
    left, right = max(0, int(np.ceil(low[1]))), min(columns, int(np.floor(high[1])) + 1)
    if top >= bottom or left >= right:
        return None
    crossed = np.zeros((bottom - top, right - left + 1), np.int32)
    at, where = _crossings(corners, top, bottom)
    where = np.clip(where - left, 0, right - left)
    np.add.at(crossed, (at - top, where), 1)
    inside = (np.cumsum(crossed, axis=1) & 1).astype(np.uint8)[:, :-1]
    return Raster(top, left, inside) if inside.any() else None


def _crossings(
    corners: NDArray[np.float64], top: int, bottom: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows in which edges cross the line of pixel centres, and the first column right of each."""
    others = np.roll(corners, -1, axis=0)
    swap = (corners[:, 0] > others[:, 0])[:, None]
    upper, lower = np.where(swap, others, corners), np.where(swap, corners, others)
    first = np.maximum(np.ceil(upper[:, 0]), top).astype(np.int64)
    last = np.minimum(np.ceil(lower[:, 0]), bottom).astype(np.int64)
    count = np.maximum(last - first, 0)
    edge = np.repeat(np.arange(len(corners)), count)
    at = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    slope = (lower[edge, 1] - upper[edge, 1]) / (lower[edge, 0] - upper[edge, 0])
    where = np.ceil(np.round(upper[edge, 1] + (at - upper[edge, 0]) * slope, SNAP))
    return at, where.astype(np.int64)


def combine(contours: Sequence[tuple[Raster, bool]], counts: Counter[str]) -> Raster:
    """Join the contours of one region in one plane.

    Going from the outermost inwards, contours alternately add and take away: for contours inside
    each other that is XOR. Those that cross are joined unless they say themselves that they are to
    be XORed.

    Args:
        contours: Filled contours, and whether each is declared as XOR.
        counts: Gets the number of `nested-contours`, `crossing-contours`, `duplicate-contours`.

    Returns:
        The region, cropped to the contours' box.
    """
    rasters = [raster for raster, _ in contours]
    top, left = min(r.row for r in rasters), min(r.column for r in rasters)
    bottom = max(r.row + r.values.shape[0] for r in rasters)
    right = max(r.column + r.values.shape[1] for r in rasters)
    full = np.zeros((bottom - top, right - left), np.uint8)
    if all(declared for _, declared in contours):
        for raster in rasters:
            _view(full, raster, top, left)[...] ^= raster.values
        counts["nested-contours"] += len(rasters) - 1
        return Raster(top, left, full)
    rasters, depths = _nesting(rasters, counts)
    for n in sorted(range(len(rasters)), key=depths.__getitem__):
        view = _view(full, rasters[n], top, left)
        view[...] = np.where(rasters[n].values, 1 - depths[n] % 2, view)
    return Raster(top, left, full)


def _view(full: NDArray[np.uint8], raster: Raster, top: int, left: int) -> NDArray[np.uint8]:
    high, wide = raster.values.shape
    row, column = raster.row - top, raster.column - left
    return full[row : row + high, column : column + wide]


def _nesting(rasters: list[Raster], counts: Counter[str]) -> tuple[list[Raster], list[int]]:
    """Different contours, and in how many others each lies; counts what was met."""
    kept: list[Raster] = []
    for raster in rasters:
        if any(_same(raster, other) for other in kept):
            counts["duplicate-contours"] += 1
        else:
            kept.append(raster)
    areas = [int(r.values.sum()) for r in kept]
    depths = [0] * len(kept)
    for n, inner in enumerate(kept):
        for m, outer in enumerate(kept):
            if n == m or (areas[m], m) < (areas[n], n):
                continue
            shared = _shared(inner, outer)
            if shared >= (1 - CONTAINED) * areas[n]:
                depths[n] += 1
            elif shared:
                counts["crossing-contours"] += 1
    counts["nested-contours"] += sum(depth > 0 for depth in depths)
    return kept, depths


def _same(first: Raster, second: Raster) -> bool:
    places = (first.row, first.column) == (second.row, second.column)
    return places and np.array_equal(first.values, second.values)


def _shared(first: Raster, second: Raster) -> int:
    """Pixels in both."""
    top, left = max(first.row, second.row), max(first.column, second.column)
    bottom = min(first.row + first.values.shape[0], second.row + second.values.shape[0])
    right = min(first.column + first.values.shape[1], second.column + second.values.shape[1])
    if top >= bottom or left >= right:
        return 0
    parts = [
        r.values[top - r.row : bottom - r.row, left - r.column : right - r.column]
        for r in (first, second)
    ]
    return int((parts[0] & parts[1]).sum())
