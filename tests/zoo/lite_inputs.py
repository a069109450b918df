"""Pictures whose every pixel is known, for comparing EfficientNet-Lite with its reference.

Only lossless pictures and integer arithmetic, so that no JPEG decoder or resampling filter stands
between two machines. Used by the tests and by benchmarks/reference_lite_logits.py.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


def cat() -> Picture:
    """scikit-image's chelsea.png, whole height, columns 80 to 379: (300, 300, 3)."""
    return np.ascontiguousarray(_skimage_data().chelsea()[:, 80:380], dtype=np.uint8)


def coffee() -> Picture:
    """scikit-image's coffee.png halved by the rounded mean of 2 x 2 pixels: (200, 300, 3)."""
    blocks = np.asarray(_skimage_data().coffee(), np.uint16).reshape(200, 2, 300, 2, 3)
    return np.asarray((blocks.sum(axis=(1, 3)) + 2) // 4, np.uint8)


def pattern(height: int, width: int) -> Picture:
    """A closed formula without symmetry, values 0 to 255: (height, width, 3)."""
    row, column, channel = np.ogrid[:height, :width, :3]
    waves = (row * row * 3 + column * row + column * 5 + channel * (row + 40)) % 511
    return np.asarray(np.minimum(waves, 510 - waves), np.uint8)


def inputs() -> dict[str, Picture]:
    """All of them by name; even, odd and non-square sizes."""
    return {
        "cat": cat(),
        "coffee": coffee(),
        "odd": pattern(111, 127),
        "small": pattern(112, 112),
    }


def sample(features: NDArray[Any], count: int = 512) -> NDArray[Any]:
    """Take evenly spread values out of (height, width, channels) features, C order."""
    flat = features.reshape(-1)
    return flat[np.linspace(0, flat.size - 1, count).astype(np.int64)]


def _skimage_data() -> Any:
    return importlib.import_module("skimage.data")
