"""Outlines and run lengths to masks, as COCO defines them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from data_adapters.errors import FormatError

Mask = npt.NDArray[np.bool_]


def polygon_mask(points: npt.ArrayLike, shape: tuple[int, int]) -> Mask:
    """Fill one closed outline.

    A pixel belongs to it when its centre lies inside by the even-odd rule; centres on the left or
    upper edge count as inside, so that outlines that share an edge share no pixel.

    Args:
        points: (n, 2) x, y in pixels from the upper left corner of the picture, so that the first
            pixel's centre is (0.5, 0.5); the last point is joined to the first.
        shape: Height and width.

    Returns:
        (H, W) boolean; what lies beyond the picture is cut off.
    """
    start = np.asarray(points, np.float64)
    end = np.roll(start, -1, axis=0)
    height, width = shape
    crossings = np.zeros((height, width + 1), np.int64)
    for (x0, y0), (x1, y1) in zip(start, end, strict=True):
        if y0 == y1:
            continue
        low, high = sorted((y0, y1))
        first, stop = np.clip(np.ceil(np.array([low, high]) - 0.5), 0, height).astype(int)
        rows = np.arange(first, stop)
        x = x0 + (rows + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
        columns = np.clip(np.ceil(x - 0.5), 0, width).astype(int)
        crossings[rows, columns] += 1
    return np.asarray(np.cumsum(crossings, axis=1)[:, :width] % 2 == 1)


def polygons_mask(polygons: Sequence[Sequence[float]], shape: tuple[int, int]) -> Mask:
    """Fill the outlines of one object, which add up.

    Args:
        polygons: Each x0, y0, x1, y1, ... as in COCO.
        shape: Height and width.
    """
    total = np.zeros(shape, np.bool_)
    for flat in polygons:
        total |= polygon_mask(np.asarray(flat, np.float64).reshape(-1, 2), shape)
    return total


def polygon_area(points: npt.ArrayLike) -> float:
    """Area of one simple outline of (n, 2) points, by the shoelace formula."""
    x, y = np.asarray(points, np.float64).T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def rle_mask(counts: str | Sequence[int], shape: tuple[int, int]) -> Mask:
    """Unpack COCO's run lengths: background first, down the columns.

    Args:
        counts: Run lengths, or the text that packs them.
        shape: Height and width.

    Raises:
        FormatError: The text is damaged, or the runs do not fill the picture.
    """
    runs = unpack_counts(counts) if isinstance(counts, str) else list(counts)
    if any(run < 0 for run in runs) or sum(runs) != shape[0] * shape[1]:
        raise FormatError(f"the run lengths do not fill a picture of {shape[0]} x {shape[1]}")
    values = np.arange(len(runs)) % 2 == 1
    return np.asarray(np.repeat(values, runs).reshape(shape, order="F"))


def mask_rle(mask: npt.ArrayLike) -> list[int]:
    """COCO's run lengths of an (H, W) mask, the inverse of `rle_mask`."""
    flat = np.asarray(mask, np.bool_).ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return [0, *runs] if flat.size and flat[0] else runs


def unpack_counts(text: str) -> list[int]:
    """Run lengths of COCO's packed text.

    Each number is written in groups of five bits, the lowest first, in characters from `0` on;
    bit 32 of a character says that more follow, bit 16 of the last is the sign. From the fourth
    number on, the difference to the number two places before is written (pycocotools,
    maskApi.c).

    Raises:
        FormatError: A character is no such group, or the last number is cut off.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        group = ord(character) - 48
        if not 0 <= group < 64 or shift > 60:
            raise FormatError("the packed run lengths are damaged")
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise FormatError("the packed run lengths are cut off")
    return runs


def pack_counts(runs: Sequence[int]) -> str:
    """Pack run lengths into COCO's text, the inverse of `unpack_counts`."""
    text = []
    for i, run in enumerate(runs):
        value = run - runs[i - 2] if i > 2 else run
        while True:
            group, value = value & 31, value >> 5
            done = value == (-1 if group & 16 else 0)
            text.append(chr((group if done else group | 32) + 48))
            if done:
                break
    return "".join(text)
