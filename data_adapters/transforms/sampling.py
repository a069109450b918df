"""Values of an array between its voxels, through SimpleITK."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# Full width at half maximum of a Gaussian in standard deviations.
_WIDTH = 2.0 * np.sqrt(2.0 * np.log(2.0))
_TRUNCATE = 4.0
"""Standard deviations at which a Gaussian ends."""


def sample(
    values: Array, shape: Sequence[int], start: Sequence[float], step: Sequence[float], how: str
) -> Array:
    """Values at regularly spaced places of an array; the nearest edge beyond its ends.

    Args:
        values: (H, W) or (D, H, W).
        shape: Sizes of the result.
        start: Index in `values` of the first place.
        step: Voxels of `values` from place to place, above 0.
        how: `nearest`, `linear` or `bspline` (cubic; overshoot is clipped to the range of
            `values`).

    Returns:
        `shape`; the type of `values` for `nearest`, else float32.
    """
    import SimpleITK

    method = {
        "nearest": SimpleITK.sitkNearestNeighbor,
        "linear": SimpleITK.sitkLinear,
        "bspline": SimpleITK.sitkBSpline,
    }[how]
    source = values if how == "nearest" else values.astype(np.float32, copy=False)
    if how == "bspline":  # a spline needs a neighbour: a single slice is repeated
        for axis in (a for a, n in enumerate(source.shape) if n == 1):
            source = np.repeat(source, 2, axis=axis)
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(source))
    result = SimpleITK.Resample(
        image,
        [int(n) for n in reversed(shape)],
        SimpleITK.Transform(values.ndim, SimpleITK.sitkIdentity),
        method,
        [float(v) for v in reversed(start)],
        [float(v) for v in reversed(step)],
        np.eye(values.ndim).ravel().tolist(),
        0.0,
        image.GetPixelID(),
        True,
    )
    out: Array = SimpleITK.GetArrayFromImage(result)
    return np.clip(out, source.min(), source.max()) if how == "bspline" else out


def smooth_for(values: Array, step: Sequence[float]) -> Array:
    """Remove what a coarser grid cannot hold, before it is sampled.

    Along each axis whose step is f > 1 voxels a Gaussian of variance (f^2 - 1) / (8 ln 2) voxels^2
    makes a point spread one voxel wide into one f voxels wide (Cardoso et al., Scale factor point
    spread function matching, MICCAI 2015).

    Args:
        values: Any float or integer array.
        step: Voxels per new voxel along each axis.

    Returns:
        The array itself where no step is above one, else float32.
    """
    from scipy.ndimage import gaussian_filter1d

    out = values
    for axis, factor in enumerate(step):
        sigma = _sigma(factor)
        if sigma > 0 and values.shape[axis] > 1:
            out = gaussian_filter1d(
                out.astype(np.float32, copy=False),
                sigma,
                axis=axis,
                mode="nearest",
                truncate=_TRUNCATE,
            )
    return out


def smoothing_reach(factor: float) -> int:
    """Voxels on either side that `smooth_for` looks at along an axis of such a step."""
    return int(_TRUNCATE * _sigma(factor) + 0.5)


def _sigma(factor: float) -> float:
    return float(np.sqrt(factor**2 - 1.0) / _WIDTH) if abs(factor) > 1.0 + 1e-6 else 0.0
