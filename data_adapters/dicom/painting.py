"""Regions with class numbers as one mask, or as a channel per class where they overlap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_adapters.dicom.placing import Region
from data_adapters.errors import CaseError

MAX_CHANNEL_VOXELS = 1 << 32
"""Most voxels of masks over all channels."""


def paint_regions(
    regions: Sequence[tuple[int, Region]], shape: Sequence[int], count: int, *, case_id: str
) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    """Paint regions onto an image's grid.

    Args:
        regions: (class number, region); 0 is background and paints nothing.
        shape: (D, H, W) of the image, or (H, W) of a picture.
        count: Number of classes with the background.
        case_id: Pseudonymous id that errors carry.

    Returns:
        A mask (uint8, or uint16 beyond 255 classes) and None; or, where different classes overlap
        or a region is fractional, None and masks with channel k - 1 for class k, uint8 or float32.

    Raises:
        CaseError: `masks-size`: the channels would not fit into memory.
    """
    volume = (1, *shape) if len(shape) == 2 else tuple(shape)
    drawn = [(number, region) for number, region in regions if number > 0]
    fractional = any(region.values.dtype.kind == "f" for _, region in drawn)
    if not fractional:
        mask = np.zeros(volume, np.uint8 if count <= 256 else np.uint16)
        if all(_paint(mask, number, region) for number, region in drawn):
            return mask.reshape(shape), None
        del mask
    voxels = int(np.prod(volume)) * (count - 1)
    if voxels > MAX_CHANNEL_VOXELS:
        message = f"{count - 1} overlapping classes take {voxels} voxels; the limit is "
        message += f"{MAX_CHANNEL_VOXELS}: open the objects one by one"
        raise CaseError(case_id, "masks-size", message)
    masks = np.zeros((*volume, count - 1), np.float32 if fractional else np.uint8)
    for number, region in drawn:
        view = _view(masks[..., number - 1], region)
        np.maximum(view, region.values, out=view)
    return None, masks.reshape(*shape, count - 1)


def _view(full: NDArray[Any], region: Region) -> NDArray[Any]:
    high, wide = region.values.shape
    rows, columns = region.row + high, region.column + wide
    return full[region.slice, region.row : rows, region.column : columns]


def _paint(mask: NDArray[Any], number: int, region: Region) -> bool:
    """Paint a region; False where another class is there already."""
    view, here = _view(mask, region), region.values != 0
    if ((view != 0) & (view != number) & here).any():
        return False
    view[here] = number
    return True
