"""Simple features of a picture: moments and percentiles of its values, and grey-level texture."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99)
LEVELS = 32
"""Grey levels of the co-occurrence matrix."""
DISTANCES = (1, 2, 4)
"""Distances in pixels at which neighbours are compared."""
DIRECTIONS = ((0, 1), (1, 1), (1, 0), (1, -1))
"""Row and column steps: 0, 45, 90 and 135 degrees, rows counted downwards."""

FIRST_ORDER = ("mean", "sd", "skewness", "kurtosis", "entropy")
TEXTURE = ("contrast", "dissimilarity", "homogeneity", "asm", "energy", "correlation")


def feature_names() -> tuple[str, ...]:
    """Names of the features, in their order."""
    return (
        *FIRST_ORDER,
        *(f"percentile_{p}" for p in PERCENTILES),
        *(f"{name}_{distance}" for distance in DISTANCES for name in TEXTURE),
    )


def simple_features(
    images: npt.NDArray[np.generic],
    rows: Sequence[int] | npt.NDArray[np.int64],
    *,
    low: float,
    high: float,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Array:
    """Features of pictures, one row each.

    Values are mapped from [low, high] to [0, 1] and cut there; channels are averaged first. The
    texture figures are those of Haralick et al. (1973) as scikit-image's ``graycoprops`` has them,
    of symmetric co-occurrence matrices, averaged over four directions, which makes them invariant
    to quarter turns and mirror images.

    Args:
        images: ``(N, H, W, C)``, in modality units.
        rows: Which of them.
        low: Modality value that maps to 0.
        high: Modality value that maps to 1.
        progress: Called with (done, total).

    Returns:
        ``(rows, features)``, all finite; the order is that of `feature_names`.
    """
    found = []
    for done, i in enumerate(rows, start=1):
        mean = np.asarray(images[i], "float64").mean(axis=-1)
        scaled = np.clip((mean - low) / (high - low), 0.0, 1.0)
        found.append(np.concatenate([first_order(scaled), texture(scaled)]))
        progress(done, len(rows))
    return np.asarray(found, "float64").reshape(len(found), len(feature_names()))


def first_order(picture: Array) -> Array:
    """Moments, entropy (bits, of `LEVELS` equal bins over [0, 1]) and percentiles of the values.

    Skewness and (excess) kurtosis of a constant picture are 0.

    Args:
        picture: ``(H, W)``, values in [0, 1].
    """
    values = picture.ravel()
    mean, sd = float(values.mean()), float(values.std())
    z = (values - mean) / sd if sd > 1e-9 else np.zeros_like(values)
    kurtosis = float((z**4).mean()) - 3.0 if sd > 1e-9 else 0.0
    share = np.bincount(quantised(picture).ravel(), minlength=LEVELS) / values.size
    present = share[share > 0]
    entropy = float(-(present * np.log2(present)).sum())
    moments = [mean, sd, float((z**3).mean()), kurtosis, entropy]
    return np.concatenate([moments, np.percentile(values, PERCENTILES)])


def quantised(picture: Array) -> npt.NDArray[np.int64]:
    """Grey levels 0 to `LEVELS` - 1 of values in [0, 1]."""
    return np.minimum((picture * LEVELS).astype(np.int64), LEVELS - 1)


def texture(picture: Array) -> Array:
    """Haralick figures at each distance, averaged over the directions.

    Args:
        picture: ``(H, W)``, values in [0, 1]; a distance that the picture is too small for gives
            the figures of the largest that fits.

    Returns:
        ``(distances * figures,)``, distance by distance.
    """
    levels = quantised(picture)
    most = min(levels.shape) - 1
    found: list[Array] = []
    for distance in DISTANCES:
        step = max(1, min(distance, most))
        matrices = [co_occurrence(levels, (dy * step, dx * step)) for dy, dx in DIRECTIONS]
        found.append(np.mean([haralick(matrix) for matrix in matrices], axis=0))
    return np.concatenate(found)


def co_occurrence(levels: npt.NDArray[np.int64], step: Sequence[int]) -> Array:
    """Symmetric matrix of how often two grey levels lie one step apart, summing to 1.

    Args:
        levels: ``(H, W)`` grey levels.
        step: Rows and columns from a pixel to its neighbour.

    Returns:
        ``(LEVELS, LEVELS)``; all zero where no pair of pixels is that far apart.
    """
    dy, dx = step
    height, width = levels.shape
    y0, y1 = max(0, -dy), min(height, height - dy)
    x0, x1 = max(0, -dx), min(width, width - dx)
    if y0 >= y1 or x0 >= x1:
        return np.zeros((LEVELS, LEVELS))
    here = levels[y0:y1, x0:x1]
    there = levels[y0 + dy : y1 + dy, x0 + dx : x1 + dx]
    counts = np.bincount((here * LEVELS + there).ravel(), minlength=LEVELS * LEVELS)
    matrix = counts.reshape(LEVELS, LEVELS).astype("float64")
    matrix += matrix.T
    return np.asarray(matrix / matrix.sum())


def haralick(matrix: Array) -> Array:
    """Contrast, dissimilarity, homogeneity, ASM, energy and correlation of a matrix.

    Correlation of a constant picture is 1, as in scikit-image.

    Args:
        matrix: ``(LEVELS, LEVELS)``, summing to 1.
    """
    i, j = np.indices(matrix.shape)
    gap = (i - j).astype("float64")
    asm = float((matrix**2).sum())
    mean_i, mean_j = float((matrix * i).sum()), float((matrix * j).sum())
    sd_i = float(np.sqrt((matrix * (i - mean_i) ** 2).sum()))
    sd_j = float(np.sqrt((matrix * (j - mean_j) ** 2).sum()))
    product = sd_i * sd_j
    together = float((matrix * (i - mean_i) * (j - mean_j)).sum())
    return np.array(
        [
            (matrix * gap**2).sum(),
            (matrix * np.abs(gap)).sum(),
            (matrix / (1.0 + gap**2)).sum(),
            asm,
            np.sqrt(asm),
            together / product if product > 1e-15 else 1.0,
        ]
    )
