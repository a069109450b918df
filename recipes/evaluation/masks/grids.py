"""Checks of a pair of masks, and the part of the grid that holds them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recipes.errors import RecipeError

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Box = tuple[slice, ...]


def check_spacing(spacing: Sequence[float] | float | None, ndim: int) -> tuple[float, ...]:
    """Spacing of each array axis in mm.

    Args:
        spacing: One value per axis, one for all, or None for 1 mm.
        ndim: Number of axes.

    Raises:
        RecipeError: Another number of values, or one that is not finite and positive.
    """
    given: Any = 1.0 if spacing is None else spacing
    try:
        values = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        raise RecipeError(f"spacing={spacing!r}: wanted one number in mm per axis") from None
    steps = tuple(float(v) for v in np.broadcast_to(values, (ndim,))) if values.ndim == 0 else ()
    steps = steps or tuple(float(v) for v in values.ravel())
    if len(steps) != ndim:
        raise RecipeError(f"spacing={spacing!r} has {len(steps)} values for masks of {ndim} axes")
    if not all(math.isfinite(step) and step > 0 for step in steps):
        raise RecipeError(f"spacing={spacing!r}: wanted finite values above 0 mm")
    return steps


def check_binary(truth: Any, prediction: Any) -> tuple[Bools, Bools]:
    """Two binary masks of one shape as booleans; nothing is copied that is boolean already.

    Args:
        truth: (H, W) or (D, H, W); booleans, or the numbers 0 and 1.
        prediction: Likewise.

    Raises:
        RecipeError: Other shapes or values.
    """
    pair = tuple(
        _as_bools(mask, name) for mask, name in ((truth, "truth"), (prediction, "prediction"))
    )
    check_shapes(pair[0].shape, pair[1].shape)
    return pair[0], pair[1]


def check_shapes(truth: Sequence[int], prediction: Sequence[int]) -> None:
    """Refuse masks that are not both (H, W) or (D, H, W) of one size.

    Raises:
        RecipeError: They differ, hold no voxel, or have another number of axes.
    """
    if tuple(truth) != tuple(prediction):
        raise RecipeError(
            f"truth has shape {tuple(truth)} and prediction {tuple(prediction)}: "
            "resample the prediction to the grid of the truth first"
        )
    if len(truth) not in (2, 3) or 0 in truth:
        raise RecipeError(f"masks of shape {tuple(truth)}: wanted (H, W) or (D, H, W)")


def _as_bools(mask: Any, name: str) -> Bools:
    array = np.asarray(mask)
    if array.dtype == np.bool_:
        return array
    if array.dtype.kind not in "uif":
        raise RecipeError(f"{name} has values of type {array.dtype}: wanted booleans, or 0 and 1")
    positive = array == 1
    if not bool((positive | (array == 0)).all()):
        raise RecipeError(f"{name} is not binary: compare with one class first (mask == k)")
    return np.asarray(positive)


def bounding_box(mask: Bools) -> Box | None:
    """The smallest box that holds every True voxel; None where there is none."""
    box = []
    for axis in range(mask.ndim):
        others = tuple(i for i in range(mask.ndim) if i != axis)
        if axis == mask.ndim - 1:
            held = np.logical_or.reduce(mask.reshape(-1, mask.shape[-1]), axis=0)
        elif axis == 0 and mask.flags.c_contiguous:
            held = mask.reshape(len(mask), -1).any(axis=1)
        else:
            held = mask.any(axis=others)
        places = np.flatnonzero(held)
        if not len(places):
            return None
        box.append(slice(int(places[0]), int(places[-1]) + 1))
        mask = mask[(*(slice(None),) * axis, box[-1])]
    return tuple(box)


def joint_box(first: Bools, second: Bools) -> Box | None:
    """The smallest box that holds both masks; None where both are empty."""
    boxes = [box for box in (bounding_box(first), bounding_box(second)) if box is not None]
    if not boxes:
        return None
    return tuple(
        slice(min(part.start for part in parts), max(part.stop for part in parts))
        for parts in zip(*boxes, strict=True)
    )
