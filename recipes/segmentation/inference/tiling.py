"""Tiles with a halo, whose joined results are those of one pass over the whole image."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np

from recipes.segmentation.inference.planning import Plan, tile_ends
from recipes.segmentation.inference.windows import Canvas, Floats

Slab = tuple[int, int, Floats]


def tiled_slabs(
    run: Callable[[Floats], Floats], canvas: Canvas, plan: Plan, classes: int
) -> Iterator[Slab]:
    """Join tiles along the first axis, one row of tiles at a time.

    A tile starts at a multiple of the network's stride and sees ``plan.halo`` real samples beyond
    its part of the result; where the image ends there, the network pads as it does for the whole.

    Args:
        run: Values of a batch of windows.
        canvas: The image.
        plan: Where the tiles lie.
        classes: Values per sample.

    Yields:
        First row, row behind the last, and values ``(rows, *spatial, classes)`` of the canvas.
    """
    axes = [
        _parts(starts, *sizes)
        for starts, *sizes in zip(plan.starts, plan.size, plan.window, plan.halo, strict=True)
    ]
    for start, first, last in axes[0]:
        slab = np.empty((last - first, *plan.size[1:], classes), np.float32)
        for place in itertools.product(*axes[1:]):
            window = canvas.cut((start, *(part[0] for part in place)), plan.window)
            values = run(window[None])[0]
            parts = ((start, first, last), *place)
            inner = tuple(slice(low - begin, high - begin) for begin, low, high in parts)
            slab[(slice(None), *(slice(low, high) for _, low, high in place))] = values[inner]
        yield first, last, slab


def _parts(
    starts: tuple[int, ...], side: int, window: int, halo: int
) -> list[tuple[int, int, int]]:
    """Start of every tile along an axis, and its part of the result."""
    ends = tile_ends(starts, side, window, halo)
    return list(zip(starts, [0, *ends[:-1]], ends, strict=True))
