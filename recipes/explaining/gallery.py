"""Regions and kernels as sheets of small pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from recipes.explaining.features import Region

Array = npt.NDArray[Any]
Pixels = npt.NDArray[np.uint8]

TILE = 72
"""Side of a small picture, pixels."""
GAP = 4
ACROSS = 12
"""Kernels in a row."""
OUTSIDE = 235
"""Grey of what lies beyond the border of a case."""


def cut(picture: Array, box: Sequence[tuple[int, int]], place: Sequence[float]) -> Array:
    """The part of a picture inside a box, grey where the box reaches beyond its border.

    Args:
        picture: ``(H, W, 3)`` uint8, or ``(D, H, W, 3)``, of which the slice through the middle of
            the box is shown.
        box: First sample and the one behind the last, along each axis.
        place: Middle of the box, samples.

    Returns:
        ``(h, w, 3)`` uint8.
    """
    if picture.ndim == 4:
        row = int(np.clip(round(place[0]), 0, picture.shape[0] - 1))
        picture, box = picture[row], box[1:]
    sides = [b - a for a, b in box]
    sheet = np.full((*sides, 3), OUTSIDE, np.uint8)
    low = [max(0, a) for a, _ in box]
    high = [min(n, b) for (_, b), n in zip(box, picture.shape[:2], strict=True)]
    if all(a < b for a, b in zip(low, high, strict=True)):
        target = tuple(
            slice(a - start, b - start) for a, b, (start, _) in zip(low, high, box, strict=True)
        )
        sheet[target] = picture[low[0] : high[0], low[1] : high[1]]
    return sheet


def strip(pictures: Sequence[Array], regions: Sequence[Region]) -> Pixels:
    """The regions of one unit side by side, the highest first.

    Args:
        pictures: Of each region its case, ``(*grid, 3)`` uint8.
        regions: The regions.
    """
    tiles = []
    for picture, region in zip(pictures, regions, strict=True):
        middle = [(a + b - 1) / 2 for a, b in region.box]
        tiles.append(tile(cut(picture, fitting(region.box, picture.shape[:-1]), middle)))
    return sheet_of(tiles, across=len(tiles))


def fitting(box: Sequence[tuple[int, int]], grid: Sequence[int]) -> list[tuple[int, int]]:
    """The box, along an axis where it is longer than the case the whole case."""
    return [(0, n) if b - a >= n else (a, b) for (a, b), n in zip(box, grid, strict=True)]


def tile(part: Array) -> Pixels:
    """A part as a small picture, its pixels kept where they are large."""
    height, width = part.shape[:2]
    scale = TILE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.BILINEAR
    found = np.full((TILE, TILE, 3), 255, np.uint8)
    found[: size[1], : size[0]] = np.asarray(Image.fromarray(part).resize(size, how))
    return found


def sheet_of(tiles: Sequence[Pixels], *, across: int) -> Pixels:
    """Small pictures in rows on white."""
    down = -(-len(tiles) // across)
    step = TILE + GAP
    sheet = np.full((down * step - GAP, across * step - GAP, 3), 255, np.uint8)
    for k, one in enumerate(tiles):
        top, left = (k // across) * step, (k % across) * step
        sheet[top : top + TILE, left : left + TILE] = one
    return sheet


def kernel_sheet(kernels: Array) -> Pixels:
    """Kernels side by side: three channels as colours, others as their mean; mid-grey is 0.

    Args:
        kernels: ``(*sides, channels, filters)``; of kernels in space the middle slice is shown.
    """
    if kernels.ndim == 5:
        kernels = kernels[kernels.shape[0] // 2]
    if kernels.shape[2] != 3:
        kernels = np.repeat(kernels.mean(axis=2, keepdims=True), 3, axis=2)
    tops = np.abs(kernels).max(axis=(0, 1, 2))
    shown = 0.5 + 0.5 * kernels / np.where(tops > 0, tops, 1.0)
    pixels = np.asarray(np.clip(shown, 0, 1) * 255 + 0.5, np.uint8)
    tiles = [tile(np.ascontiguousarray(pixels[..., k])) for k in range(pixels.shape[-1])]
    return sheet_of(tiles, across=min(ACROSS, len(tiles)))


def stacked(strips: Sequence[Pixels]) -> Pixels:
    """Strips below each other."""
    wide = max(one.shape[1] for one in strips)
    rows = []
    for one in strips:
        pad = ((0, GAP), (0, wide - one.shape[1]), (0, 0))
        rows.append(np.pad(one, pad, constant_values=255))
    return np.concatenate(rows)[:-GAP]
