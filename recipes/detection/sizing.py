"""What the usual size of a lesion decides before the first stage is planned."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from recipes.detection.config import DetectionConfig
from recipes.detection.data import Truth, lesion_sides

CORE, SMALL = 0.7, 8.0
"""Painted part of the half axes; lesions whose smaller side is usually below so many voxels are
painted whole, for a part of them would be hardly a voxel."""
AROUND, STEP = 6, 16
"""Sides of a patch of a volume: so many times a lesion's, in steps of so many voxels."""
LEAST, MOST = 32, 160
WIDE = 16.0
"""Voxels that are painted across a usual lesion for a detector of boxes, which has its boxes from
there: the less is painted, the fewer neighbours that touch or overlap are taken for one."""
SMALLEST = 0.35


def painted_core(config: DetectionConfig, truth: Truth, train: Sequence[int]) -> float:
    """Part of a lesion's half axes that is painted as target.

    Args:
        config: The run's; its word holds.
        truth: Lesions.
        train: Rows that train.
    """
    wish = config.candidates.core
    if truth.masked:
        return 1.0
    if wish != "auto":
        return wish
    sides = [(side / truth.spacing[row]).min() for row, side in lesion_sides(truth, train)]
    usual = float(np.median(sides)) if sides else np.inf
    if usual < SMALL:
        return 1.0
    return float(np.clip(WIDE / usual, SMALLEST, CORE)) if config.way == "boxes" else CORE


def patch_limit(truth: Truth, train: Sequence[int]) -> int | None:
    """Longest side of a patch in volumes, voxels: small lesions are lost in large patches.

    None in pictures, where a patch of 300 pixels costs little.
    """
    if not train or len(truth.sides[train[0]]) < 3:
        return None
    sides = [side.max() / truth.spacing[row].min() for row, side in lesion_sides(truth, train)]
    usual = float(np.median(sides)) if sides else 1.0
    return int(np.clip(STEP * math.ceil(AROUND * usual / STEP), LEAST, MOST))
