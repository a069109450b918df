"""Lesions of a case as training and scoring need them: boxes, places in mm, and painted targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from data_adapters.adapter import Adapter
from data_adapters.case import Case, Lesion
from data_adapters.lint.boxes import clipped, degenerate
from recipes.errors import RecipeError
from recipes.evaluation.froc.hits import box_iou
from recipes.segmentation.derived import Derived

Array = npt.NDArray[np.float64]

SAME = 0.7
"""IoU from which two boxes of one class are one lesion that two readers marked."""
CORE = 0.7
"""Part of a lesion's half axes that is painted: neighbours that touch stay apart."""


@dataclass(frozen=True)
class Marks:
    """Lesions of a case that count, and what was left out.

    Attributes:
        labels: Class of each, shape (L,).
        boxes: Lowest faces then highest in voxels, pixel i reaching from i to i + 1, shape
            (L, 2 D).
        radii: Half the mean side in the unit of the spacing, or the radius that was marked, (L,).
        dropped: Boxes without area or wholly outside the image.
        merged: Marks that were another mark of the same lesion.
    """

    labels: npt.NDArray[np.int64]
    boxes: Array
    radii: Array
    dropped: int = 0
    merged: int = 0

    @property
    def centres(self) -> Array:
        """Centres as voxel indices, whole at a voxel's centre, shape (L, D)."""
        axes = self.boxes.shape[1] // 2
        return (self.boxes[:, :axes] + self.boxes[:, axes:]) / 2 - 0.5


def marks_of(case: Case, *, radius: float | None = None) -> Marks:
    """The lesions of a case, faulty ones left out, those that two readers marked taken once.

    Args:
        case: A case with lesions (none: it is normal).
        radius: Radius of marks that are bare points, mm (pixels where the voxel size is unknown).

    Raises:
        RecipeError: A bare point, and no radius is given.
    """
    grid = case.image.shape[:-1]
    spacing = spacing_of(case)
    found: list[tuple[int, Sequence[float], float]] = []
    dropped = 0
    for lesion in case.lesions:
        whole = _boxed(lesion, case.case_id, spacing, radius)
        kept = None if degenerate(whole) else clipped(whole, grid)
        if kept is None or kept.box is None:
            dropped += 1
            continue
        sides = (np.asarray(whole.box)[len(grid) :] - np.asarray(whole.box)[: len(grid)]) * spacing
        reach = sides.mean() / 2 if lesion.radius is None else lesion.radius * spacing[-1]
        found.append((lesion.label, kept.box, float(reach)))
    rows = _distinct(found)
    return Marks(
        labels=np.asarray([found[k][0] for k in rows], np.int64),
        boxes=np.asarray([found[k][1] for k in rows], np.float64).reshape(-1, 2 * len(grid)),
        radii=np.asarray([found[k][2] for k in rows], np.float64),
        dropped=dropped,
        merged=len(found) - len(rows),
    )


def spacing_of(case: Case) -> Array:
    """Voxel size along the image axes in mm; ones where it is unknown: pixels are the unit then."""
    if case.geometry is None:
        return np.ones(case.image.ndim - 1)
    return np.asarray(case.geometry.spacing, np.float64)


def _boxed(lesion: Lesion, case_id: str, spacing: Array, radius: float | None) -> Lesion:
    """The lesion with a box: its own, or one around its sphere."""
    if lesion.box is not None:
        return lesion
    assert lesion.centre is not None, "a lesion has a box or a centre"
    reach = radius if lesion.radius is None else lesion.radius * spacing[-1]
    if reach is None:
        raise RecipeError(
            f"case {case_id}: a lesion is marked by a bare point; say how large lesions are with "
            "--set data.radius=MM"
        )
    middle, half = np.asarray(lesion.centre) + 0.5, reach / spacing
    box = tuple(float(v) for v in (*(middle - half), *(middle + half)))
    return replace(lesion, box=box)


def _distinct(found: Sequence[tuple[int, Sequence[float], float]]) -> list[int]:
    """Positions of lesions of which no earlier one is the same."""
    if not found:
        return []
    boxes = np.asarray([box for _, box, _ in found], np.float64)
    same = box_iou(boxes, boxes) >= SAME
    kept: list[int] = []
    for k, (label, _, _) in enumerate(found):
        if not any(same[k, other] and found[other][0] == label for other in kept):
            kept.append(k)
    return kept


def painted(marks: Marks, grid: Sequence[int], *, core: float = CORE) -> npt.NDArray[np.uint8]:
    """A target mask: an ellipsoid inside each box, class + 1; at least one voxel each.

    Args:
        marks: The lesions.
        grid: Sides of the image.
        core: Part of the half axes that is painted.
    """
    mask = np.zeros(tuple(grid), np.uint8)
    axes = len(grid)
    sides = marks.boxes[:, axes:] - marks.boxes[:, :axes]
    for k in np.argsort(-sides.prod(axis=1), kind="stable"):  # small ones over large ones
        centre, half = marks.centres[k], np.maximum(sides[k] / 2 * core, 1e-6)
        low = np.clip(np.ceil(centre - half), 0, np.asarray(grid) - 1).astype(int)
        high = np.clip(np.floor(centre + half) + 1, low + 1, grid).astype(int)
        places = np.ogrid[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        away = sum(((p - c) / h) ** 2 for p, c, h in zip(places, centre, half, strict=True))
        window = mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        window[away <= 1] = marks.labels[k] + 1
        nearest = np.clip(np.rint(centre), 0, np.asarray(grid) - 1).astype(int)
        mask[tuple(nearest)] = marks.labels[k] + 1
    return mask


class Painted(Derived):
    """Cases whose mask is painted from their lesions, for a network that finds them.

    Where the data have masks of their own, these are the target.
    """

    def __init__(self, inner: Adapter, *, radius: float | None, core: float = CORE) -> None:
        """Remember how lesions are painted.

        Args:
            inner: Cases with lesions.
            radius: As of `marks_of`.
            core: As of `painted`.
        """
        super().__init__(inner, f"painted {radius} {core}")
        self.radius, self.core = radius, core
        self.class_names = ("background", *inner.class_names)
        self.task = "segmentation"

    def changed(self, i: int, case: Case) -> Case:
        """The case with its target, and without its lesions."""
        mask = case.mask
        if mask is None:
            marks = marks_of(case, radius=self.radius)
            mask = painted(marks, case.image.shape[:-1], core=self.core)
        return replace(case, mask=mask, masks=None, lesions=())


class Components(Derived):
    """Cases with masks, whose connected components are the lesions."""

    def __init__(self, inner: Adapter) -> None:
        """Each class but the background is one of lesions."""
        super().__init__(inner, "components")
        self.class_names = tuple(inner.class_names[1:])
        self.task = "detection"

    def changed(self, i: int, case: Case) -> Case:
        """The case with a lesion for each component (faces, edges and corners join)."""
        if case.mask is None:
            return case
        return replace(case, lesions=tuple(_components(case.mask, len(self.class_names))))


def _components(mask: npt.NDArray[Any], classes: int) -> list[Lesion]:
    found = []
    for k in range(classes):
        parts, _ = ndimage.label(mask == k + 1, np.ones((3,) * mask.ndim))
        for box in ndimage.find_objects(parts):
            ends = (*(float(s.start) for s in box), *(float(s.stop) for s in box))
            found.append(Lesion(k, box=ends))
    return found
