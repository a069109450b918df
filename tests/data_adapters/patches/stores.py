"""Small stores of volumes and pictures with masks, for the tests of patches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_adapters.case import Case, Geometry
from data_adapters.store import Store, build_store
from tests.data_adapters.fakes import Volumes

AXIAL = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
"""Slices upwards, rows to the back, columns to the patient's left."""


class Masked(Volumes):
    """Cases with masks of two classes."""

    class_names = ("background", "common", "rare")


def marked(
    seed: int,
    shape: Sequence[int],
    *,
    rare: bool = True,
    spacing: Sequence[float] = (),
    **parts: Any,
) -> Case:
    """Whole numbers that name their voxel, and a mask with a block of class 1 and a spot of 2."""
    grid = tuple(shape)
    image = np.arange(np.prod(grid), dtype=np.float32).reshape(*grid, 1) + seed * 10_000
    mask = np.zeros(grid, np.int16)
    mask[tuple(slice(n // 4, n // 2) for n in grid)] = 1
    if rare:
        mask[tuple(n // 2 for n in grid)] = 2
    place = Geometry(tuple(spacing), direction=AXIAL[3 - len(grid) :]) if spacing else None
    return Case(image, "x", mask=mask, geometry=place, **parts)


def store_of(cases: Sequence[Case], home: Path) -> Store:
    """A store of the cases as they are."""
    return build_store(Masked(list(cases)), home=home)


def blobs(seed: int, shape: Sequence[int], *, classes: int = 3) -> NDArray[np.int16]:
    """Smooth regions of every class."""
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    scores = [ndimage.gaussian_filter(rng.standard_normal(shape), 2.0) for _ in range(classes)]
    return np.argmax(scores, axis=0).astype(np.int16)
