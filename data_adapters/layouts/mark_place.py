"""From marks in millimetres or voxels to lesions on an image's grid."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from data_adapters.case import Geometry, Lesion
from data_adapters.errors import DataError
from data_adapters.geometry import to_index
from data_adapters.layouts.common import usable_box
from data_adapters.layouts.mark_table import Frame, Mark


def place_marks(
    marks: Sequence[Mark],
    grid: tuple[int, ...],
    geometry: Geometry | None,
    *,
    frame: Frame,
    radius_in_mm: bool,
) -> tuple[tuple[Lesion, ...], tuple[str, ...]]:
    """Turn marks into lesions.

    A point's centre is a voxel index (whole at a voxel's centre); its radius counts pixels of the
    image plane; its box encloses the sphere, per axis by that axis' spacing, cut to the image. A
    box's corners count from the corner of the first voxel, so that voxel i spans i to i + 1: half a
    voxel more than indices.

    Args:
        marks: Marks of one image.
        grid: (H, W) or (D, H, W).
        geometry: Where the grid lies.
        frame: What the coordinates count in; `voxel` points are indices, boxes corners.
        radius_in_mm: Radii are millimetres though points are voxels.

    Returns:
        The lesions, and `outside`, `degenerate` or `clipped` for each mark with a fault; the first
        two are left out.

    Raises:
        DataError: Marks and image have different numbers of axes, or the image has no place.
    """
    lesions, faults = [], []
    for mark in marks:
        if len(mark.corners[0]) != len(grid):
            raise DataError(f"marks of {len(mark.corners[0])} axes on an image of {len(grid)}")
        if len(mark.corners) == 2:
            box, fault = usable_box(_corners(mark, geometry, frame), grid)
            lesion = None if box is None else Lesion(mark.label, box=box)
        else:
            lesion, fault = _point(mark, grid, geometry, frame, radius_in_mm)
        if lesion is not None:
            lesions.append(lesion)
        if fault:
            faults.append(fault)
    return tuple(lesions), tuple(faults)


def _index(points: Sequence[Sequence[float]], geometry: Geometry | None) -> np.ndarray:
    """(n, 3) indices of world points; those on an irregular stack too."""
    if geometry is None:
        raise DataError("the image does not say where it lies, and its marks are in millimetres")
    return to_index(geometry, points)


def _corners(mark: Mark, geometry: Geometry | None, frame: Frame) -> tuple[float, ...]:
    """Lowest and highest corner in the order of the image axes."""
    if frame == "voxel":
        low, high = (point[::-1] for point in mark.corners)
        return (*low, *high)
    first, second = mark.corners
    if any(a >= b for a, b in zip(first, second, strict=True)):
        return (math.nan,) * (2 * len(first))
    # A box in world axes need not be one on an oblique grid: take the box around its corners.
    places = _index(list(itertools.product(*zip(first, second, strict=True))), geometry) + 0.5
    return (*map(float, places.min(axis=0)), *map(float, places.max(axis=0)))


def _point(
    mark: Mark,
    grid: tuple[int, ...],
    geometry: Geometry | None,
    frame: Frame,
    radius_in_mm: bool,
) -> tuple[Lesion | None, str]:
    if frame == "world":
        centre = _index([mark.corners[0]], geometry)[0]
    else:
        centre = np.asarray(mark.corners[0][::-1], np.float64)
    if not all(-0.5 <= c < n - 0.5 for c, n in zip(centre, grid, strict=True)):
        return None, "outside"
    place = tuple(float(c) for c in centre)
    if mark.radius is None:
        return Lesion(mark.label, centre=place), ""
    if mark.radius <= 0:
        return None, "degenerate"
    steps = np.ones(len(grid))
    if frame == "world" or radius_in_mm:
        if geometry is None:
            raise DataError("the image has no spacing, and radii are in millimetres")
        steps = np.asarray(geometry.spacing, np.float64)
    reach = mark.radius / steps
    low, high = np.maximum(centre + 0.5 - reach, 0), np.minimum(centre + 0.5 + reach, grid)
    box = (*map(float, low), *map(float, high))
    return Lesion(mark.label, box=box, centre=place, radius=float(reach[-2:].mean())), ""
