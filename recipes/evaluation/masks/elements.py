"""What makes up a mask's surface: its boundary voxels, or elements of area between voxels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import permutations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recipes.evaluation.masks.grids import Bools, Box, Floats

Codes = NDArray[np.uint8]
Corner = tuple[int, ...]

_FIGURES: tuple[tuple[tuple[Corner, ...], tuple[tuple[Corner, int], ...]], ...] = (
    (((1, 1, 1),), (((1, 1, 1), 1),)),
    (((1, 1, 0), (1, 1, 1)), (((1, 1, 0), 4),)),
    (((1, 0, 1), (1, 1, 0)), (((1, 1, 1), 2),)),
    (((0, 1, 1), (1, 0, 0)), (((1, 1, 1), 2),)),
    (((1, 0, 1), (1, 1, 0), (1, 1, 1)), (((1, 0, 0), 4), ((1, 1, 1), 3))),
    (((0, 1, 1), (1, 0, 1), (1, 1, 0)), (((1, 1, 1), 3),)),
    (((0, 1, 1), (1, 0, 0), (1, 1, 1)), (((0, 1, 1), 4), ((1, 1, 1), 1))),
    (((1, 0, 0), (1, 0, 1), (1, 1, 0), (1, 1, 1)), (((1, 0, 0), 8),)),
    (((0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 1, 1)), (((1, 1, 1), 6),)),
    (
        ((0, 1, 1), (1, 0, 0), (1, 1, 0), (1, 1, 1)),
        (((0, 1, 1), 2), ((1, 0, 1), 2), ((1, 1, 1), 4)),
    ),
    (((0, 1, 1), (1, 0, 0), (1, 0, 1), (1, 1, 0)), (((1, 0, 0), 4), ((1, 1, 1), 4))),
    (((0, 1, 0), (0, 1, 1), (1, 0, 0), (1, 0, 1)), (((1, 1, 0), 8),)),
    (((0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 1)), (((1, 1, 1), 4),)),
)
"""The cases of marching cubes: occupied corners of a cube, and the pieces of surface between
them and the free ones, each as a normal (signs left out) and its length in eighths. Turning,
mirroring, and exchanging occupied and free corners gives all 256; the lengths are those of
DeepMind's surface-distance (github.com/google-deepmind/surface-distance)."""


def boundary_voxels(mask: Bools) -> Bools:
    """Voxels of a mask with a face (in 2D an edge) on the background; beyond the array is that.

    Args:
        mask: Boolean (H, W) or (D, H, W).

    Returns:
        The same shape. This is `mask` without its erosion by the cross of faces, MONAI's "edges".
    """
    inner = mask.copy()
    for axis in range(mask.ndim):
        before: tuple[Any, ...] = (slice(None),) * axis
        if mask.shape[axis] == 1:
            inner[...] = False
            break
        inner[(*before, slice(1, None))] &= mask[(*before, slice(None, -1))]
        inner[(*before, slice(None, -1))] &= mask[(*before, slice(1, None))]
        inner[(*before, 0)] = False
        inner[(*before, -1)] = False
    inner ^= mask
    return inner


def surface_codes(mask: Bools) -> Codes:
    """Which of the 2 x 2 (x 2) voxels around each corner of the grid belong to the mask.

    Args:
        mask: Boolean (H, W) or (D, H, W); beyond the array is background.

    Returns:
        One more along each axis than `mask`: bit `4 z + 2 y + x` (in 2D `2 y + x`) is set where
        the voxel at offset (z, y, x) from the corner's lowest one is in the mask. 0 and all bits
        are no surface.
    """
    codes: Codes = np.pad(mask, 1).view(np.uint8)
    for axis, shift in zip(range(mask.ndim), (4, 2, 1)[-mask.ndim :], strict=True):
        before: Box = (slice(None),) * axis
        low, high = codes[(*before, slice(None, -1))], codes[(*before, slice(1, None))]
        codes = low | (high << np.uint8(shift))
    return codes


def element_areas(spacing: Sequence[float]) -> Floats:
    """Area in mm² (in 2D length in mm) of the surface within each neighbourhood.

    Args:
        spacing: Spacing of the array axes in mm, two or three.

    Returns:
        (16,) or (256,), by the codes of `surface_codes`. Three dimensions follow marching cubes,
        two dimensions marching squares, with the figures of DeepMind's surface-distance.
    """
    return _lengths(tuple(spacing)) if len(spacing) == 2 else _areas(tuple(spacing))


@lru_cache(maxsize=64)
def _lengths(spacing: tuple[float, ...]) -> Floats:
    vertical, horizontal = spacing
    diagonal = 0.5 * float(np.sqrt(vertical**2 + horizontal**2))
    lengths = np.full(16, diagonal)
    lengths[[0, 15]] = 0.0
    lengths[[0b0011, 0b1100]] = horizontal
    lengths[[0b0101, 0b1010]] = vertical
    lengths[[0b0110, 0b1001]] = 2 * diagonal
    lengths.setflags(write=False)
    return lengths


@lru_cache(maxsize=64)
def _areas(spacing: tuple[float, ...]) -> Floats:
    depth, height, width = spacing
    faces = np.array([height * width, depth * width, depth * height])
    areas = np.zeros(256)
    for corners, pieces in _FIGURES:
        for order, code in _placements(corners):
            lengths = [
                n / 8 * np.linalg.norm(np.array([normal[i] for i in order]) * faces)
                for normal, n in pieces
            ]
            areas[[code, 255 - code]] = sum(lengths)
    areas.setflags(write=False)
    return areas


def _placements(corners: Sequence[Corner]) -> Iterator[tuple[tuple[int, ...], int]]:
    """The 48 ways to turn and mirror a cube: order of the axes, and the code of the corners."""
    for order in permutations(range(3)):
        for flips in product((0, 1), repeat=3):
            code = 0
            for corner in corners:
                z, y, x = (corner[i] ^ flip for i, flip in zip(order, flips, strict=True))
                code |= 1 << (4 * z + 2 * y + x)
            yield order, code
