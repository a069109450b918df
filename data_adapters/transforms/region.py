"""Which voxels belong to the patient, and the box around them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_adapters.case import Case
from data_adapters.errors import DataError

Array = NDArray[Any]
Box = tuple[list[int], list[int]]
_BINS = 256


def measured(case: Case) -> Array | None:
    """Voxels that are no padding; None where all are measured."""
    return None if case.padding is None or not case.padding.any() else ~case.padding


def otsu(values: Array) -> float:
    """Otsu's threshold between dark and bright.

    The histogram has 256 bins up to the 99.5th percentile, so that a few very bright voxels do not
    fill it alone (N. Otsu, IEEE Trans. SMC 9, 1979).

    Args:
        values: Any shape, finite.

    Returns:
        The threshold; what is above it is bright. The value itself where there is only one.
    """
    low, high = float(values.min()), float(np.percentile(values, 99.5))
    if not high > low:
        high = float(values.max())
    if not high > low:
        return low
    counts, edges = np.histogram(np.minimum(values, high), _BINS, (low, high))
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts).astype(np.float64)
    total, mass = below[-1], np.cumsum(counts * middles)
    above = total - below
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = mass / below - (mass[-1] - mass) / above
        between = np.where((below > 0) & (above > 0), below * above * apart**2, -1.0)
    best = np.flatnonzero(between == between.max())
    return float(edges[1 + round(float(best.mean()))])


def foreground(case: Case, channel: int) -> Array:
    """Measured voxels above Otsu's threshold of one channel; all measured ones where none is."""
    values, known = case.image[..., channel], measured(case)
    bright = values > otsu(values if known is None else values[known])
    if known is not None:
        bright &= known
    if bright.any():
        return np.asarray(bright)
    return np.ones(values.shape, bool) if known is None else known


def body_box(case: Case, threshold: float | None) -> Box | None:
    """Box around the largest connected part of the mean over channels that is above a threshold.

    Args:
        case: Any case.
        threshold: In modality units; None for Otsu's.

    Returns:
        Lowest voxel and highest (exclusive); None where nothing is above.
    """
    import SimpleITK

    values = case.image.mean(axis=-1, dtype=np.float32)
    known = measured(case)
    if known is not None and not known.any():
        return None
    limit = otsu(values if known is None else values[known]) if threshold is None else threshold
    inside = values > limit
    if known is not None:
        inside &= known
    if not inside.any():
        return None
    parts = SimpleITK.ConnectedComponent(SimpleITK.GetImageFromArray(inside.astype(np.uint8)))
    labels = SimpleITK.GetArrayFromImage(parts)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return box_around(labels == sizes.argmax())


def mask_box(case: Case) -> Box | None:
    """Box around everything marked; None where nothing is.

    Raises:
        DataError: The case has neither mask nor masks.
    """
    if case.mask is not None:
        return box_around(case.mask > 0)
    if case.masks is not None:
        return box_around(np.asarray((case.masks > 0).any(axis=-1)))
    raise DataError("step 'crop': to='mask', and the case has no mask")


def box_around(inside: Array) -> Box | None:
    """Lowest voxel and highest (exclusive) of what is true; None where nothing is."""
    low, high = [], []
    for axis in range(inside.ndim):
        others = tuple(a for a in range(inside.ndim) if a != axis)
        places = np.flatnonzero(inside.any(axis=others))
        if not len(places):
            return None
        low.append(int(places[0]))
        high.append(int(places[-1]) + 1)
    return low, high
