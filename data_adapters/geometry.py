"""Where voxels lie: one convention, and the ways into it and out of it.

World coordinates are LPS in millimetres: x to the patient's left, y to the posterior, z to the
superior, as in DICOM (PS3.3 C.7.6.2.1.1) and ITK. Array axes are (row, column) or (slice, row,
column); an index names a voxel's centre. NIfTI's RAS differs in the sign of x and y.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data_adapters.case import Geometry
from data_adapters.errors import DataError

if TYPE_CHECKING:
    import SimpleITK

Array = NDArray[np.float64]
Triple = tuple[float, float, float]


def to_world(geometry: Geometry, index: Any) -> Array:
    """World coordinates of voxels.

    Args:
        geometry: Where the grid lies; its directions must be known.
        index: (..., n) voxel indices, fractions allowed, in the order of the image axes. Between
            the slices of an irregular stack positions are interpolated, beyond its ends they go on
            with the last step.

    Returns:
        (..., 3) x, y, z in mm, LPS.

    Raises:
        DataError: The directions are not known, or the indices have another number of axes.
    """
    places = np.asarray(index, np.float64)
    axes = _axes(geometry)
    if places.shape[-1:] != (len(axes),):
        raise DataError(f"indices of shape {places.shape} on a grid of {len(axes)} axes")
    if not geometry.positions:
        return np.asarray(np.asarray(geometry.origin) + places @ axes)
    starts = _position_at(np.asarray(geometry.positions), places[..., 0])
    return np.asarray(starts + places[..., 1:] @ axes[1:])


def to_index(geometry: Geometry, points: Any) -> Array:
    """Voxel indices of world points, the inverse of `to_world`.

    On an irregular stack the slice is found by the distance along the stack's normal, and rows and
    columns are counted from that slice's own first voxel.

    Args:
        geometry: Where a volume lies; its directions must be known.
        points: (..., 3) x, y, z in mm, LPS.

    Returns:
        (..., 3) fractional indices in the order of the image axes.

    Raises:
        DataError: The directions are not known, the grid is no volume, or its axes are linearly
            dependent.
    """
    axes = _axes(geometry)
    if len(axes) != 3:
        raise DataError("only volumes have an index for each point in space")
    places = np.asarray(points, np.float64)
    if not geometry.positions:
        try:
            inverse = np.linalg.inv(axes)
        except np.linalg.LinAlgError:
            raise DataError("the axes of the grid are linearly dependent") from None
        return np.asarray((places - np.asarray(geometry.origin)) @ inverse)
    starts = np.asarray(geometry.positions)
    normal = np.asarray(geometry.direction[0])
    depth = _slice_at(starts @ normal, places @ normal)
    offset = places - _position_at(starts, depth)
    step = np.linalg.pinv(axes[1:])
    return np.concatenate([depth[..., None], offset @ step], axis=-1)


def _slice_at(heights: Array, wanted: Array) -> Array:
    """Fractional slice number at a height along the normal; heights grow from slice to slice."""
    if len(heights) == 1:
        return np.zeros_like(wanted)
    inside = np.interp(wanted, heights, np.arange(len(heights)))
    below = (wanted - heights[0]) / (heights[1] - heights[0])
    last = len(heights) - 1
    above = last + (wanted - heights[-1]) / (heights[-1] - heights[-2])
    depth = np.where(wanted < heights[0], below, np.where(wanted > heights[-1], above, inside))
    return np.asarray(depth, np.float64)


def _position_at(starts: Array, depth: Array) -> Array:
    """(..., 3) position of the first voxel at fractional slice numbers."""
    if len(starts) == 1:
        return np.broadcast_to(starts[0], (*depth.shape, 3))
    low = np.clip(np.floor(depth), 0, len(starts) - 2).astype(int)
    part = (depth - low)[..., None]
    return np.asarray(starts[low] * (1 - part) + starts[low + 1] * part)


def _axes(geometry: Geometry) -> Array:
    """(n, 3) step in mm along each image axis."""
    if len(geometry.direction) != len(geometry.spacing):
        raise DataError("the directions of the image axes are not known")
    axes: Array = np.asarray(geometry.direction) * np.asarray(geometry.spacing)[:, None]
    return axes


def affine(geometry: Geometry, *, ras: bool = False) -> Array:
    """(4, 4) matrix from (slice, row, column, 1) to world coordinates of a regular volume.

    Args:
        geometry: A regular volume's.
        ras: To NIfTI's RAS instead of LPS.

    Raises:
        DataError: The volume is irregular, no volume, or its directions are not known.
    """
    axes = _axes(geometry)
    if len(axes) != 3 or geometry.positions:
        raise DataError("only a regular volume has one matrix; resample the stack first")
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = axes.T, geometry.origin
    return np.asarray(np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix) if ras else matrix


def from_affine(matrix: Any, *, ras: bool = False) -> Geometry:
    """Geometry of a volume from its matrix, the inverse of `affine`.

    Args:
        matrix: (4, 4) from (slice, row, column, 1) to world coordinates.
        ras: The matrix leads to RAS.

    Raises:
        DataError: The matrix is of another shape, not finite, or flat.
    """
    full = np.asarray(matrix, np.float64)
    if full.shape != (4, 4) or not np.isfinite(full).all():
        raise DataError("a geometry matrix must be 4 x 4 and finite")
    full = np.diag([-1.0, -1.0, 1.0, 1.0]) @ full if ras else full
    steps = np.linalg.norm(full[:3, :3], axis=0)
    if not (steps > 0).all() or abs(np.linalg.det(full[:3, :3] / steps)) < 1e-6:
        raise DataError("the axes of the geometry matrix are linearly dependent")
    return Geometry(
        spacing=tuple(float(v) for v in steps),
        origin=triple(full[:3, 3]),
        direction=tuple(triple(axis) for axis in (full[:3, :3] / steps).T),
    )


def from_sitk(image: SimpleITK.Image) -> Geometry:
    """Geometry of a 2D or 3D SimpleITK image; its axes are turned into array order.

    A 2D image has spacing only: it does not say in which plane of the patient it lies.
    """
    spacing = tuple(float(v) for v in reversed(image.GetSpacing()))
    if image.GetDimension() != 3:
        return Geometry(spacing)
    columns = np.asarray(image.GetDirection(), np.float64).reshape(3, 3).T
    return Geometry(
        spacing,
        triple(image.GetOrigin()),
        tuple(triple(axis) for axis in columns[::-1]),
    )


def to_sitk(array: NDArray[Any], geometry: Geometry | None) -> SimpleITK.Image:
    """A SimpleITK image of an array without channel axis, (H, W) or (D, H, W).

    Raises:
        DataError: The volume is irregular: resample it first.
    """
    import SimpleITK

    if geometry is not None and geometry.positions:
        raise DataError("an irregular stack is no SimpleITK image; resample it first")
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array))
    if geometry is not None:
        image.SetSpacing([float(v) for v in reversed(geometry.spacing)])
        if array.ndim == 3 and len(geometry.direction) == 3:
            image.SetOrigin(geometry.origin)
            image.SetDirection(np.asarray(geometry.direction)[::-1].T.ravel().tolist())
    return image


def same_grid(first: Geometry, second: Geometry, *, tolerance: float = 1e-3) -> bool:
    """Whether two geometries put voxels at the same places.

    Args:
        first: One geometry.
        second: The other.
        tolerance: Largest difference in mm (per voxel step, for spacing and direction).
    """
    if len(first.spacing) != len(second.spacing):
        return False
    if len(first.positions) != len(second.positions):
        return False
    pairs: list[tuple[Sequence[Any], Sequence[Any]]] = [
        (first.spacing, second.spacing),
        (first.origin, second.origin),
        (first.direction, second.direction),
        (first.positions, second.positions),
    ]
    return all(
        np.shape(a) == np.shape(b) and bool(np.allclose(a, b, rtol=0, atol=tolerance))
        for a, b in pairs
    )


def grid_distance(first: Geometry, second: Geometry, shape: Sequence[int]) -> float:
    """How far apart two geometries put the same voxel, at most.

    Args:
        first: One geometry.
        second: The other.
        shape: Sizes of the grid that both are said to place.

    Returns:
        The largest distance in mm between the corners of the two grids; where one of them has no
        directions, between the grids' sizes; infinite where one is a picture and one a volume, or
        stacks of different slices.
    """
    if len(first.spacing) != len(second.spacing) or len(shape) != len(first.spacing):
        return float("inf")
    last = np.asarray(shape, np.float64) - 1
    if not (first.direction and second.direction):
        return float(np.linalg.norm(last * np.subtract(first.spacing, second.spacing)))
    if {len(first.positions), len(second.positions)} - {0, int(shape[0])}:
        return float("inf")
    corners = np.stack(np.meshgrid(*[(0.0, v) for v in last], indexing="ij"), -1)
    corners = corners.reshape(-1, len(last))
    if first.positions or second.positions:
        slices = np.repeat(np.arange(float(shape[0])), 4)
        inside = np.tile(corners[corners[:, 0] == 0][:, 1:], (int(shape[0]), 1))
        corners = np.concatenate([slices[:, None], inside], axis=1)
    apart = to_world(first, corners) - to_world(second, corners)
    return float(np.linalg.norm(apart, axis=-1).max())


def triple(values: Any) -> Triple:
    """Three plain floats."""
    x, y, z = (float(v) for v in values)
    return x, y, z
