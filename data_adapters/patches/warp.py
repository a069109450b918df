"""The spatial change of a patch: one affine map and one deformation, resampled once.

Rotation and scaling act in millimetres about the patch's centre. The deformation is a cubic
B-spline over a coarse lattice of control points (Rueckert et al. 1999, doi:10.1109/42.796284).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_adapters.patches.policy import PatchPolicy
from data_adapters.patches.resample import Places, mix_along

Array = NDArray[Any]
Floats = NDArray[np.float32]

CELLS = 4
"""Cells of the lattice along the patch's longest side."""
LARGEST_BEND = 0.4
"""Of the lattice's distance: below it a B-spline deformation does not fold (Choi, Lee 2000)."""


@dataclass(frozen=True, eq=False)
class Warp:
    """Where each voxel of a patch comes from.

    Attributes:
        size: Sides of the patch.
        matrix: `(n, n)`: offset from the centre in voxels -> offset of its source in voxels.
        lattice: `(n, *control points)` displacement of the source in voxels, or None.
    """

    size: tuple[int, ...]
    matrix: NDArray[np.float64]
    lattice: Floats | None = None

    def box(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The smallest box that holds all sources: first voxel relative to the patch, and sides."""
        half = (np.array(self.size) - 1) / 2
        reach = np.abs(self.matrix) @ half
        if self.lattice is not None:
            reach = reach + np.abs(self.lattice).reshape(len(self.size), -1).max(axis=1)
        low = np.floor(half - reach + 1e-4).astype(int)
        high = np.ceil(half + reach - 1e-4).astype(int)
        return tuple(int(v) for v in low), tuple(int(v) for v in high - low + 1)

    def places(self) -> Places:
        """The sources as places within the box."""
        low, sides = self.box()
        n = len(self.size)
        half = (np.array(self.size) - 1) / 2
        shift = half - np.array(low)
        steps = [np.arange(side) - (side - 1) / 2 for side in self.size]
        at = np.empty((n, *self.size), np.float32)
        for row in range(n):
            parts = [
                (self.matrix[row, axis] * steps[axis]).reshape(
                    [-1 if other == axis else 1 for other in range(n)]
                )
                for axis in range(n)
            ]
            parts[0] = parts[0] + shift[row]
            at[row] = sum(part.astype(np.float32) for part in parts[1:]) + parts[0].astype(
                np.float32
            )
        if self.lattice is not None:
            at += _dense(self.lattice, self.size)
        return Places(at, sides)


def affine_matrix(
    angles: Sequence[float] | NDArray[np.float64],
    scale: float,
    spacing: Sequence[float],
    thick: Sequence[bool],
) -> NDArray[np.float64]:
    """Rotation and scaling in millimetres as a matrix on voxel offsets, from target to source.

    Args:
        angles: Radians about each axis of a volume; one for a picture.
        scale: Factor by which structures grow.
        spacing: Millimetres per voxel.
        thick: Axes that are left as they are; rotations that would turn them are left out.
    """
    n = len(spacing)
    turn = np.eye(n)
    planes = [(0, 1)] if n == 2 else [(1, 2), (0, 2), (0, 1)]
    for (a, b), angle in zip(planes, angles, strict=True):
        if thick[a] or thick[b] or angle == 0:
            continue
        one = np.eye(n)
        one[a, a] = one[b, b] = math.cos(angle)
        one[a, b], one[b, a] = -math.sin(angle), math.sin(angle)
        turn = turn @ one
    grown = np.diag([1.0 if fixed else 1.0 / scale for fixed in thick])
    mm = np.asarray(spacing, np.float64)
    return np.asarray((turn @ grown) * mm[None, :] / mm[:, None])


def thick_axes(spacing: Sequence[float], ratio: float) -> tuple[bool, ...]:
    """Which axes are at least `ratio` times as coarse as the finest."""
    return tuple(bool(mm >= ratio * min(spacing)) for mm in spacing)


def draw_warp(
    policy: PatchPolicy,
    size: tuple[int, ...],
    spacing: Sequence[float],
    rng: np.random.Generator,
) -> Warp | None:
    """Draw the spatial change of a patch; None where it stays as it is."""
    n = len(size)
    thick = thick_axes(spacing, policy.thick)
    chances = rng.random(3)
    angles = rng.uniform(-1.0, 1.0, 3 if n == 3 else 1) * math.radians(policy.rotate_deg)
    grow = float(np.exp(rng.uniform(-1.0, 1.0) * math.log1p(policy.scale)))
    rotated = bool(policy.rotate_deg) and chances[0] < policy.p_rotate
    scaled = bool(policy.scale) and chances[1] < policy.p_scale
    bent = bool(policy.elastic) and chances[2] < policy.p_elastic
    if not (rotated or scaled or bent):
        return None
    matrix = affine_matrix(
        angles if rotated else angles * 0, grow if scaled else 1.0, spacing, thick
    )
    lattice = draw_lattice(policy.elastic, size, spacing, thick, rng) if bent else None
    return Warp(size, matrix, lattice)


def draw_lattice(
    elastic: float,
    size: Sequence[int],
    spacing: Sequence[float],
    thick: Sequence[bool],
    rng: np.random.Generator,
) -> Floats:
    """Control points `(n, *points)` in voxels; thick axes are not displaced."""
    extent = np.asarray(size) * np.asarray(spacing)
    cell = extent.max() / CELLS
    cells = [max(1, round(float(mm / cell))) for mm in extent]
    drawn = rng.standard_normal((len(cells), *(count + 3 for count in cells)), np.float32)
    for axis, count in enumerate(cells):
        bend = 0.0 if thick[axis] else size[axis] / count
        drawn[axis] = np.clip(drawn[axis] * elastic, -LARGEST_BEND, LARGEST_BEND) * bend
    return drawn


def _dense(lattice: Floats, size: Sequence[int]) -> Floats:
    """Displacement of every voxel: a uniform cubic B-spline applied axis by axis."""
    dense = lattice
    for axis, side in enumerate(size):
        cells = lattice.shape[axis + 1] - 3
        at = (np.arange(side) + 0.5) * cells / side
        cell = np.minimum(at.astype(np.intp), cells - 1)
        u = at - cell
        cubes = ((1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3)
        weights = [np.asarray(cube / 6, np.float32) for cube in cubes]
        dense = mix_along(dense, axis + 1, [cell + k for k in range(4)], weights)
    return dense
