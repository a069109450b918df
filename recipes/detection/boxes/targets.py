"""What a detector of boxes learns at each place of a patch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

NEAR = 1.5
"""Places within so many strides of a lesion's middle answer for it."""
REACH = 8.0
"""A level answers for lesions whose longest side is at most so many of its strides."""

LEAST = 0.1
"""Least distance to a face, voxels, where the nearest place lies outside a small lesion."""


def lesion_boxes(mask: Array, classes: int, *, core: float = 1.0) -> tuple[Array, Floats]:
    """Boxes of the lesions in a patch: components of each class, as large as was marked.

    Args:
        mask: Integers of the grid, class + 1; 0 and below is no lesion.
        classes: Classes of lesions.
        core: Part of the half axes that is painted; a side at the patch's border stays there.

    Returns:
        Classes ``(L,)`` and boxes ``(L, 2 axes)``, lowest faces then highest, in voxels.
    """
    sides = np.asarray(mask.shape)
    labels, boxes = [], []
    for k in range(classes):
        parts, _ = ndimage.label(mask == k + 1, np.ones((3,) * mask.ndim))
        for place in ndimage.find_objects(parts):
            low = np.asarray([float(s.start) for s in place])
            high = np.asarray([float(s.stop) for s in place])
            more = (high - low) * (1 / core - 1) / 2
            boxes.append(np.concatenate([
                np.maximum(low - more, 0), np.minimum(high + more, sides)
            ]))  # fmt: skip
            labels.append(k)
    return np.asarray(labels, np.int64), np.asarray(boxes, np.float32).reshape(-1, 2 * mask.ndim)


def box_targets(
    masks: Array, places: Floats, strides: Floats, *, classes: int, core: float = 1.0
) -> Floats:
    """Targets of `zoo.losses.BoxLoss` for a batch of masks.

    Each lesion belongs to one level, by its longest side; there the places near its middle and
    inside its box answer for it, at least the nearest one. Where lesions overlap the smaller one
    is taken. Places on voxels of unknown truth (-1) count for nothing.

    Args:
        masks: ``(batch, *grid)`` integers: class + 1, 0, or -1.
        places: ``(N, axes)`` middles, as `zoo.boxes.box_places` gives them.
        strides: Likewise.
        classes: Classes of lesions.
        core: As of `lesion_boxes`.

    Returns:
        ``(batch, N, classes + 1 + 2 axes)``.
    """
    axes = places.shape[1]
    found = np.zeros((len(masks), len(places), classes + 1 + 2 * axes), np.float32)
    at = tuple(np.minimum(places.astype(np.int64), np.asarray(masks.shape[1:]) - 1).T)
    for mask, target in zip(masks, found, strict=True):
        labels, boxes = lesion_boxes(mask, classes, core=core)
        target[:, :classes][mask[at] < 0] = -1
        for k in np.argsort(-np.prod(boxes[:, axes:] - boxes[:, :axes], axis=1), kind="stable"):
            rows = _answering(boxes[k], places, strides)
            target[rows] = 0
            target[rows, labels[k]] = target[rows, classes] = 1
            away = [places[rows] - boxes[k, :axes], boxes[k, axes:] - places[rows]]
            target[rows, classes + 1 :] = np.maximum(np.concatenate(away, axis=1), LEAST)
    return found


def _answering(box: Floats, places: Floats, strides: Floats) -> Array:
    """Rows of the places that answer for a lesion."""
    axes = len(box) // 2
    size = strides.max(axis=1)
    longest = float((box[axes:] - box[:axes]).max())
    enough = size[size * REACH >= longest]
    mine = np.flatnonzero(size == (enough.min() if len(enough) else size.max()))
    middle = (box[:axes] + box[axes:]) / 2
    away = np.abs(places[mine] - middle) / strides[mine]
    inside = ((places[mine] > box[:axes]) & (places[mine] < box[axes:])).all(axis=1)
    near = inside & (away <= NEAR).all(axis=1)
    if near.any():
        return np.asarray(mine[near])
    # a lesion between all places has the nearest one
    return np.asarray(mine[[int(away.max(axis=1).argmin())]])
