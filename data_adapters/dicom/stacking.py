"""From the positions of slices to their order and geometry, and what is irregular about them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from data_adapters.case import Geometry
from data_adapters.dicom.model import Instance, Triple
from data_adapters.findings import Finding

Array = NDArray[np.float64]
Six = tuple[float, float, float, float, float, float]

STEP_TOLERANCE = 0.01
"""A slice may lie off its regular place by 0.01 mm and this part of the step, along the normal."""
DRIFT_TOLERANCE = 0.02
"""A slice may be shifted in its plane by 0.02 mm and this part of the smaller pixel spacing."""
TILT_DEGREES = 0.1
"""From this angle between the normal and the line of the slices on, a stack is called tilted."""
GAP_TOLERANCE = 0.1
"""A step that is a whole multiple of the usual one, to this part of it, is a gap."""
FARTHEST = 1e6
"""Positions farther from the origin than this, mm, are no positions."""
_NOT_UNIT = 1e-2


def is_placed(one: Instance) -> bool:
    """Whether a file says where it lies.

    That is: a position within a kilometre of the origin, and direction cosines that are two unit
    vectors at a right angle, to one percent.
    """
    if one.position is None or one.orientation is None:
        return False
    return max(map(abs, one.position)) <= FARTHEST and _is_usable(one.orientation)


@lru_cache(maxsize=1024)
def _is_usable(orientation: Six) -> bool:
    if max(map(abs, orientation)) > 2:
        return False
    x, y = np.asarray(orientation, np.float64).reshape(2, 3)
    lengths = abs(float(x @ x) - 1), abs(float(y @ y) - 1)
    return max(lengths) <= _NOT_UNIT and abs(float(x @ y)) <= _NOT_UNIT


def axes_of(one: Instance) -> tuple[Triple, Triple, Triple]:
    """Unit vectors of the slice, row and column axes of an image that is placed.

    The row axis leads from row to row (the second triple of ImageOrientationPatient), the column
    axis from column to column (the first), and the normal is the cross product that makes
    (column, row, normal) right-handed.
    """
    assert one.orientation is not None
    return _axes(one.orientation)


@lru_cache(maxsize=1024)
def _axes(orientation: Six) -> tuple[Triple, Triple, Triple]:
    across, down = np.asarray(orientation, np.float64).reshape(2, 3)
    across = across / np.linalg.norm(across)
    normal = np.cross(across, down)
    normal /= np.linalg.norm(normal)
    return _triple(normal), _triple(np.cross(normal, across)), _triple(across)


def normal_of(one: Instance) -> Triple:
    """The normal of an image that is placed."""
    return axes_of(one)[0]


def height(one: Instance, normal: Triple) -> float:
    """Where an image lies along a normal, mm."""
    x, y, z = one.position or (0.0, 0.0, 0.0)
    return x * normal[0] + y * normal[1] + z * normal[2]


def plane_of(one: Instance) -> Geometry | None:
    """Where a single image lies: spacing (row, column), with place and axes where it has them."""
    if one.spacing is None or min(one.spacing) <= 0:
        return None
    if one.position is None or not is_placed(one) or one.frames > 1 or one.grouped:
        return Geometry(one.spacing)
    _, down, across = axes_of(one)
    return Geometry(one.spacing, one.position, (down, across))


def lay_out(members: Sequence[Instance]) -> tuple[list[Instance], Geometry | None, list[Finding]]:
    """Order slices along their normal and say where they lie.

    Args:
        members: At least two slices of one orientation, each at a position of its own.

    Returns:
        The slices from the lowest to the highest along the normal; their geometry, with the
        position of each slice where they make no regular stack, None where the pixel spacing is
        not known; and what is irregular.
    """
    axes = axes_of(members[0])
    normal = axes[0]
    ordered = sorted(members, key=lambda one: height(one, normal))
    positions = np.asarray([one.position for one in ordered], np.float64)
    findings = [*_rescale(ordered)]
    spacing = ordered[0].spacing
    if spacing is None or min(spacing) <= 0:
        message = "the files do not say how large a pixel is"
        findings.append(Finding("warning", "no-spacing", message, "give the spacing by hand"))
        return ordered, None, findings
    irregular = _irregular(positions, np.asarray(axes), min(spacing))
    heights = positions @ np.asarray(normal)
    steps = np.diff(heights)
    if irregular is None:
        step = float(heights[-1] - heights[0]) / len(steps)
        return ordered, Geometry((step, *spacing), _triple(positions[0]), axes), findings
    step = statistics.median(steps.tolist())
    places = tuple(_triple(position) for position in positions)
    geometry = Geometry((step, *spacing), places[0], axes, places)
    return ordered, geometry, [*findings, *irregular]


def irregularities(geometry: Geometry) -> list[Finding]:
    """What is irregular about a volume whose slices have positions of their own, in order."""
    if len(geometry.positions) < 2 or len(geometry.direction) != 3:
        return []
    positions = np.asarray(geometry.positions, np.float64)
    axes = np.asarray(geometry.direction, np.float64)
    steps = np.diff(positions @ axes[0])
    if steps.min() <= 0:
        return []
    return _irregular(positions, axes, min(geometry.spacing[1:])) or []


def _irregular(positions: Array, axes: Array, pixel: float) -> list[Finding] | None:
    """What is irregular about ordered slices; None where they make a regular stack."""
    heights, flat = positions @ axes[0], positions @ axes[1:].T
    steps = np.diff(heights)
    findings = _uneven(heights, steps)
    drift = np.linalg.norm(flat - flat[0], axis=1)
    if drift.max() <= 0.02 + DRIFT_TOLERANCE * pixel:
        return findings or None
    findings += _shifted(heights, flat, 0.02 + DRIFT_TOLERANCE * pixel)
    return findings


def _uneven(heights: Array, steps: Array) -> list[Finding]:
    step = (heights[-1] - heights[0]) / len(steps)
    even = heights[0] + step * np.arange(len(heights))
    if np.abs(heights - even).max() <= 0.01 + STEP_TOLERANCE * step:
        return []
    usual = statistics.median_low(steps.tolist())
    parts = steps / usual
    whole = np.rint(parts)
    gaps = whole >= 2
    if gaps.any() and (np.abs(parts - whole)[gaps] <= GAP_TOLERANCE).all():
        missing, holes = int((whole[gaps] - 1).sum()), int(gaps.sum())
        message = (
            f"{missing} slices are missing in {holes} gaps of a stack of {len(heights)}: "
            f"the usual step is {usual:.4g} mm, the largest {steps.max():.4g} mm"
        )
        remedy = "find the missing files, or resample to an even spacing knowing that they lack"
        findings = [Finding("error", "missing-slices", message, remedy)]
        if np.abs(parts - whole).max() <= STEP_TOLERANCE + 0.01 / usual:
            return findings
    else:
        findings = []
    message = f"the steps between slices run from {steps.min():.4g} to {steps.max():.4g} mm"
    remedy = "resample to an even spacing"
    return [*findings, Finding("warning", "uneven-spacing", message, remedy)]


def _shifted(heights: Array, flat: Array, allowed: float) -> list[Finding]:
    """Findings on slices that do not lie above each other."""
    rise = heights - heights.mean()
    slope = rise @ (flat - flat.mean(axis=0)) / (rise @ rise)
    angle = math.degrees(math.atan(float(np.linalg.norm(slope))))
    residue = np.linalg.norm(flat - flat.mean(axis=0) - np.outer(rise, slope), axis=1)
    findings = []
    if angle >= TILT_DEGREES:
        message = f"the gantry was tilted by {angle:.1f} degrees: slices are shifted in their plane"
        remedy = "resample to a rectangular grid"
        findings.append(Finding("warning", "gantry-tilt", message, remedy))
    if residue.max() > allowed or not findings:
        message = f"slices are shifted in their plane by up to {residue.max():.4g} mm"
        remedy = "resample to a rectangular grid"
        findings.append(Finding("warning", "uneven-spacing", message, remedy))
    return findings


def _rescale(ordered: Sequence[Instance]) -> list[Finding]:
    pairs = {(one.slope, one.intercept) for one in ordered}
    if len(pairs) < 2:
        return []
    message = f"{len(pairs)} pairs of rescale slope and intercept are used; each slice has its own"
    return [Finding("info", "rescale-varies", message)]


def _triple(values: Array) -> Triple:
    x, y, z = (float(value) for value in values)
    return x, y, z
