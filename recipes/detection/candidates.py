"""From a map of probabilities to candidates: peaks that lie apart, each with a box."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

from recipes.errors import RecipeError

Array = npt.NDArray[np.float64]
HALF = 0.5
"""Part of a peak's height down to which its neighbourhood belongs to its box."""
VALLEY = 0.75
"""Part of a peak's height below which the way to any higher peak must lead."""
LEVELS = 16
"""Heights, evenly on a logarithmic scale, at which it is looked whether peaks are connected."""


@dataclass(frozen=True)
class PeakRules:
    """How candidates are read from a map.

    Attributes:
        floor: Probability below which nothing is a candidate.
        apart: Least distance of two candidates of one class, mm (pixels where unknown).
        most: Candidates of a case and class, the highest first.
        core: Part of a lesion's half axes that the network was taught to mark; boxes are as much
            larger than what it marks.
    """

    floor: float = 0.02
    apart: float = 5.0
    most: int = 100
    core: float = 1.0

    def __post_init__(self) -> None:
        """Check the figures.

        Raises:
            RecipeError: One is out of range.
        """
        if not 0 < self.floor < 1 or self.apart < 0 or self.most < 1 or not 0 < self.core <= 1:
            raise RecipeError(f"{self}: floor and core are shares, apart 0 or more, most 1 or more")


@dataclass(frozen=True)
class Found:
    """Candidates of one case, the highest score first.

    Attributes:
        labels: Class of each, shape (N,).
        scores: Probability at the peak, shape (N,).
        centres: Voxel indices, whole at a voxel's centre, shape (N, D).
        boxes: Lowest faces then highest in voxels, inside the image, shape (N, 2 D).
        origins: Where a detector of boxes has each from, as of `boxes.windows.Boxes`; None where
            candidates are of a map, or were read from a file.
    """

    labels: npt.NDArray[np.int64]
    scores: Array
    centres: Array
    boxes: Array
    origins: npt.NDArray[np.int64] | None = None

    def rescored(self, scores: Array) -> Found:
        """The same candidates with other scores, the highest first."""
        order = np.argsort(-scores, kind="stable")
        return Found(
            self.labels[order],
            scores[order],
            self.centres[order],
            self.boxes[order],
            None if self.origins is None else self.origins[order],
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON."""
        return {
            "labels": self.labels.tolist(),
            "scores": self.scores.tolist(),
            "centres": self.centres.tolist(),
            "boxes": self.boxes.tolist(),
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any], axes: int) -> Found:
        """What `to_dict` wrote, of images of so many axes."""
        return cls(
            np.asarray(content["labels"], np.int64),
            np.asarray(content["scores"], np.float64),
            np.asarray(content["centres"], np.float64).reshape(-1, axes),
            np.asarray(content["boxes"], np.float64).reshape(-1, 2 * axes),
        )


def find_candidates(maps: npt.NDArray[Any], spacing: Array, rules: PeakRules) -> Found:
    """Read candidates of every class.

    Args:
        maps: Probabilities ``(*grid, K)``, the background first.
        spacing: Voxel size along the axes, mm (ones where unknown).
        rules: How.

    Returns:
        Class k of the result is channel k + 1.
    """
    axes = maps.ndim - 1
    parts = [
        _of_class(np.asarray(maps[..., k + 1], np.float32), k, spacing, rules)
        for k in range(maps.shape[-1] - 1)
    ]
    labels = np.concatenate([part[0] for part in parts])
    scores = np.concatenate([part[1] for part in parts])
    order = np.argsort(-scores, kind="stable")
    return Found(
        labels[order],
        scores[order],
        np.concatenate([part[2] for part in parts]).reshape(-1, axes)[order],
        np.concatenate([part[3] for part in parts]).reshape(-1, 2 * axes)[order],
    )


def _of_class(
    heat: npt.NDArray[np.float32], label: int, spacing: Array, rules: PeakRules
) -> tuple[npt.NDArray[np.int64], Array, Array, Array]:
    sides = heat.shape
    corner = np.zeros(heat.ndim, np.int64)
    above = np.argwhere(heat >= rules.floor)
    if len(above):  # the rest of a large volume is not looked at again and again
        corner, end = above.min(axis=0), above.max(axis=0) + 1
        heat = heat[tuple(slice(a, b) for a, b in zip(corner, end, strict=True))]
    peaks = _peaks(heat, spacing, rules)
    owner, places = _regions(heat, peaks, spacing, rules)
    centres, boxes = [], []
    for k, peak in enumerate(peaks):
        height = heat[tuple(peak)]
        mine = places[owner == k]
        values = heat[tuple(mine.T)]
        mine, values = mine[values >= HALF * height], values[values >= HALF * height]
        centre = (mine * values[:, None]).sum(axis=0) / values.sum() + corner
        low, high = mine.min(axis=0) + corner, mine.max(axis=0) + corner + 1.0
        middle, half = (low + high) / 2, (high - low) / 2 / rules.core
        centres.append(centre)
        boxes.append(np.concatenate([
            np.maximum(middle - half, 0), np.minimum(middle + half, sides)
        ]))  # fmt: skip
    scores = np.asarray([heat[tuple(peak)] for peak in peaks], np.float64)
    return (
        np.full(len(peaks), label, np.int64),
        scores,
        np.asarray(centres, np.float64).reshape(-1, heat.ndim),
        np.asarray(boxes, np.float64).reshape(-1, 2 * heat.ndim),
    )


def _peaks(
    heat: npt.NDArray[np.float32], spacing: Array, rules: PeakRules
) -> npt.NDArray[np.int64]:
    """Local maxima from the highest down, apart from higher ones by distance and by a valley."""
    size = [2 * max(1, math.floor(rules.apart / 2 / s)) + 1 for s in spacing]
    tops = (heat == ndimage.maximum_filter(heat, size=size, mode="nearest")) & (heat >= rules.floor)
    places = np.argwhere(tops)
    order = np.argsort(-heat[tops], kind="stable")
    places = places[order]
    if not len(places):
        return places
    tree = cKDTree(places * spacing)
    kept: list[int] = []
    gone = np.zeros(len(places), bool)
    for k in range(len(places)):
        if not gone[k]:
            kept.append(k)
            gone[tree.query_ball_point(places[k] * spacing, rules.apart * (1 - 1e-9))] = True
    return _parted(heat, places[kept], rules.floor)[: rules.most]


def _parted(
    heat: npt.NDArray[np.float32], peaks: npt.NDArray[np.int64], floor: float
) -> npt.NDArray[np.int64]:
    """Peaks that no way above `VALLEY` of their height joins to a higher one.

    A large lesion is a plateau with many maxima, and is one candidate.
    """
    heights = heat[tuple(peaks.T)]
    levels = floor ** np.linspace(1, 0, LEVELS, endpoint=False)
    level_of = np.searchsorted(levels, np.maximum(VALLEY * heights, floor), side="right") - 1
    part_of = np.zeros((LEVELS, len(peaks)), np.int64)
    for level in np.unique(level_of):
        parts, _ = ndimage.label(heat >= levels[level], np.ones((3,) * heat.ndim))
        part_of[level] = parts[tuple(peaks.T)]
    kept: list[int] = []
    for k, level in enumerate(level_of):
        if not np.isin(part_of[level, k], part_of[level, kept]):
            kept.append(k)
    return peaks[kept]


def _regions(
    heat: npt.NDArray[np.float32],
    peaks: npt.NDArray[np.int64],
    spacing: Array,
    rules: PeakRules,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The nearest peak in the same component (-1: none) of each voxel above the floor; both."""
    above = heat >= rules.floor
    component, _ = ndimage.label(above, np.ones((3,) * heat.ndim))
    places = np.argwhere(above)
    owner = np.full(len(places), -1, np.int64)
    if not len(peaks):
        return owner, places
    mine, theirs = component[above], component[tuple(peaks.T)]
    order = np.argsort(mine, kind="stable")
    ends = np.searchsorted(mine[order], np.unique(theirs)[:, None] + [0, 1])
    for name, (first, last) in zip(np.unique(theirs), ends, strict=True):
        rows, here = order[first:last], np.flatnonzero(theirs == name)
        if len(here) == 1:
            owner[rows] = here[0]
        else:
            _, nearest = cKDTree(peaks[here] * spacing).query(places[rows] * spacing)
            owner[rows] = here[nearest]
    return owner, places
