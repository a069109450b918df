"""Distances between the surfaces of two masks: Hausdorff, average, and surface Dice.

Two definitions of a surface and of its percentiles, each equal to the tool it is named after:

- ``monai``: the surface is the set of boundary voxels (centres), each counting once; the
  percentile interpolates linearly between them, as MONAI's ``compute_hausdorff_distance``,
  ``compute_surface_dice`` and ``compute_average_surface_distance(symmetric=True)``.
- ``deepmind``: the surface is made of elements between voxels, at the corners of the grid, each
  counting by its area (in 2D its length) as marching cubes gives it; the percentile is the
  distance at which the area reached that share, as in DeepMind's surface-distance.

Masks are taken to end at the border of the array. With one mask empty every distance of the
other is infinite; with both empty there is none, and every figure is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from recipes.errors import RecipeError
from recipes.evaluation.masks.elements import boundary_voxels, element_areas, surface_codes
from recipes.evaluation.masks.grids import Bools, Floats, check_binary, check_spacing, joint_box
from recipes.evaluation.masks.nearest import nearest_distances

DEFINITIONS = ("monai", "deepmind")


@dataclass(frozen=True, eq=False)
class Surface:
    """One mask's surface and how far each part of it lies from the other's.

    Attributes:
        distances: (n,) in mm; infinite where the other surface is empty.
        areas: (n,) area in mm² (2D: length in mm) of each element; None where each counts once.
    """

    distances: Floats
    areas: Floats | None = None

    def __len__(self) -> int:
        """Number of boundary voxels or elements."""
        return len(self.distances)

    @property
    def size(self) -> float:
        """Number of boundary voxels, or area of the elements."""
        return float(len(self)) if self.areas is None else float(self.areas.sum())

    def percentile(self, percent: float) -> float:
        """The distance that `percent` of the surface does not exceed; NaN without a surface."""
        if not len(self):
            return float("nan")
        if self.areas is None:
            return _quantile(self.distances, percent / 100)
        distances, areas = self._by_distance
        shares = np.cumsum(areas) / np.sum(areas)
        at = int(np.searchsorted(shares, percent / 100.0))
        return float(distances[min(at, len(distances) - 1)])

    def within(self, tolerance: float) -> float:
        """Size of the part whose distance is at most `tolerance` mm.

        Boundary voxels are compared as float32, as MONAI does, so that a distance that equals the
        tolerance but for rounding is within; elements are compared as float64.
        """
        if self.areas is None:
            near = self.distances.astype(np.float32) <= np.float32(tolerance)
            return float(np.count_nonzero(near))
        return float(self.areas[self.distances <= tolerance].sum())

    @property
    def total(self) -> float:
        """Sum of distance times size."""
        if self.areas is None:
            return float(self.distances.sum())
        return float((self.distances * self.areas).sum())

    @cached_property
    def _by_distance(self) -> tuple[Floats, Floats]:
        assert self.areas is not None
        order = np.lexsort((self.areas, self.distances))
        return self.distances[order], self.areas[order]


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """Both surfaces of a pair of masks, from which every surface figure follows.

    Attributes:
        truth: Distances from the truth's surface to the prediction's.
        prediction: Distances from the prediction's surface to the truth's.
        definition: `monai` or `deepmind`.
    """

    truth: Surface
    prediction: Surface
    definition: str

    def hausdorff(self, percent: float = 95.0) -> float:
        """Hausdorff distance in mm: the larger of the two directed percentiles.

        Args:
            percent: 95 for HD95, 100 for the maximum.

        Returns:
            Infinite where one mask is empty, NaN where both are.
        """
        if not 0 <= percent <= 100:
            raise RecipeError(f"percent={percent!r}: wanted 0 to 100")
        if not len(self.truth) and not len(self.prediction):
            return float("nan")
        if not len(self.truth) or not len(self.prediction):
            return float("inf")
        return max(self.truth.percentile(percent), self.prediction.percentile(percent))

    def average(self) -> float:
        """Average symmetric surface distance (ASSD) in mm, over both surfaces together.

        Returns:
            Infinite where one mask is empty, NaN where both are.
        """
        size = self.truth.size + self.prediction.size
        return (self.truth.total + self.prediction.total) / size if size else float("nan")

    def directed_averages(self) -> tuple[float, float]:
        """Average distance in mm from truth to prediction, and from prediction to truth."""
        pair = (self.truth, self.prediction)
        first, second = (s.total / s.size if s.size else float("nan") for s in pair)
        return first, second

    def surface_dice(self, tolerance: float) -> float:
        """Normalised surface Dice: share of both surfaces within `tolerance` of the other.

        Args:
            tolerance: In mm.

        Returns:
            0 to 1; 0 where one mask is empty, NaN where both are.
        """
        if not (np.isfinite(tolerance) and tolerance >= 0):
            raise RecipeError(f"tolerance={tolerance!r}: wanted 0 mm or more")
        size = self.truth.size + self.prediction.size
        within = self.truth.within(tolerance) + self.prediction.within(tolerance)
        return within / size if size else float("nan")


def surface_distances(
    truth: Any,
    prediction: Any,
    *,
    spacing: Sequence[float] | float | None = None,
    definition: str = "monai",
) -> SurfaceDistances:
    """Measure how far the surfaces of two masks lie apart; do it once, then ask for figures.

    Args:
        truth: Binary (H, W) or (D, H, W).
        prediction: The same shape.
        spacing: In mm, in the order of the array axes; None for 1 mm.
        definition: `monai` (boundary voxels) or `deepmind` (elements of area).

    Raises:
        RecipeError: Shapes, values, spacing or definition do not fit.
    """
    if definition not in DEFINITIONS:
        raise RecipeError(f"definition={definition!r}: choose one of {', '.join(DEFINITIONS)}")
    masks = check_binary(truth, prediction)
    steps = check_spacing(spacing, masks[0].ndim)
    box = joint_box(*masks)
    if box is None:
        none = Surface(np.zeros(0), np.zeros(0) if definition == "deepmind" else None)
        return SurfaceDistances(none, none, definition)
    first, second = (np.ascontiguousarray(mask[box]) for mask in masks)
    if definition == "monai":
        one, two = boundary_voxels(first), boundary_voxels(second)
        pair = Surface(_between(one, two, steps)), Surface(_between(two, one, steps))
    else:
        pair = _elements(first, second, steps)
    return SurfaceDistances(*pair, definition)


def _elements(first: Bools, second: Bools, steps: tuple[float, ...]) -> tuple[Surface, Surface]:
    codes = surface_codes(first), surface_codes(second)
    inside = 15 if first.ndim == 2 else 255
    one, two = ((code != 0) & (code != inside) for code in codes)
    areas = element_areas(steps)
    return (
        Surface(_between(one, two, steps), areas[codes[0][one]]),
        Surface(_between(two, one, steps), areas[codes[1][two]]),
    )


def _between(queries: Bools, targets: Bools, steps: tuple[float, ...]) -> Floats:
    if not targets.any():
        return np.full(int(np.count_nonzero(queries)), np.inf)
    return nearest_distances(queries, targets, steps)


def _quantile(values: Floats, share: float) -> float:
    """Linear interpolation between order statistics; infinite where the values are."""
    place = share * (len(values) - 1)
    low = int(place)
    high = min(low + 1, len(values) - 1)
    parts = np.partition(values, (low, high))
    if parts[low] == parts[high]:
        return float(parts[low])
    return float(parts[low] + (parts[high] - parts[low]) * (place - low))
