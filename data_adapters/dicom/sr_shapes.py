"""What a graphic type and its points enclose (PS3.3 C.18.6.1.2 and C.18.9.1.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_adapters.case import Lesion

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Extent:
    """Where a lesion lies, (slice, row, column); whole numbers are voxel centres.

    Attributes:
        centre: Its centre.
        half: Half its size along each axis; None for a mere point.
        radius: In-plane radius of a circle or of a line's surroundings; None otherwise.
    """

    centre: Array
    half: Array | None = None
    radius: float | None = None

    def outside(self, size: Sequence[int]) -> bool:
        """Whether it lies beyond an image of (D, H, W) voxels altogether."""
        reach = 0.0 if self.half is None else self.half
        low, high = self.centre - reach, self.centre + reach
        return bool(((high < -0.5) | (low > np.array(size) - 0.5)).any())

    def lesion(self, label: int, axes: int) -> Lesion:
        """As a lesion of an image with 2 or 3 axes.

        The box spans the voxels' outer edges, voxel 0 from 0 to 1; a mark that lies in one slice
        takes that whole slice.
        """
        centre = tuple(float(v) for v in self.centre[3 - axes :])
        if self.half is None:
            return Lesion(label, None, centre, self.radius)
        low, high = self.centre - self.half + 0.5, self.centre + self.half + 0.5
        low[0] = np.floor(self.centre[0] - self.half[0] + 0.5)
        high[0] = np.floor(self.centre[0] + self.half[0] + 0.5) + 1
        ends = (*low[3 - axes :].tolist(), *high[3 - axes :].tolist())
        return Lesion(label, ends, centre, self.radius)


def shape_extents(shape: str, points: Array) -> list[Extent] | None:
    """Extents of one mark.

    Args:
        shape: Graphic Type.
        points: (n, 3) voxel indices.

    Returns:
        One extent, or one per point of `POINT` and `MULTIPOINT`; None for a shape that is not
        known or has the wrong number of points.
    """
    if shape in ("POINT", "MULTIPOINT"):
        return [Extent(point) for point in points]
    if shape == "CIRCLE" and len(points) == 2:
        radius = float(np.linalg.norm(points[1] - points[0]))
        return [Extent(points[0], np.array([0.0, radius, radius]), radius)]
    if (shape, len(points)) in (("ELLIPSE", 4), ("ELLIPSOID", 6)):
        arms = (points[1::2] - points[::2]) / 2
        return [Extent(points.mean(0), np.linalg.norm(arms, axis=0))]
    if shape in ("POLYLINE", "POLYGON"):
        distinct = np.unique(points, axis=0)
        if len(distinct) < 3:
            reach = float(np.linalg.norm(np.ptp(distinct[:, 1:], axis=0)) / 2)
            return [Extent(distinct.mean(0), None, reach or None)]
        low, high = points.min(0), points.max(0)
        return [Extent((low + high) / 2, (high - low) / 2)]
    return None


def join(extents: list[Extent]) -> list[Extent]:
    """The box around boxes; points by themselves stay points."""
    solid = [extent for extent in extents if extent.half is not None]
    if len(solid) < 2:
        return extents
    low = np.min([e.centre - e.half for e in solid if e.half is not None], axis=0)
    high = np.max([e.centre + e.half for e in solid if e.half is not None], axis=0)
    points = [extent for extent in extents if extent.half is None]
    return [Extent((low + high) / 2, (high - low) / 2), *points]
