"""Occlusion: what the score loses where a part of the image is covered."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from recipes.explaining.errors import ExplainError
from recipes.explaining.network import Array, Explained, Floats, at_once

BATCH = 16


def occlusion(
    network: Explained,
    image: Array,
    weights: Array,
    *,
    fill: Array | float,
    patch: Sequence[int] | None = None,
    stride: Sequence[int] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Floats:
    """Mean loss of the score over the covers that a pixel was under.

    Zeiler and Fergus (2014, arXiv:1311.2901); covers are moved over the whole image, the last one
    flush with its end, and every pixel gets the mean of those that hid it.

    Args:
        network: The network.
        image: ``(*grid, channels)``.
        weights: The score, ``(*output_shape)``.
        fill: What a cover shows: a value, or an image.
        patch: Sides of a cover; a fifth of the image in the plane, a third in space.
        stride: From one cover to the next; half of its sides.
        progress: Called with (done, total) covers.

    Returns:
        ``(*grid)``: positive where covering lowers the score.

    Raises:
        ExplainError: Sides or strides do not fit the image.
    """
    x = np.asarray(image, np.float32)
    grid = x.shape[:-1]
    parts = 5 if len(grid) == 2 else 3
    sides = tuple(patch) if patch else tuple(max(1, -(-n // parts)) for n in grid)
    steps = tuple(stride) if stride else tuple(max(1, n // 2) for n in sides)
    if len(sides) != len(grid) or len(steps) != len(grid):
        raise ExplainError(f"covers of {sides} every {steps} for an image of {grid}")
    if any(not 1 <= s <= p <= n for s, p, n in zip(steps, sides, grid, strict=True)):
        raise ExplainError(
            f"covers of {sides} every {steps}: sides must fit the image of {grid}, and strides be "
            "at most as long as the sides, or pixels are never covered"
        )
    shown = np.broadcast_to(np.asarray(fill, np.float32), x.shape)
    covers = list(itertools.product(*(
        starts(n, side, step) for n, side, step in zip(grid, sides, steps, strict=True)
    )))  # fmt: skip
    whole = float(network.scores(x[None], weights[None])[0])
    total, count = np.zeros(grid, np.float64), np.zeros(grid, np.int64)
    several = at_once(grid, BATCH)
    for k in range(0, len(covers), several):
        boxes = [
            tuple(slice(a, a + n) for a, n in zip(corner, sides, strict=True))
            for corner in covers[k : k + several]
        ]
        batch = np.repeat(x[None], len(boxes), axis=0)
        for row, box in zip(batch, boxes, strict=True):
            row[box] = shown[box]
        for box, score in zip(boxes, network.scores(batch, weights[None]), strict=True):
            total[box] += whole - float(score)
            count[box] += 1
        progress(min(k + several, len(covers)), len(covers))
    return np.asarray(total / count, np.float32)


def starts(length: int, side: int, step: int) -> list[int]:
    """Where covers begin along an axis: every step, and flush with the end."""
    last = length - side
    return sorted({*range(0, last + 1, step), last})
