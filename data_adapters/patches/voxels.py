"""Where the voxels of each class lie: counts, and a bounded random choice of places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_adapters.patches.reading import PatchReader

SLAB = 32
"""Slices read at a time: as many as a brick of the store has."""


@dataclass(frozen=True, eq=False)
class ClassVoxels:
    """The classes of one case: its foreground, and the background where it was asked for.

    Attributes:
        counts: Class -> number of voxels; classes without any are left out.
        places: Class -> flat indices into the case's grid (C order), rising; every voxel of the
            class where there are few, else a random choice of them.
    """

    counts: dict[int, int]
    places: dict[int, NDArray[np.int64]]


def class_voxels(
    reader: PatchReader, row: int, *, limit: int, background: bool = False
) -> ClassVoxels:
    """Find the voxels of each class; memory is bounded by a slab of `SLAB` slices.

    Args:
        reader: Reads the case.
        row: Its row.
        limit: Most places kept per class. The choice is a function of the row alone.
        background: Find the voxels of class 0 too; void (-1) is never one of them.
    """
    sides = reader.sides(row)
    step = SLAB if len(sides) == 3 else sides[0]
    layer = int(np.prod(sides[1:]))
    rng = np.random.default_rng(row)
    found: dict[int, list[tuple[int, NDArray[np.int64]]]] = {}
    for low in range(0, sides[0], step):
        size = (min(step, sides[0] - low), *sides[1:])
        slab = reader.mask(row, (low, *(0,) * (len(sides) - 1)), size).ravel()
        marked = np.flatnonzero(slab >= (0 if background else 1))
        values = slab[marked].astype(np.int64)
        for k in np.flatnonzero(np.bincount(values)):
            places = marked[values == k]
            kept = places if len(places) <= limit else rng.choice(places, limit, replace=False)
            found.setdefault(int(k), []).append((len(places), kept + low * layer))
    counts = {k: sum(n for n, _ in slabs) for k, slabs in found.items()}
    places = {k: _chosen(slabs, counts[k], limit, rng) for k, slabs in found.items()}
    return ClassVoxels(counts, places)


def _chosen(
    slabs: list[tuple[int, NDArray[np.int64]]], total: int, limit: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """At most about `limit` places, from each slab in proportion to its voxels."""
    if total <= limit:
        return np.concatenate([places for _, places in slabs])
    parts = []
    for count, places in slabs:
        wanted = min(len(places), max(1, round(limit * count / total)))
        parts.append(np.sort(rng.permutation(places)[:wanted]))
    return np.concatenate(parts)
