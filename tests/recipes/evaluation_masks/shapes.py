"""Masks that are the same everywhere: whole-number formulas and seeded draws only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]

# (seed, shape, spacing, tolerance) of the recorded pairs.
PAIRS = (
    (0, (24, 30, 28), (1.0, 1.0, 1.0), 1.0),
    (1, (12, 40, 36), (5.0, 0.8, 0.8), 1.6),
    (2, (30, 20, 17), (0.7, 1.3, 2.9), 2.0),
    (3, (1, 40, 33), (3.0, 0.5, 0.9), 0.9),
    (4, (60, 70), (0.4, 1.7), 1.7),
    (5, (50, 31), (1.0, 1.0), 2.0),
)


def blob(rng: np.random.Generator, shape: tuple[int, ...], *, noise: float = 0.0) -> Bools:
    """A union of three boxy balls, some of them cut by the border, with specks."""
    grid = np.indices(shape)
    mask = np.zeros(shape, np.bool_)
    for _ in range(3):
        centre = [int(rng.integers(0, size)) for size in shape]
        radius = [int(rng.integers(1, 2 + size // 3)) for size in shape]
        steps = [abs(g - c) * 60 // r for g, c, r in zip(grid, centre, radius, strict=True)]
        mask |= sum(step * step for step in steps) <= 3600
    return mask ^ (rng.random(shape) < noise)


def pair(seed: int, shape: tuple[int, ...]) -> tuple[Bools, Bools]:
    """Truth, and a prediction that is the truth moved, with a blob more and specks."""
    rng = np.random.default_rng(seed)
    truth = blob(rng, shape)
    moved = np.roll(truth, [int(rng.integers(-2, 3)) for _ in shape], range(len(shape)))
    return truth, (moved | (blob(rng, shape) & (rng.random(shape) < 0.9))) ^ (
        rng.random(shape) < 0.002
    )


def ball(size: int, radius: float, *, shift: int = 0) -> Bools:
    """A ball of `radius` voxels in a cube, its centre moved along the last axis."""
    z, y, x = np.indices((size, size, size)) - size // 2
    return np.asarray(z**2 + y**2 + (x - shift) ** 2 <= radius**2)
