"""Values of a box at given places, linearly or from the nearest voxel, at the speed of cv2.

cv2 interpolates pictures only. A volume is laid out as one picture, its slices side by side, and
a place between two slices is a mixture of two bilinear values.
"""

from __future__ import annotations

import math
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
        index = np.zeros(self.shape, np.int64)
        for axis, side in enumerate(self.box):
            index *= side
            index += (self._at[axis] + np.float32(0.5)).astype(np.int64)
        return np.ascontiguousarray(values).reshape(-1)[index]

    def classes(self, mask: Array) -> Array:
        """The class whose share, interpolated linearly, is the largest."""
        low = int(mask.min())
        counts = np.bincount((mask.ravel() - low).astype(np.int64))
        present = [int(k) + low for k in np.flatnonzero(counts)]
        common = int(counts.argmax()) + low
        out = np.full(self.shape, common, mask.dtype)
        if len(present) == 1:
            return out
        shares = {k: self.linear(mask == k) for k in present if k != common}
        best = np.ones(self.shape, np.float32)
        for share in shares.values():
            best -= share
        for k, share in shares.items():
            larger = share > best
            out[larger] = k
            np.maximum(best, share, out=best)
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
