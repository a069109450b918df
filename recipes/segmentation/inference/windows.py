"""Where windows lie on an image, how they are weighted, and how they are cut from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.segmentation.inference.errors import InferenceError

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Sides = tuple[int, ...]

LEAST_WEIGHT = 1e-3
"""Smallest weight in a Gaussian window, as a part of that at its centre; MONAI's value."""
SIGMA = 0.125
"""Width of the Gaussian as a part of the window's side; nnU-Net's and MONAI's value."""


def window_starts(side: int, window: int, overlap: float) -> list[int]:
    """First samples of overlapping windows along one axis, as MONAI places them.

    Args:
        side: Samples of the image, at least ``window``.
        window: Samples of a window.
        overlap: Part of a window that the next one repeats, in [0, 1).

    Returns:
        Growing starts; the last window ends with the image.
    """
    step = max(1, int(window * (1 - overlap)))
    last = side - window
    return [*range(0, last, step), last]


def gaussian_weights(window: Sequence[int]) -> Floats:
    """Weights that fall from a window's centre to its border.

    A Gaussian of ``SIGMA`` of the side along every axis (Isensee et al., 2021,
    doi:10.1038/s41592-020-01008-z), nowhere below ``LEAST_WEIGHT``.

    Returns:
        float32 of the window's shape.
    """
    weights = np.ones((), np.float32)
    for side in window:
        places = np.arange(side, dtype=np.float32) - np.float32((side - 1) / 2)
        line = np.exp(-(places**2) / np.float32(2 * (SIGMA * side) ** 2))
        weights = weights[..., None] * line
    return np.maximum(weights, max(float(weights.min()), LEAST_WEIGHT)).astype(np.float32)


class Canvas:
    """An image with zeros around it, so that it has the size a network wants; nothing is copied.

    Args:
        image: ``(*spatial, channels)``.
        size: Wanted spatial sizes, not below the image's; what is missing is zeros, half of them
            before the image.
    """

    def __init__(self, image: Array, size: Sequence[int]) -> None:
        self.image = image
        self.size = tuple(size)
        spatial = image.shape[:-1]
        self.before = tuple((n - s) // 2 for n, s in zip(self.size, spatial, strict=True))

    def cut(self, start: Sequence[int], window: Sequence[int]) -> Floats:
        """Cut a window out, float32 ``(*window, channels)``.

        Raises:
            InferenceError: Values that are not finite.
        """
        out = np.zeros((*window, self.image.shape[-1]), np.float32)
        source, target = [], []
        axes = zip(start, window, self.before, self.image.shape[:-1], strict=True)
        for first, count, before, side in axes:
            low, high = max(first, before), min(first + count, before + side)
            source.append(slice(low - before, max(low, high) - before))
            target.append(slice(low - first, max(low, high) - first))
        out[tuple(target)] = self.image[tuple(source)]
        if not math.isfinite(float(out.sum(dtype=np.float64))) and not np.isfinite(out).all():
            raise InferenceError(
                "the image holds values that are not finite (NaN or infinity); replace them before "
                "prediction, as the case's chain does with padding"
            )
        return out

    def inner(self, first: int, last: int) -> tuple[slice, slice]:
        """Rows of the canvas that the image has, as (rows of the image, rows of [first, last))."""
        before, side = self.before[0], self.image.shape[0]
        low, high = max(first, before), min(last, before + side)
        high = max(low, high)
        return slice(low - before, high - before), slice(low - first, high - first)

    @property
    def across(self) -> tuple[slice, ...]:
        """The image's part of the axes behind the first."""
        spatial = self.image.shape[1:-1]
        return tuple(slice(b, b + s) for b, s in zip(self.before[1:], spatial, strict=True))
