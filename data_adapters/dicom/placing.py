"""Putting a segmentation onto the grid of the images that it was drawn on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_adapters.case import Geometry
from data_adapters.dicom.objects import Label
from data_adapters.dicom.seg import Patch, Segmentation
from data_adapters.dicom.seg_header import Source
from data_adapters.errors import CaseError
from data_adapters.findings import Finding
from data_adapters.geometry import to_index, to_world, triple

Array = NDArray[np.float64]
ON_GRID = 0.1
"""How far, in voxels, a frame's corners may lie from voxel centres and still be on the grid."""


@dataclass(frozen=True, eq=False, slots=True)
class Region:
    """Part of one slice that belongs to something named.

    Attributes:
        label: What it is.
        slice: Slice of the image; 0 for a picture.
        row: First row.
        column: First column.
        values: (h, w) uint8, 0 or 1, or float32, 0 to 1; inside the image.
    """

    label: Label
    slice: int
    row: int
    column: int
    values: NDArray[Any]


def as_volume(geometry: Geometry | None, *, thickness: float | None = None) -> Geometry | None:
    """The geometry of a picture as that of a volume of one slice.

    Args:
        geometry: A picture's or a volume's; None gives None.
        thickness: Of a picture's slice, mm; 1 where not known.

    Returns:
        A volume's geometry; None where the directions are not known.
    """
    if geometry is None or len(geometry.direction) != len(geometry.spacing):
        return None
    if len(geometry.spacing) == 3:
        return geometry
    normal = np.cross(geometry.direction[1], geometry.direction[0])
    step = thickness if thickness and thickness > 0 else 1.0
    return replace(
        geometry,
        spacing=(step, *geometry.spacing),
        direction=(triple(normal), *geometry.direction),
    )


def on_grid(
    segmentation: Segmentation,
    geometry: Geometry | None,
    shape: Sequence[int],
    *,
    sources: Mapping[Source, int] | None = None,
    case_id: str,
) -> tuple[list[Region], list[Finding]]:
    """Put a segmentation onto an image's grid.

    Voxels are moved by index alone where the two grids share their voxels (also when one is
    flipped, transposed or in reverse order); else each voxel of the image takes the value of the
    nearest voxel of the segmentation, and a finding says so. Where either has no positions, frames
    go to the images that they were drawn on.

    Args:
        segmentation: On its own grid.
        geometry: Where the image's voxels lie; None where not known.
        shape: (D, H, W) of the image, or (H, W) of a picture.
        sources: Slice of the image by SOP Instance UID and frame number (0: an object of one
            frame).
        case_id: Pseudonymous id that errors and findings carry.

    Returns:
        Regions on the image's grid, and findings: `mask-off-grid`, `mask-resampled`,
        `mask-coarser`, `reference-mismatch`, and the segmentation's own.

    Raises:
        CaseError: `mask-grid`: there is neither a position nor an image to go by.
    """
    depth, rows, columns = (1, *shape) if len(shape) == 2 else tuple(shape)
    grid = as_volume(geometry)
    own = as_volume(segmentation.geometry)
    findings = list(segmentation.findings)
    if own is None or grid is None:
        patches = _by_source(segmentation, sources or {}, (rows, columns), case_id)
        lost = _voxels(segmentation.patches) - _voxels(patches)
        return _clip(segmentation, patches, (depth, rows, columns), findings, case_id, lost)
    moved = _exact(segmentation, own, grid)
    if moved is None:
        message = "the segmentation lies on another grid: each voxel took the nearest one's value"
        remedy = "check that it overlays the images"
        findings.append(Finding("warning", "mask-resampled", message, remedy, case_id))
        moved, lost = _nearest(segmentation, own, grid, (depth, rows, columns))
        return _clip(segmentation, moved, (depth, rows, columns), findings, case_id, lost)
    findings += _mismatch(moved, sources or {}, case_id)
    if own.spacing[0] > 1.5 * grid.spacing[0] and len({patch.slice for patch in moved}) > 1:
        message = "the segmentation has frames on some of the slices only; those between are empty"
        remedy = "fill in the slices between, or leave them out"
        findings.append(Finding("warning", "mask-coarser", message, remedy, case_id))
    return _clip(segmentation, moved, (depth, rows, columns), findings, case_id, 0)


def _by_source(
    segmentation: Segmentation,
    sources: Mapping[Source, int],
    shape: tuple[int, int],
    case_id: str,
) -> list[Patch]:
    """Patches on the slices that their frames refer to."""
    if segmentation.shape[1:] != shape:
        high, wide = segmentation.shape[1:]
        message = f"the mask of {wide} x {high} pixels has no position to fit the image by"
        raise CaseError(case_id, "mask-grid", message)
    placed = [
        replace(patch, slice=sources[patch.source])
        for patch in segmentation.patches
        if patch.source is not None and patch.source in sources
    ]
    if segmentation.patches and not placed:
        message = "the mask has neither a position nor a reference to these images"
        raise CaseError(case_id, "mask-grid", message)
    return placed


def _voxels(patches: Sequence[Patch]) -> int:
    return sum(int(np.count_nonzero(patch.values)) for patch in patches)


def _exact(segmentation: Segmentation, own: Geometry, grid: Geometry) -> list[Patch] | None:
    """Patches by index alone, outside the image too; None where voxels do not coincide."""
    _, rows, columns = segmentation.shape
    used = sorted({patch.slice for patch in segmentation.patches})
    if not used:
        return []
    ends = np.array([[0, 0], [1, 0], [0, 1], [rows - 1, columns - 1]], np.float64)
    corners = np.array([[[s, r, c] for r, c in ends] for s in used])
    found = to_index(grid, to_world(own, corners))
    whole = np.rint(found)
    if np.abs(found - whole).max() > ON_GRID:
        return None
    steps = whole[:, 1:3] - whole[:, :1]
    step = steps[0].astype(int)
    planes = whole[:, 0, 0].astype(int)
    if (steps != steps[0]).any() or not _turn(step) or len(set(planes.tolist())) < len(planes):
        return None
    starts = dict(zip(used, whole[:, 0].astype(int), strict=True))
    return [_moved(patch, starts[patch.slice], step) for patch in segmentation.patches]


def _turn(step: NDArray[Any]) -> bool:
    """Whether a step along a row and one along a column stay in the slice and are unit steps."""
    size = np.abs(step[:, 1:])
    ones = (size.sum(0) == 1).all() and (size.sum(1) == 1).all()
    return bool(ones) and not step[:, 0].any()


def _moved(patch: Patch, start: NDArray[Any], step: NDArray[Any]) -> Patch:
    """A patch after a quarter turn, a flip or a shift by whole voxels."""
    values, (high, wide) = patch.values, patch.values.shape
    first = start + patch.row * step[0] + patch.column * step[1]
    last = first + (high - 1) * step[0] + (wide - 1) * step[1]
    turned = values.T if step[0, 1] == 0 else values
    flips = (step[:, 1].sum() < 0, step[:, 2].sum() < 0)
    turned = turned[:: -1 if flips[0] else 1, :: -1 if flips[1] else 1]
    row, column = (int(v) for v in np.minimum(first, last)[1:])
    return replace(patch, slice=int(start[0]), row=row, column=column, values=turned)


def _nearest(
    segmentation: Segmentation, own: Geometry, grid: Geometry, shape: tuple[int, int, int]
) -> tuple[list[Patch], int]:
    """Patches by the nearest voxel, and how many voxels lie outside the image."""
    patches, lost = [], 0
    for index in range(len(segmentation.segments)):
        mine = [patch for patch in segmentation.patches if patch.segment == index]
        if not mine:
            continue
        low, full = _box(mine)
        places = np.argwhere(full != 0) + low
        inside = to_index(grid, to_world(own, places))
        lost += int(((inside < -0.5) | (inside > np.array(shape) - 0.5)).any(-1).sum())
        first = np.maximum(np.floor(inside.min(0)) - 1, 0).astype(int)
        last = np.minimum(np.ceil(inside.max(0)) + 2, shape).astype(int)
        if own.positions or len({patch.slice for patch in mine}) == 1 or grid.positions:
            first[0], last[0] = 0, shape[0]
        patches += _sample(index, (low, full), (own, grid), (first, last))
    return patches, lost


def _box(patches: Sequence[Patch]) -> tuple[NDArray[Any], NDArray[Any]]:
    """First voxel and values of the smallest box around patches."""
    low = np.min([(p.slice, p.row, p.column) for p in patches], 0)
    ends = [(p.slice + 1, p.row + p.values.shape[0], p.column + p.values.shape[1]) for p in patches]
    full = np.zeros(np.max(ends, 0) - low, patches[0].values.dtype)
    for patch in patches:
        z, y, x = np.array((patch.slice, patch.row, patch.column)) - low
        high, wide = patch.values.shape
        full[z, y : y + high, x : x + wide] = patch.values
    return low, full


def _sample(
    index: int,
    values: tuple[NDArray[Any], NDArray[Any]],
    grids: tuple[Geometry, Geometry],
    bounds: tuple[NDArray[Any], NDArray[Any]],
) -> list[Patch]:
    """Values of the voxels nearest to those of the image, slice by slice."""
    (low, full), (own, grid), (first, last) = values, grids, bounds
    if (last <= first).any():
        return []
    rows, columns = np.arange(first[1], last[1]), np.arange(first[2], last[2])
    patches = []
    for place in range(int(first[0]), int(last[0])):
        here = np.stack(np.meshgrid([place], rows, columns, indexing="ij"), -1)[0]
        points = to_world(grid, here)
        near = np.floor(to_index(own, points) + 0.5).astype(int)
        there = near - low
        known = ((there >= 0) & (there < full.shape)).all(-1) & _covered(own, points, near[..., 0])
        if not known.any():
            continue
        taken = np.zeros(known.shape, full.dtype)
        taken[known] = full[tuple(there[known].T)]
        if taken.any():
            patches.append(Patch(index, place, int(first[1]), int(first[2]), taken))
    return patches


def _covered(own: Geometry, points: Array, near: NDArray[Any]) -> Any:
    """Where a point is within half a step of its slice; planes with gaps do not fill them."""
    if not own.positions:
        return True
    starts = np.asarray(own.positions)[np.clip(near, 0, len(own.positions) - 1)]
    apart = np.abs((points - starts) @ np.asarray(own.direction[0]))
    return apart <= (0.5 + ON_GRID) * own.spacing[0]


def _mismatch(
    patches: Sequence[Patch], sources: Mapping[Source, int], case_id: str
) -> list[Finding]:
    known = [(p.slice, sources.get(p.source)) for p in patches if p.source is not None]
    wrong = {here for here, said in known if said is not None and said != here}
    if not wrong:
        return []
    message = f"frames in {len(wrong)} planes refer to other images than those at their position"
    remedy = "check that the mask overlays the images; positions were followed"
    return [Finding("warning", "reference-mismatch", message, remedy, case_id)]


def _clip(
    segmentation: Segmentation,
    patches: Sequence[Patch],
    shape: tuple[int, int, int],
    findings: list[Finding],
    case_id: str,
    lost: int,
) -> tuple[list[Region], list[Finding]]:
    """Regions inside the image, and a finding about what lies outside."""
    regions = []
    for patch in patches:
        region = clip_region(
            segmentation.segments[patch.segment].label,
            patch.slice,
            (patch.row, patch.column),
            patch.values,
            shape,
        )
        kept = 0 if region is None else int(np.count_nonzero(region.values))
        lost += int(np.count_nonzero(patch.values)) - kept
        if region is not None:
            regions.append(region)
    if lost:
        message = f"{lost} voxels of the mask lie outside the image and were dropped"
        remedy = "check that the mask belongs to these images"
        findings.append(Finding("warning", "mask-off-grid", message, remedy, case_id))
    return regions, findings


def clip_region(
    label: Label,
    place: int,
    corner: tuple[int, int],
    values: NDArray[Any],
    shape: tuple[int, int, int],
) -> Region | None:
    """The part of a region inside an image of a shape; None where there is none."""
    depth, rows, columns = shape
    row, column = corner
    if not 0 <= place < depth:
        return None
    top, left = max(0, -row), max(0, -column)
    part = values[top : max(0, rows - row), left : max(0, columns - column)]
    if not part.any():
        return None
    return Region(label, place, row + top, column + left, part)
