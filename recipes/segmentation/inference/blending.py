"""Overlapping windows, averaged with Gaussian weights, one slab of the result after another."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np

from recipes.segmentation.inference.planning import Plan
from recipes.segmentation.inference.windows import Canvas, Floats, gaussian_weights

Run = Callable[[Floats], Floats]
Slab = tuple[int, int, Floats]


def blended_slabs(run: Run, canvas: Canvas, plan: Plan, classes: int) -> Iterator[Slab]:
    """Blend windows along the first axis, holding one window's depth of the result at a time.

    Args:
        run: Logits of a batch of windows.
        canvas: The image.
        plan: Where the windows lie.
        classes: Logits per sample.

    Yields:
        First row, row behind the last, and logits ``(rows, *spatial, classes)`` of the canvas: a
        view, valid until the next is asked for.
    """
    depth, first_starts = plan.window[0], plan.starts[0]
    weights = gaussian_weights(plan.window)[..., None]
    shape = (depth, *plan.size[1:])
    total, norm = np.zeros((*shape, classes), np.float32), np.zeros((*shape, 1), np.float32)
    places = list(itertools.product(*plan.starts[1:]))
    for start, after in itertools.pairwise((*first_starts, plan.size[0])):
        for index in range(0, len(places), plan.batch):
            some = places[index : index + plan.batch]
            batch = np.stack([canvas.cut((start, *place), plan.window) for place in some])
            for place, logits in zip(some, run(batch), strict=True):
                box = (slice(None), *map(_span, place, plan.window[1:]))
                total[box] += weights * logits
                norm[box] += weights
        done = after - start  # no later window reaches these rows
        total[:done] /= norm[:done]
        yield start, after, total[:done]
        for buffer in (total, norm):
            for row in range(depth - done):
                buffer[row] = buffer[row + done]
            buffer[depth - done :] = 0.0


def _span(start: int, length: int) -> slice:
    return slice(start, start + length)
