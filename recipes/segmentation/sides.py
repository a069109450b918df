"""Whether cases are of one side: left hippocampi alone, livers that are never on the left.

A mirrored view of such a case shows an anatomy that no case has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 12
"""Cells along each axis of the box in which the classes of a case are laid out."""
ENOUGH, MOST = 20, 200
"""Cases below which nothing is said, and cases that are looked at."""
ONE_SIDED = 0.9
"""Share of cases that must be unlike their own mirror image."""

_AXES = {"L": 0, "R": 0, "P": 1, "A": 1, "S": 2, "I": 2}


def layout(
    mask: npt.NDArray[Any], classes: int, orientation: str
) -> npt.NDArray[np.float32] | None:
    """Where the classes lie in a case, on a coarse grid along the patient's axes.

    Args:
        mask: Class of each voxel, axes (slice, row, column); below 0 is unknown.
        classes: Number of classes, the background among them.
        orientation: Where columns, rows and slices grow to, such as ``LPS``.

    Returns:
        Shares (class, left, posterior, superior), each class that is there summing to 1; None
        where there is no foreground.
    """
    places = np.argwhere(mask > 0)
    if not len(places):
        return None
    cells = np.empty_like(places)
    for axis, letter in enumerate(reversed(orientation)):
        cell = ((2 * places[:, axis] + 1) * BINS) // (2 * mask.shape[axis])
        cells[:, _AXES[letter]] = cell if letter in "LPS" else BINS - 1 - cell
    labels = mask[tuple(places.T)].astype(np.int64) - 1
    flat = np.ravel_multi_index((labels, *cells.T), (classes - 1, BINS, BINS, BINS))
    counts = np.bincount(flat, minlength=(classes - 1) * BINS**3)
    shares = counts.reshape(classes - 1, BINS, BINS, BINS).astype(np.float32)
    sums = shares.sum(axis=(1, 2, 3), keepdims=True)
    return np.asarray(shares / np.maximum(sums, 1.0), np.float32)


def one_sided(layouts: Sequence[npt.NDArray[np.float32]]) -> float | None:
    """Share of cases that are more like the other cases than their mirror image is.

    Likeness is the inner product with the mean layout of all other cases. About a half where
    either side occurs equally often or the anatomy is symmetric; near 1 where all cases are of one
    side.

    Args:
        layouts: One per case, as `layout` gives them.

    Returns:
        The share, ties counting half; None for fewer than `ENOUGH` cases.
    """
    if len(layouts) < ENOUGH:
        return None
    total = np.sum(layouts, axis=0, dtype=np.float64)
    wins = 0.0
    for one in layouts:
        others = total - one
        own, mirrored = float((others * one).sum()), float((others * one[:, ::-1]).sum())
        wins += 0.5 if np.isclose(own, mirrored, rtol=1e-6) else float(own > mirrored)
    return wins / len(layouts)
