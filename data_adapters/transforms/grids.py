"""How a step moves a grid: which axis goes where, by which factor and shift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from data_adapters.case import Geometry, Lesion
from data_adapters.errors import DataError
from data_adapters.geometry import to_world, triple

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """Where the voxels of an array lie.

    Attributes:
        shape: (H, W) or (D, H, W).
        geometry: Their place; None where it is not known.
    """

    shape: tuple[int, ...]
    geometry: Geometry | None


@dataclass(frozen=True)
class AxisMap:
    """From indices of a new grid to indices of an old one, axis by axis.

    The old index along axis `axes[i]` is `start[i] + step[i] * new index along axis i`.

    Attributes:
        axes: Old axis of each new axis.
        start: Old index of the first new voxel, in the order of the new axes.
        step: Old voxels per new voxel; negative where the axis is turned round.
    """

    axes: tuple[int, ...]
    start: tuple[float, ...]
    step: tuple[float, ...]

    def old_index(self, new: Sequence[float] | Floats) -> Floats:
        """(n,) old index of a new one."""
        old = np.empty(len(self.axes))
        old[list(self.axes)] = np.asarray(self.start) + np.asarray(self.step) * np.asarray(new)
        return old

    def new_index(self, old: Sequence[float] | Floats) -> Floats:
        """(n,) new index of an old one."""
        turned = np.asarray(old, np.float64)[list(self.axes)]
        return np.asarray((turned - np.asarray(self.start)) / np.asarray(self.step))


def shifted(start: Sequence[float]) -> AxisMap:
    """The map of a crop or pad that begins at an old index."""
    count = len(start)
    return AxisMap(tuple(range(count)), tuple(float(v) for v in start), (1.0,) * count)


def mapped_geometry(grid: Grid, moved: AxisMap, shape: tuple[int, ...]) -> Geometry | None:
    """Geometry of the new grid.

    Args:
        grid: The old one.
        moved: The map between them.
        shape: Sizes of the new one.

    Raises:
        DataError: An irregular stack would have its slices mixed or stretched.
    """
    geometry = grid.geometry
    if geometry is None:
        return None
    order, step = list(moved.axes), np.asarray(moved.step)
    spacing = tuple(
        float(geometry.spacing[old] * abs(s)) for old, s in zip(order, step, strict=True)
    )
    if not geometry.direction:
        return Geometry(spacing)
    direction = tuple(
        triple(np.asarray(geometry.direction[old]) * np.sign(s))
        for old, s in zip(order, step, strict=True)
    )
    if not geometry.positions:
        origin = to_world(geometry, moved.old_index(np.zeros(len(order))))
        return Geometry(spacing, triple(origin), direction)
    if order != list(range(len(order))) or abs(step[0]) != 1:
        raise DataError("the slices of an irregular stack cannot be moved: resample it first")
    places = [to_world(geometry, moved.old_index([k, 0, 0])) for k in range(shape[0])]
    steps = np.diff(np.asarray(places) @ np.asarray(direction[0]))
    first = float(np.median(steps)) if len(steps) else spacing[0]
    return Geometry(
        (first, *spacing[1:]), triple(places[0]), direction, tuple(triple(p) for p in places)
    )


def mapped_lesions(lesions: Sequence[Lesion], moved: AxisMap) -> tuple[Lesion, ...]:
    """Lesions in voxels of the new grid; those outside it keep indices outside.

    A box runs from the near face of its first voxel to the near face of the voxel behind its last,
    half a voxel before their centres.
    """
    return tuple(_mapped_lesion(lesion, moved) for lesion in lesions)


def _mapped_lesion(lesion: Lesion, moved: AxisMap) -> Lesion:
    box, centre, radius = lesion.box, lesion.centre, lesion.radius
    if box is not None:
        count = len(box) // 2
        faces = np.stack(
            [moved.new_index(np.asarray(side) - 0.5) for side in (box[:count], box[count:])]
        )
        ends = np.concatenate([faces.min(axis=0), faces.max(axis=0)]) + 0.5
        box = tuple(float(v) for v in ends)
    if centre is not None:
        centre = tuple(float(v) for v in moved.new_index(centre))
    if radius is not None:
        radius = radius / abs(moved.step[-1])
    return replace(lesion, box=box, centre=centre, radius=radius)
