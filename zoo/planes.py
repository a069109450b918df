"""2.5D: neighbouring slices, or three orthogonal planes, as the channels of a 2D network.

Axes are ``(depth, height, width)``, or with channels behind them. The planes through a voxel follow
Roth et al., arXiv:1406.2639; ``create_backbone(..., dims=2.5)`` takes the slabs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.errors import ZooError

if TYPE_CHECKING:
    import keras

Array = np.ndarray[Any, np.dtype[Any]]


def neighbouring_slices(
    volume: Array, index: int, *, count: int, step: int = 1, axis: int = 0
) -> Array:
    """Take a slice with its neighbours; beyond the ends the first or last slice is repeated.

    Args:
        volume: Three axes, or four with channels last.
        index: The middle slice; of an even count the one before the middle.
        count: Number of slices.
        step: Slices from one to the next.
        axis: Axis of the volume that the slices are taken along.

    Returns:
        ``(count, ...)``: the slices in rising order in front, a copy.

    Raises:
        ZooError: For a slice that the volume does not have, or a count or step below 1.
    """
    _check_slab(volume, count=count, step=step, axis=axis)
    size = volume.shape[axis]
    if not 0 <= index < size:
        raise ZooError(f"slice {index} is not one of the {size} along axis {axis}: 0 to {size - 1}")
    return np.moveaxis(volume.take(_around(index, count, step, size), axis=axis), axis, 0)


def slabs(volume: Array, *, count: int, step: int = 1, axis: int = 0) -> Array:
    """Take every slice with its neighbours, as ``neighbouring_slices`` does for one.

    Returns:
        ``(slices, count, ...)``, a copy ``count`` times as large as the volume.

    Raises:
        ZooError: For a count or step below 1, or no such axis.
    """
    _check_slab(volume, count=count, step=step, axis=axis)
    ahead = np.moveaxis(volume, axis, 0)
    rows = np.arange(len(ahead))[:, None]
    return ahead[_around(rows, count, step, len(ahead))]


def orthogonal_planes(
    volume: Array,
    centre: tuple[int, int, int],
    *,
    size: int,
    spacing: tuple[float, float, float] | None = None,
    pixel: float | None = None,
    fill: float = 0.0,
) -> Array:
    """Cut the three planes through a voxel, as channels of one square picture.

    Args:
        volume: ``(depth, height, width)``, or with channels last.
        centre: The voxel; it comes to row and column ``size // 2`` of each plane.
        size: Side of the picture in pixels.
        spacing: Voxel size along the three axes in mm: planes are then sampled linearly at square
            pixels. None: one pixel is one voxel.
        pixel: Pixel size in mm; None: the smallest spacing.
        fill: Value outside the volume.

    Returns:
        ``(size, size, 3)``: axial (rows height, columns width), coronal (depth, width) and
        sagittal (depth, height); with C channels ``(size, size, 3 * C)``, plane by plane. The type
        of the volume, or float32 where it was sampled.

    Raises:
        ZooError: For a centre outside the volume, or sizes that are not positive.
    """
    if volume.ndim not in (3, 4) or size < 1:
        raise ZooError(f"cannot cut planes of {size} pixels from a volume of {volume.shape}")
    if not all(0 <= at < side for at, side in zip(centre, volume.shape, strict=False)):
        raise ZooError(f"centre {centre} lies outside the volume {volume.shape[:3]}")
    if (spacing is None and pixel is not None) or not all(
        np.isfinite(one) and one > 0 for one in (*(spacing or ()), 1.0 if pixel is None else pixel)
    ):
        raise ZooError(f"spacing {spacing} and pixel {pixel} must be positive sizes in mm, or None")
    scale = (1.0, 1.0, 1.0)
    if spacing is not None:
        across = min(spacing) if pixel is None else pixel
        scale = tuple(across / one for one in spacing)  # type: ignore[assignment]
        volume = volume if volume.dtype == np.float64 else volume.astype("float32")
    offsets = np.arange(size) - size // 2
    planes = []
    for away in range(3):
        plane = volume.take(centre[away], axis=away)
        rows, columns = (axis for axis in range(3) if axis != away)
        plane = _sample(plane, centre[rows] + offsets * scale[rows], axis=0, fill=fill)
        planes.append(_sample(plane, centre[columns] + offsets * scale[columns], axis=1, fill=fill))
    if volume.ndim == 3:
        return np.stack(planes, axis=-1)
    return np.concatenate(planes, axis=-1)


def slices_as_channels(x: keras.KerasTensor) -> keras.KerasTensor:
    """Put the slices of a slab into the channels, slice by slice.

    Args:
        x: ``(batch, slices, height, width, channels)``, the number of slices known.

    Returns:
        ``(batch, height, width, slices * channels)``, out of operations with stable names.
    """
    import keras

    parts = []
    for index in range(x.shape[1]):
        part = x[:, index]
        part._keras_history.operation.name = f"slice{index}"
        parts.append(part)
    return parts[0] if len(parts) == 1 else keras.layers.Concatenate(name="slices")(parts)


def _check_slab(volume: Array, *, count: int, step: int, axis: int) -> None:
    if volume.ndim not in (3, 4) or axis not in (0, 1, 2):
        raise ZooError(f"cannot take slices along axis {axis} of a volume of {volume.shape}")
    if count < 1 or step < 1:
        raise ZooError(f"count {count} and step {step} must be 1 or more")


def _around(index: Any, count: int, step: int, size: int) -> Array:
    steps = (np.arange(count) - (count - 1) // 2) * step
    result: Array = np.clip(index + steps, 0, size - 1)
    return result


def _sample(plane: Array, where: Array, *, axis: int, fill: float) -> Array:
    """Take a plane at positions along one axis, between voxels linearly, outside ``fill``."""
    last = plane.shape[axis] - 1
    inside = (where >= 0) & (where <= last)
    held = np.clip(where, 0, last)
    lower = np.floor(held).astype(int)
    shape = [-1 if one == axis else 1 for one in range(plane.ndim)]
    found = plane.take(lower, axis=axis)
    share = (held - lower).reshape(shape)
    if share.any():
        upper = plane.take(np.minimum(lower + 1, last), axis=axis)
        found = (found * (1 - share) + upper * share).astype(plane.dtype)
    result: Array = np.where(inside.reshape(shape), found, np.asarray(fill, plane.dtype))
    return result
