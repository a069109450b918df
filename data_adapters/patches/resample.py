"""Values of a box at given places, linearly or from the nearest voxel, at the speed of cv2.

cv2 interpolates pictures only. A volume is laid out as one picture, its slices side by side, and
a place between two slices is a mixture of two bilinear values. cv2 before version 5 rounds places
to 1/32 of a voxel.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float32]

_LARGEST = 32000
"""Sides of pictures that cv2.remap takes are below 2^15."""


class Places:
    """Places within a box at which its values are wanted.

    Attributes:
        box: Sides of the box.
        shape: Shape of the result.
    """

    def __init__(self, coordinates: Floats, box: tuple[int, ...]) -> None:
        """Prepare the places.

        Args:
            coordinates: `(n, *shape)` voxel coordinates in a box of n axes (2 or 3); those beyond
                the box take its edge. Changed in place.
            box: Sides of the box.
        """
        self.box, self.shape = box, coordinates.shape[1:]
        for axis, side in enumerate(box):
            np.clip(coordinates[axis], 0, side - 1, out=coordinates[axis])
        self._at = coordinates
        self._maps: list[tuple[Floats, Floats]] = []
        self._between: Floats | None = None
        self._columns = 1
        flat = (int(np.prod(self.shape[:-1])), self.shape[-1])
        rows, columns = (coordinates[axis].reshape(flat) for axis in (-2, -1))
        if len(box) == 2:
            self._maps = [(columns, rows)]
            return
        depth, height, width = box
        self._columns = _tiles(depth, height, width)
        below = np.floor(coordinates[0].reshape(flat))
        self._between = coordinates[0].reshape(flat) - below
        for slices in (below, np.minimum(below + 1, np.float32(depth - 1))):
            down = np.floor(slices / np.float32(self._columns))
            across = slices - down * np.float32(self._columns)
            self._maps.append((columns + across * width, rows + down * height))
            if not self._between.any():
                self._between = None
                break

    def linear(self, values: Array) -> Floats:
        """Linear interpolation of `values`, of the box's shape; float32 of `shape`."""
        source = self._laid_out(values.astype(np.float32, copy=False))
        found = [_remap(source, *maps) for maps in self._maps]
        if self._between is None:
            return found[0].reshape(self.shape)
        low, high = found
        high -= low
        high *= self._between
        low += high
        return low.reshape(self.shape)

    def cubic(self, values: Array) -> Floats:
        """Cubic B-spline interpolation, held to the range of `values`."""
        from scipy import ndimage

        source = values.astype(np.float32, copy=False)
        out: Floats = ndimage.map_coordinates(
            source, self._at, order=3, output=np.float32, mode="nearest"
        )
        return np.clip(out, source.min(), source.max())

    def nearest(self, values: Array) -> Array:
        """The nearest voxel's value, in the type of `values`."""
        index = [(at + np.float32(0.5)).astype(np.int32) for at in self._at]
        return np.ascontiguousarray(values).reshape(-1)[_flat(index, self.box)]

    def classes(self, mask: Array) -> Array:
        """The class whose share, interpolated linearly, is the largest; of equal ones the lowest.

        Only places between voxels of different classes are interpolated.
        """
        solid = np.ascontiguousarray(mask)
        lowest, highest = _corners(solid, np.minimum), _corners(solid, np.maximum)
        shape = lowest.shape
        below = [at.astype(np.int32) for at in self._at]
        for corner, side in zip(below, shape, strict=True):
            np.minimum(corner, side - 1, out=corner)
        index = _flat(below, shape)
        out = lowest.reshape(-1)[index]
        mixed = np.flatnonzero((lowest != highest).reshape(-1)[index])
        if len(mixed):
            corners = [corner.reshape(-1)[mixed] for corner in below]
            parts = [at.reshape(-1)[mixed] for at in self._at]
            parts = [at - corner for at, corner in zip(parts, corners, strict=True)]
            out.reshape(-1)[mixed] = _largest_share(solid, corners, parts)
        return out

    def _laid_out(self, values: Floats) -> Floats:
        """A volume as one picture: slices in rows of `_columns`."""
        if values.ndim == 2:
            return np.ascontiguousarray(values)
        depth, height, width = values.shape
        down = -(-depth // self._columns)
        full = values
        if down * self._columns != depth:
            full = np.zeros((down * self._columns, height, width), np.float32)
            full[:depth] = values
        parts = full.reshape(down, self._columns, height, width).transpose(0, 2, 1, 3)
        return np.ascontiguousarray(parts).reshape(down * height, self._columns * width)


def _tiles(depth: int, height: int, width: int) -> int:
    """Slices side by side that make the picture about square: coordinates keep their precision."""
    columns = max(1, min(depth, round(math.sqrt(depth * height / width))))
    while columns > 1 and columns * width > _LARGEST:
        columns -= 1
    return columns


def _remap(source: Floats, columns: Floats, rows: Floats) -> Floats:
    """Bilinear values; a longer target is made in parts."""
    if len(columns) <= _LARGEST:
        return np.asarray(
            cv2.remap(source, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        )
    step = _LARGEST
    return np.concatenate(
        [
            _remap(source, columns[low : low + step], rows[low : low + step])
            for low in range(0, len(columns), step)
        ]
    )


def _corners(mask: Array, pick: np.ufunc) -> Array:
    """The least or largest of the values at the corners of every cell between voxels."""
    found = mask
    for axis, side in enumerate(mask.shape):
        if side > 1:
            lower = found[(slice(None),) * axis + (slice(None, -1),)]
            upper = found[(slice(None),) * axis + (slice(1, None),)]
            found = pick(lower, upper)
    return np.ascontiguousarray(found)


def _flat(index: Sequence[NDArray[np.int32]], shape: Sequence[int]) -> NDArray[np.int64]:
    """Flat places (C order) of indices per axis."""
    flat = index[0].astype(np.int64)
    for axis in range(1, len(shape)):
        flat *= shape[axis]
        flat += index[axis]
    return flat


def _largest_share(
    mask: Array, corners: Sequence[NDArray[np.int32]], parts: Sequence[Floats]
) -> Array:
    """The class with the most weight among the corners around each place."""
    labels, weights = [], []
    for corner in itertools.product((0, 1), repeat=mask.ndim):
        index = [
            np.minimum(low + step, side - 1) if step else low
            for low, step, side in zip(corners, corner, mask.shape, strict=True)
        ]
        labels.append(mask.reshape(-1)[_flat(index, mask.shape)])
        weight = np.ones(len(index[0]), np.float32)
        for step, part in zip(corner, parts, strict=True):
            weight *= part if step else 1 - part
        weights.append(weight)
    return _winner(np.stack(labels), np.stack(weights))


def _winner(labels: Array, weights: Floats) -> Array:
    """The label with the most weight down each column; of two equal ones the lower."""
    low, high = labels.min(axis=0), labels.max(axis=0)
    of_low = (weights * (labels == low)).sum(axis=0)
    of_high = (weights * (labels == high)).sum(axis=0)
    best = np.maximum(of_low, of_high)
    out = np.where(of_high > of_low, high, low)
    open_ = np.flatnonzero((weights.sum(axis=0) - of_low - of_high > best) & (low != high))
    if len(open_):  # a third class may be larger: only few places
        labels, weights, best = labels[:, open_], weights[:, open_], best[open_]
        chosen = out[open_]
        for k in np.unique(labels):
            share = (weights * (labels == k)).sum(axis=0)
            larger = share > best
            chosen[larger] = k
            np.maximum(best, share, out=best)
        out[open_] = chosen
    return np.asarray(out)


def mix_along(
    values: Floats, axis: int, taken: Sequence[NDArray[np.intp]], weights: Sequence[Floats]
) -> Floats:
    """Weighted sums of a few places along an axis, without BLAS and its threads.

    Args:
        values: Any shape.
        axis: Axis that is replaced.
        taken: Per summand the places along the axis, as many as the result has.
        weights: Per summand the weights of these places.
    """
    out = np.zeros((), np.float32)
    for places, weight in zip(taken, weights, strict=True):
        shaped = weight.astype(np.float32).reshape((-1,) + (1,) * (values.ndim - axis - 1))
        part = values.take(places, axis=axis)
        part *= shaped
        out = part if out.ndim == 0 else np.add(out, part, out=out)
    return np.asarray(out)
