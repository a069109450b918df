"""How much two masks of one class share: Dice, IoU, sensitivity, precision, volumes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recipes.errors import RecipeError
from recipes.evaluation.masks.grids import check_binary


@dataclass(frozen=True)
class Overlap:
    """Voxels of one class in truth and prediction.

    Attributes:
        both: Voxels in both (true positives).
        truth: Voxels of the truth.
        prediction: Voxels of the prediction.
    """

    both: int
    truth: int
    prediction: int

    @property
    def dice(self) -> float:
        """2 both / (truth + prediction): 0 where one is empty, NaN where both are."""
        return _ratio(2 * self.both, self.truth + self.prediction)

    @property
    def iou(self) -> float:
        """Intersection over union (Jaccard): 0 where one is empty, NaN where both are."""
        return _ratio(self.both, self.truth + self.prediction - self.both)

    @property
    def sensitivity(self) -> float:
        """Share of the truth that was found (recall): NaN where the truth is empty."""
        return _ratio(self.both, self.truth)

    @property
    def precision(self) -> float:
        """Share of the prediction that is true: NaN where the prediction is empty."""
        return _ratio(self.both, self.prediction)

    @property
    def relative_error(self) -> float:
        """(prediction - truth) / truth volume: NaN where the truth is empty."""
        return _ratio(self.prediction - self.truth, self.truth)


def overlap(truth: Any, prediction: Any) -> Overlap:
    """Count the voxels of a pair of binary masks.

    Args:
        truth: Binary (H, W) or (D, H, W).
        prediction: The same shape.

    Raises:
        RecipeError: Shapes or values do not fit.
    """
    first, second = check_binary(truth, prediction)
    counts = [int(np.count_nonzero(mask)) for mask in (first & second, first, second)]
    return Overlap(*counts)


def voxel_volume(spacing: Sequence[float]) -> float:
    """Volume of a voxel in mL (three axes), or area of a pixel in mm² (two).

    Raises:
        RecipeError: Another number of axes.
    """
    if len(spacing) not in (2, 3):
        raise RecipeError(f"spacing={tuple(spacing)!r}: wanted two or three values")
    return math.prod(spacing) / (1000.0 if len(spacing) == 3 else 1.0)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
