"""Convolution and pooling of a volume, spelt out tap by tap in float64: what inflation must equal.

Everything is ``(depth, height, width, channels)``, without a batch. Depth is padded by mirroring
at the first and last slice, height and width as the padding says.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def windows(
    volume: Array,
    size: tuple[int, int, int],
    strides: tuple[int, int, int],
    *,
    dilation: int = 1,
    padding: str = "valid",
    fill: float = 0.0,
) -> Array:
    """Cut out what each tap of a window sees: ``(*size, depth, height, width, channels)``."""
    depth = size[0]
    if depth % 2:
        front = (depth - 1) // 2 * dilation
    else:
        front = max(0, (depth - strides[0]) // 2) * dilation
    x = np.pad(
        volume.astype("float64"),
        [(front, (depth - 1) * dilation - front), (0, 0), (0, 0), (0, 0)],
        mode="symmetric",
    )
    sides = [volume.shape[0]]
    for axis in (1, 2):
        span = (size[axis] - 1) * dilation + 1
        if padding == "same":
            out = -(-volume.shape[axis] // strides[axis])
            total = max((out - 1) * strides[axis] + span - volume.shape[axis], 0)
            pads = [(0, 0)] * 4
            pads[axis] = (total // 2, total - total // 2)
            x = np.pad(x, pads, constant_values=fill)
        sides.append(x.shape[axis] - span + 1)
    found = np.empty(
        (*size, *(-(-n // s) for n, s in zip(sides, strides, strict=True)), x.shape[3])
    )
    for taps in itertools.product(*map(range, size)):
        cut = tuple(
            slice(tap * dilation, tap * dilation + n, stride)
            for tap, n, stride in zip(taps, sides, strides, strict=True)
        )
        found[taps] = x[cut]
    return found


def conv(volume: Array, kernel: Array, strides: tuple[int, int, int], **options: Any) -> Array:
    """Convolve with ``(depth, height, width, channels in a group, filters)``."""
    seen = windows(volume, kernel.shape[:3], strides, **options)
    groups = volume.shape[3] // kernel.shape[3]
    parts = [
        np.einsum("abcdhwi,abcio->dhwo", part, one)
        for part, one in zip(
            np.split(seen, groups, axis=-1), np.split(kernel, groups, axis=-1), strict=True
        )
    ]
    return np.concatenate(parts, axis=-1)


def depthwise(volume: Array, kernel: Array, strides: tuple[int, int, int], **options: Any) -> Array:
    """Convolve each channel with its own ``(depth, height, width, channels)``."""
    return np.einsum(
        "abcdhwi,abci->dhwi", windows(volume, kernel.shape[:3], strides, **options), kernel
    )


def max_pool(
    volume: Array, size: tuple[int, int, int], strides: tuple[int, int, int], **options: Any
) -> Array:
    """Take the largest value under each window; padding in plane never wins."""
    result: Array = windows(volume, size, strides, fill=-np.inf, **options).max(axis=(0, 1, 2))
    return result


def average_pool(
    volume: Array, size: tuple[int, int, int], strides: tuple[int, int, int], **options: Any
) -> Array:
    """Take the mean under each window, leaving out padding in plane."""
    result: Array = np.nanmean(
        windows(volume, size, strides, fill=np.nan, **options), axis=(0, 1, 2)
    )
    return result


def rectified(x: Array) -> Array:
    """ReLU."""
    return np.maximum(x, 0.0)
