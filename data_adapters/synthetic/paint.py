"""The painter of phantoms: samples ordered shapes on planes, fans of rays or lists of points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from data_adapters.synthetic.shapes import Box, Floats, Shape, Warp

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Part:
    """A shape with its organ and its mean value.

    Attributes:
        shape: The solid.
        organ: Index of the organ it belongs to.
        hu: Mean value in HU.
        soft: Relative half-width of the border: 0 is sharp, 0.3 fades from 0.7 to 1.3 radii
            (ellipsoids only), with equal shares where the level is 1.
        core: HU reached in the middle, so that `hu` is left as a rim (ellipsoids only).
    """

    shape: Shape
    organ: int
    hu: float
    soft: float = 0.0
    core: float | None = None

    @cached_property
    def box(self) -> Box:
        """Bounds in mm, soft border included."""
        x0, x1, y0, y1, z0, z1 = self.shape.box
        x, y, z = (self.soft * (b - a) / 2 for a, b in ((x0, x1), (y0, y1), (z0, z1)))
        return (x0 - x, x1 + x, y0 - y, y1 + y, z0 - z, z1 + z)

    def share(self, level: Floats) -> Floats:
        """Share of this part, 0 to 1, where its shape has the given level."""
        if self.soft == 0.0:
            return (level <= 1).astype(np.float32)
        t = np.clip((1 + self.soft - np.sqrt(np.maximum(level, 0))) / (2 * self.soft), 0, 1)
        return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)

    def values(self, level: Floats) -> Floats:
        """Value in HU where its shape has the given level."""
        if self.core is None:
            return np.full_like(level, self.hu)
        t = np.clip((np.sqrt(np.maximum(level, 0)) - 0.45) / 0.25, 0, 1)
        return np.asarray(self.core + t * (self.hu - self.core), dtype=np.float32)


def _span(line: Floats, low: float, high: float) -> slice:
    """Range of indices of a rising or falling line of coordinates that lie in [low, high]."""
    if line.size > 1 and line[0] > line[-1]:
        line, low, high = -line, -high, -low
    start, stop = np.searchsorted(line, (low, high))
    return slice(int(start), min(int(stop) + 1, line.size))


def region(box: Box, x: Floats, y: Floats, z: Floats, *, slack: float = 0.0) -> tuple[slice, slice]:
    """Rows and columns of a grid that a box can touch.

    Args:
        box: Bounds in mm.
        x: (1, W) monotonic coordinates in mm, along the columns.
        y: (H, 1) along the rows, or (1, 1).
        z: (1, 1), or (H, 1) along the rows.
        slack: Room in mm to add around the box in x and y.

    Returns:
        A superset of the touched samples as (rows, columns).
    """
    columns = _span(x[0], box[0] - slack, box[1] + slack)
    if y.size > 1:
        return _span(y[:, 0], box[2] - slack, box[3] + slack), columns
    return _span(z[:, 0], box[4], box[5]), columns


def near(
    parts: Sequence[Part], low: Sequence[float], high: Sequence[float], *, slack: float = 0.0
) -> list[Part]:
    """The parts that can touch a cuboid.

    Args:
        parts: Any parts.
        low: Lowest corner (x, y, z) in mm.
        high: Highest corner.
        slack: Room in mm to add around the parts in x and y.

    Returns:
        Those parts, in the same order.
    """
    (x0, y0, z0), (x1, y1, z1) = low, high
    x0, y0, x1, y1 = x0 - slack, y0 - slack, x1 + slack, y1 + slack
    return [
        part
        for part in parts
        if part.box[4] <= z1
        and part.box[5] >= z0
        and part.box[0] <= x1
        and part.box[1] >= x0
        and part.box[2] <= y1
        and part.box[3] >= y0
    ]


def cut(values: Floats, where: tuple[slice, slice]) -> Floats:
    """The part of a broadcasting coordinate array that belongs to a region."""
    rows, columns = (
        part if size > 1 else slice(None) for part, size in zip(where, values.shape, strict=True)
    )
    return values[rows, columns]


def paint(
    parts: Sequence[Part],
    x: Floats,
    y: Floats,
    z: Floats,
    *,
    warp: Warp | None = None,
    hu: Floats | None = None,
    organs: Bytes | None = None,
    scattered: bool = False,
) -> None:
    """Paint parts, later ones over earlier ones, into `hu` and `organs`, in place.

    Args:
        parts: What to paint, in order.
        x: (1, W) monotonic coordinates in mm (LPS), float32.
        y: (H, 1), or (1, 1) on a coronal plane.
        z: (1, 1), or (H, 1) on a coronal plane.
        warp: Displacement under which the parts are seen.
        hu: (H, W) float32, HU.
        organs: (H, W) uint8, organ index; sharp at level 1 even where values fade.
        scattered: Whether x, y and z are all (1, N): single points in any order.
    """
    slack = warp.reach if warp else 0.0
    bent = (*warp(x, y, z), z) if warp else (x, y, z)
    whole = (slice(None), slice(None))
    if not scattered:
        corners = [(float(c.min()), float(c.max())) for c in (x, y, z)]
        parts = near(parts, [c[0] for c in corners], [c[1] for c in corners], slack=slack)
    for part in parts:
        where = whole if scattered else region(part.box, x, y, z, slack=slack)
        level = part.shape.level(*(cut(values, where) for values in bent))
        if level.size == 0:
            continue
        if organs is not None:
            np.copyto(organs[where], np.uint8(part.organ), where=level <= 1)
        if hu is None:
            continue
        view = hu[where]
        if part.soft == 0.0 and part.core is None:
            np.copyto(view, np.float32(part.hu), where=level <= 1)
        else:
            view += part.share(level) * (part.values(level) - view)
