"""Were the lesions found: connected components of truth and prediction matched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recipes.errors import RecipeError
from recipes.evaluation.masks.grids import check_binary, joint_box


@dataclass(frozen=True)
class Detection:
    """Lesions of one class, found and claimed.

    Attributes:
        lesions: Connected components of the truth.
        found: Those of them that were hit.
        claimed: Connected components of the prediction.
        right: Those of them that hit a lesion.
    """

    lesions: int
    found: int
    claimed: int
    right: int

    @property
    def sensitivity(self) -> float:
        """Share of the lesions that were found: NaN where there is none."""
        return self.found / self.lesions if self.lesions else float("nan")

    @property
    def precision(self) -> float:
        """Share of the claims that are right: NaN where there is none."""
        return self.right / self.claimed if self.claimed else float("nan")

    @property
    def f1(self) -> float:
        """Harmonic mean of both: 0 where one mask is empty or nothing fits, NaN where both are."""
        if not self.lesions and not self.claimed:
            return float("nan")
        if not self.found or not self.right:
            return 0.0
        return 2 * self.sensitivity * self.precision / (self.sensitivity + self.precision)

    def __add__(self, other: Detection) -> Detection:
        """Lesions of several cases together."""
        return Detection(
            self.lesions + other.lesions,
            self.found + other.found,
            self.claimed + other.claimed,
            self.right + other.right,
        )


def detection(
    truth: Any, prediction: Any, *, min_iou: float = 0.0, min_voxels: int = 1
) -> Detection:
    """Match connected components (voxels that share a face, edge or corner).

    A lesion is found, and a claim is right, when it overlaps a component of the other mask:
    by one voxel or more (``min_iou=0``), or with an intersection over union of at least
    ``min_iou`` between the two components. By overlap one claim may find several lesions and
    several claims one lesion; from an IoU above 0.5 pairs are one to one.

    Args:
        truth: Binary (H, W) or (D, H, W).
        prediction: The same shape.
        min_iou: 0 to 1.
        min_voxels: Smaller components are no lesions and no claims; what overlaps them alone
            hits nothing.

    Raises:
        RecipeError: Shapes, values or options do not fit.
    """
    if not 0 <= min_iou <= 1:
        raise RecipeError(f"min_iou={min_iou!r}: wanted 0 to 1")
    if min_voxels < 1:
        raise RecipeError(f"min_voxels={min_voxels!r}: wanted 1 or more")
    first, second = check_binary(truth, prediction)
    box = joint_box(first, second)
    if box is None:
        return Detection(0, 0, 0, 0)
    lesions, claims = (_components(mask[box], min_voxels) for mask in (first, second))
    sizes = np.bincount(lesions.ravel()), np.bincount(claims.ravel())
    shared = (lesions > 0) & (claims > 0)
    pairs = lesions[shared].astype(np.int64) * len(sizes[1]) + claims[shared]
    codes, common = np.unique(pairs, return_counts=True)
    lesion, claim = np.divmod(codes, len(sizes[1]))
    iou = common / (sizes[0][lesion] + sizes[1][claim] - common)
    hit = iou >= min_iou
    return Detection(
        len(sizes[0]) - 1,
        len(np.unique(lesion[hit])),
        len(sizes[1]) - 1,
        len(np.unique(claim[hit])),
    )


def _components(mask: NDArray[np.bool_], min_voxels: int) -> NDArray[np.int32]:
    """Numbers from 1 on for the components of at least `min_voxels`, 0 elsewhere."""
    from scipy import ndimage

    label: Callable[..., Any] = ndimage.label
    numbered, count = label(mask, structure=np.ones((3,) * mask.ndim, np.uint8))
    if min_voxels == 1:
        return np.asarray(numbered, np.int32)
    kept = np.bincount(numbered.ravel(), minlength=count + 1) >= min_voxels
    kept[0] = False
    numbers = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    return np.asarray(numbers[numbered])
