"""The grid that a segmentation's own frames lie on, from their positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_adapters.case import Geometry
from data_adapters.errors import CaseError
from data_adapters.findings import Finding
from data_adapters.geometry import triple

Array = NDArray[np.float64]

SAME_PLANE_MM = 0.005
"""Frames nearer than this along the normal lie in one plane."""
STEP_TOLERANCE = 0.02
"""How far, in steps, positions may be from a regular stack."""
MOST_SLICES = 1 << 14
"""Most slices to which a segmentation with gaps is filled up."""


@dataclass(frozen=True, slots=True)
class Plane:
    """Where one frame says it lies.

    Attributes:
        position: Centre of the first pixel, (x, y, z) in mm, LPS; None where not said.
        orientation: Directions along a row and along a column; None where not said.
        spacing: Between rows and between columns, mm; None where not said.
        between: SpacingBetweenSlices, mm; None where not said.
        thickness: SliceThickness, mm; None where not said.
    """

    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    between: float | None = None
    thickness: float | None = None


def stack_planes(
    planes: Sequence[Plane], *, case_id: str
) -> tuple[Geometry | None, list[int], int, tuple[Finding, ...]]:
    """Order the planes of frames along their normal and fill the gaps between them.

    The step is SpacingBetweenSlices where the positions agree with it, else the smallest distance
    between two planes; missing planes are filled in where all distances are whole multiples of it.

    Args:
        planes: One per frame, in any order.
        case_id: Pseudonymous id that errors carry.

    Returns:
        Geometry (None where the frames have no position), slice of each frame, number of slices,
        and findings.

    Raises:
        CaseError: `mixed-orientation` or `corrupt`.
    """
    if any(p.position is None or p.orientation is None or p.spacing is None for p in planes):
        return None, list(range(len(planes))), len(planes), ()
    axes = np.array([p.orientation for p in planes], np.float64)
    steps = np.array([p.spacing for p in planes], np.float64)
    places = np.array([p.position for p in planes], np.float64)
    _check(axes, steps, places, case_id)
    along_row, along_column = _unit(axes[0, :3]), _unit(axes[0, 3:])
    normal = np.cross(along_row, along_column)
    heights = places @ normal
    levels, first, where = _levels(heights)
    starts = places[first]
    step = _step(levels, planes[0])
    numbers = np.rint((levels - levels[0]) / step).astype(int)
    regular = len(levels) == 1 or (
        bool(np.abs((levels - levels[0]) / step - numbers).max() <= STEP_TOLERANCE)
        and len(set(numbers.tolist())) == len(numbers)
        and int(numbers[-1]) < MOST_SLICES
    )
    spacing = (step, float(steps[0, 0]), float(steps[0, 1]))
    direction = (triple(normal), triple(along_column), triple(along_row))
    if not regular:
        usual = (float(np.median(np.diff(levels))), *spacing[1:])
        geometry = Geometry(usual, triple(starts[0]), direction, _triples(starts))
        message = f"the segmentation's {len(levels)} planes are no regular stack"
        uneven = Finding("info", "uneven-spacing", message, case_id=case_id)
        return geometry, where.tolist(), len(levels), (uneven,)
    geometry, count = _fill(starts, numbers, spacing, direction)
    return geometry, numbers[where].tolist(), count, _gaps(len(levels), count, case_id)


def _check(axes: Array, steps: Array, places: Array, case_id: str) -> None:
    finite = np.isfinite(axes).all() and np.isfinite(steps).all() and np.isfinite(places).all()
    if axes.shape[1:] != (6,) or steps.shape[1:] != (2,) or places.shape[1:] != (3,) or not finite:
        raise CaseError(case_id, "corrupt", "positions of the frames are not complete")
    across = np.abs((axes[:, :3] * axes[:, 3:]).sum(1))
    lengths = np.linalg.norm(axes.reshape(-1, 2, 3), axis=-1)
    if (steps <= 0).any() or (np.abs(lengths - 1) > 0.01).any() or (across > 0.01).any():
        raise CaseError(case_id, "corrupt", "directions or spacing of the frames are impossible")
    if np.ptp(axes, axis=0).max() > 1e-3 or np.ptp(steps, axis=0).max() > 1e-3 * steps.min():
        message = "frames of the segmentation differ in orientation or spacing"
        raise CaseError(case_id, "mixed-orientation", message)


def _unit(vector: Array) -> Array:
    return np.asarray(vector / np.linalg.norm(vector))


def _triples(points: Array) -> tuple[tuple[float, float, float], ...]:
    return tuple(triple(point) for point in points)


def _levels(heights: Array) -> tuple[Array, NDArray[Any], NDArray[Any]]:
    """Heights of the planes, a frame of each, and each frame's plane; lowest first."""
    order = np.argsort(heights, kind="stable")
    new = np.diff(heights[order], prepend=-np.inf) > SAME_PLANE_MM
    where = np.empty(len(heights), int)
    where[order] = np.cumsum(new) - 1
    first = order[new]
    return heights[first], first, where


def _step(levels: Array, plane: Plane) -> float:
    """Distance of neighbouring slices in mm."""
    stated = plane.between if plane.between and plane.between > 0 else None
    if len(levels) == 1:
        thick = plane.thickness if plane.thickness and plane.thickness > 0 else None
        return float(stated or thick or 1.0)
    gaps = np.diff(levels)
    if stated:
        multiples = gaps / stated
        whole = np.rint(multiples)
        if (whole >= 1).all() and np.abs(multiples - whole).max() <= STEP_TOLERANCE:
            return float(gaps.sum() / whole.sum())
    whole = np.rint(gaps / gaps.min())
    return float(gaps.sum() / whole.sum())


def _fill(
    starts: Array,
    numbers: NDArray[Any],
    spacing: tuple[float, float, float],
    direction: tuple[tuple[float, float, float], ...],
) -> tuple[Geometry, int]:
    """Geometry of all slices from the first to the last; with positions where it is tilted."""
    count = int(numbers[-1]) + 1
    plain = Geometry(spacing, triple(starts[0]), direction)
    inside = starts - starts[0] - numbers[:, None] * spacing[0] * np.asarray(direction[0])
    if np.abs(inside).max() <= max(0.01, STEP_TOLERANCE * min(spacing)):
        return plain, count
    every = np.stack([np.interp(np.arange(count), numbers, starts[:, k]) for k in range(3)], -1)
    return Geometry(spacing, triple(starts[0]), direction, _triples(every)), count


def _gaps(present: int, count: int, case_id: str) -> tuple[Finding, ...]:
    if present == count:
        return ()
    message = f"the segmentation has no frames in {count - present} of its {count} planes: empty"
    return (Finding("info", "sparse-frames", message, case_id=case_id),)
