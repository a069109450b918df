"""Patches out of volumes and pictures, and slices with their neighbours as channels (2.5D)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_adapters.errors import DataError
from data_adapters.patches.reading import PatchReader

Array = NDArray[Any]


def cut(
    reader: PatchReader,
    row: int,
    start: Sequence[int],
    size: Sequence[int],
    *,
    context: int = 0,
) -> tuple[Array, Array]:
    """One patch.

    Args:
        reader: Reads the case.
        row: Its row.
        start: First voxel along the case's axes; may lie outside.
        size: Voxels along the patch's axes: two for a picture or a slice of a volume.
        context: Neighbouring slices on each side that a slice of a volume takes along.

    Returns:
        Image `(*size, C)` float32, with `context` `(H, W, (2 * context + 1) * C)` as
        `stack_context` orders them; mask `size` int16, with `reading.OUTSIDE` and
        `reading.UNMEASURED` where these apply.
    """
    if len(size) == reader.axes:
        return reader.box(row, start, size)
    slices = reader.sides(row)[0]
    wanted = np.clip(np.arange(start[0] - context, start[0] + context + 1), 0, slices - 1)
    low, high = int(wanted[0]), int(wanted[-1])
    image, mask = reader.box(row, (low, *start[1:]), (high - low + 1, *size))
    image = image[wanted - low]
    centre = mask[int(np.clip(start[0], 0, slices - 1)) - low]
    return _slices_last(image), centre


def stack_context(volume: Array, context: int) -> Array:
    """Every slice of a volume with its neighbours as channels, as patches have them.

    Args:
        volume: `(D, H, W, C)`.
        context: Slices on each side; beyond the ends the last slice goes on.

    Returns:
        `(D, H, W, (2 * context + 1) * C)`: from slice z - context to z + context, the channels of
        a slice together.
    """
    if volume.ndim != 4 or context < 0:
        raise DataError(f"context={context} of a volume of shape {volume.shape}: wanted (D,H,W,C)")
    steps = np.arange(-context, context + 1)
    wanted = np.clip(np.arange(len(volume))[:, None] + steps, 0, len(volume) - 1)
    stacked = np.moveaxis(volume[wanted], 1, 3)
    return np.ascontiguousarray(stacked).reshape(*volume.shape[:3], -1)


def _slices_last(image: Array) -> Array:
    """`(S, H, W, C)` to `(H, W, S * C)`."""
    return np.ascontiguousarray(np.moveaxis(image, 0, 2)).reshape(*image.shape[1:3], -1)
