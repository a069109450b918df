"""Connected pieces of a mask of any size, a few rows of it in memory at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]

SLAB = 4_000_000
"""Voxels that are labelled at once."""


class Pieces:
    """Pieces of what is true, numbered from 1 in the order of their first voxel.

    Slabs are labelled one by one, once to count and again whenever they are asked for, and what
    touches across their borders is joined in a graph; so the labels of the whole mask are never in
    memory. 0 stands for what is false.

    Attributes:
        sizes: Voxels of each number.
        enclosed: Whether a piece stays clear of the mask's borders; false for number 0.
    """

    def __init__(
        self,
        where: Callable[[slice], Bools],
        shape: Sequence[int],
        *,
        corners: bool,
        slab: int = SLAB,
    ) -> None:
        """Count them.

        Args:
            where: Gives rows of the mask, ``(rows, *shape[1:])``.
            shape: Of the whole mask, ``(D, H, W)`` or ``(H, W)``.
            corners: Whether voxels that share an edge or a corner touch, not only a face.
            slab: Voxels that are labelled at once.
        """
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        self._where, self._shape, self._corners, self._slab = where, tuple(shape), corners, slab
        counts, edge_of, ends = [np.zeros(1, np.int64)], [], [np.zeros((0, 2), np.int64)]
        total, before = 0, None
        for rows, labels in self._labelled():
            each = np.bincount(labels.ravel())
            counts[0] += each[0]
            counts.append(each[1:])
            edge_of += [_moved(plane, total) for plane in self._border(rows, labels)]
            if before is not None:
                ends.append(_pairs(before, _moved(labels[0], total), corners))
            before = _moved(labels[-1], total)
            total += len(each) - 1
        pairs = np.concatenate(ends)
        graph = coo_array((np.ones(len(pairs), np.int8), pairs.T), shape=(total + 1, total + 1))
        found, self._piece = connected_components(graph, directed=False)
        self.sizes = np.zeros(found, np.int64)
        np.add.at(self.sizes, self._piece, np.concatenate(counts))
        self.enclosed = np.ones(found, bool)
        self.enclosed[0] = False
        for labels in edge_of:
            self.enclosed[self._piece[labels]] = False

    def __iter__(self) -> Iterator[tuple[slice, Array]]:
        """Rows and the number of every voxel in them."""
        total = 0
        for rows, labels in self._labelled():
            count = int(labels.max())
            yield rows, np.append(0, self._piece[total + 1 : total + count + 1])[labels]
            total += count

    def _labelled(self) -> Iterator[tuple[slice, Array]]:
        """Rows, labelled by themselves."""
        from scipy import ndimage

        dims = len(self._shape)
        structure = ndimage.generate_binary_structure(dims, dims if self._corners else 1)
        step = max(1, self._slab // max(1, int(np.prod(self._shape[1:]))))
        for first in range(0, self._shape[0], step):
            rows = slice(first, min(first + step, self._shape[0]))
            yield rows, ndimage.label(self._where(rows), structure)[0]

    def _border(self, rows: slice, labels: Array) -> Iterator[Array]:
        """Labels on the mask's borders, each once."""
        if rows.start == 0:
            yield np.unique(labels[0])
        if rows.stop == self._shape[0]:
            yield np.unique(labels[-1])
        for axis in range(1, labels.ndim):
            yield np.unique(labels.take([0, -1], axis=axis))


def _moved(labels: Array, by: int) -> Array:
    """Labels of a slab as labels of all slabs."""
    return np.where(labels > 0, labels.astype(np.int64) + by, 0)


def _pairs(above: Array, below: Array, corners: bool) -> Array:
    """Labels ``(N, 2)`` that touch between two rows."""
    shifts = itertools.product((-1, 0, 1) if corners else (0,), repeat=above.ndim)
    found = []

    def shifted(shift: tuple[int, ...]) -> Iterator[tuple[int, int]]:
        return zip(shift, above.shape, strict=True)

    for shift in shifts:
        here = above[tuple(slice(max(0, s), n + min(0, s)) for s, n in shifted(shift))]
        there = below[tuple(slice(max(0, -s), n - max(0, s)) for s, n in shifted(shift))]
        both = (here > 0) & (there > 0)
        found.append(np.unique(np.stack([here[both], there[both]], axis=1), axis=0))
    return np.concatenate(found)
