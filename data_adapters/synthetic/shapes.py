"""Solid shapes that phantoms are made of.

Every shape is an analytic solid in millimetres, in the patient's LPS axes (x to the patient's
left, y to the back, z to the head). Its `level` is at most 1 inside and rises outwards; for an
ellipsoid it is the squared relative radius. Coordinates are float32 arrays that broadcast.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Box = tuple[float, float, float, float, float, float]
Point = tuple[float, float, float]
FAR = 1e9


class Shape(Protocol):
    """An analytic solid."""

    @property
    def box(self) -> Box:
        """Bounds (x0, x1, y0, y1, z0, z1) in mm that hold the whole solid."""
        ...

    def level(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """At most 1 inside, rising outwards; coordinates in mm, broadcast against each other."""
        ...


def _f32(values: Any) -> Floats:
    return np.asarray(values, dtype=np.float32)


def _turned(x: Floats, y: Floats, angle: float) -> tuple[Floats, Floats]:
    if angle == 0.0:
        return x, y
    cos, sin = math.cos(angle), math.sin(angle)
    return cos * x + sin * y, cos * y - sin * x


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid turned in-plane by `angle` (radians) whose axis leans by `lean` (mm per mm)."""

    centre: Point
    radii: Point
    angle: float = 0.0
    lean: tuple[float, float] = (0.0, 0.0)

    @property
    def box(self) -> Box:
        """Bounds in mm."""
        (x, y, z), (a, b, c) = self.centre, self.radii
        if self.angle:
            a = b = max(a, b)
        dx, dy = a + abs(self.lean[0]) * c, b + abs(self.lean[1]) * c
        return (x - dx, x + dx, y - dy, y + dy, z - c, z + c)

    def level(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Squared relative radius."""
        dz = z - self.centre[2]
        dx = x - self.centre[0] - self.lean[0] * dz
        dy = y - self.centre[1] - self.lean[1] * dz
        u, v = _turned(dx, dy, self.angle)
        a, b, c = (1.0 / radius for radius in self.radii)
        return _f32(np.square(u * a) + np.square(v * b) + np.square(dz * c))


@dataclass(frozen=True)
class Tube:
    """An elliptic (or `boxy`, a rounded rectangle) cylinder along z between two heights."""

    centre: tuple[float, float]
    radii: tuple[float, float]
    bottom: float
    top: float
    angle: float = 0.0
    boxy: bool = False

    @property
    def box(self) -> Box:
        """Bounds in mm."""
        (x, y), (a, b) = self.centre, self.radii
        if self.angle:
            a = b = math.hypot(a, b)
        return (x - a, x + a, y - b, y + b, self.bottom, self.top)

    def level(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Squared relative radius of the section (fourth power when boxy), or of the height."""
        u, v = _turned(x - self.centre[0], y - self.centre[1], self.angle)
        u, v = np.square(u / self.radii[0]), np.square(v / self.radii[1])
        section = np.square(u) + np.square(v) if self.boxy else u + v
        middle, half = (self.top + self.bottom) / 2, (self.top - self.bottom) / 2
        return _f32(np.maximum(section, np.abs(z - middle) / half))


@dataclass(frozen=True)
class Capsule:
    """A round-ended rod from `start` to `end`; its radius goes from `radii[0]` to `radii[1]`."""

    start: Point
    end: Point
    radii: tuple[float, float]

    @property
    def box(self) -> Box:
        """Bounds in mm."""
        r = max(self.radii)
        low = [min(a, b) - r for a, b in zip(self.start, self.end, strict=True)]
        high = [max(a, b) + r for a, b in zip(self.start, self.end, strict=True)]
        return (low[0], high[0], low[1], high[1], low[2], high[2])

    def level(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Squared distance from the axis over the squared radius there."""
        ax, ay, az = (e - s for s, e in zip(self.start, self.end, strict=True))
        dx, dy, dz = x - self.start[0], y - self.start[1], z - self.start[2]
        along = (dx * ax + dy * ay + dz * az) / (ax * ax + ay * ay + az * az)
        t = np.clip(along, 0, 1)
        radius = self.radii[0] + t * (self.radii[1] - self.radii[0])
        away = np.square(dx - t * ax) + np.square(dy - t * ay) + np.square(dz - t * az)
        return _f32(away / np.square(radius))


@dataclass(frozen=True)
class Trunk:
    """The torso's outline, `inset` mm under the skin: a superellipse that narrows to the neck."""

    half_width: float
    half_depth: float
    inset: float = 0.0
    shoulder: float = 315.0

    @property
    def box(self) -> Box:
        """Bounds in mm."""
        a, b = self.half_width, self.half_depth
        return (-a, a, -b, b, -FAR, FAR)

    def level(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Sum of the 2.5th powers of the relative semi-axes."""
        t = np.clip((z - self.shoulder) / 80, 0, 1)
        narrowing = t * t * (3 - 2 * t)
        u = np.abs(x) / (self.half_width * (1 - 0.68 * narrowing) - self.inset)
        v = np.abs(y) / (self.half_depth * (1 - 0.24 * narrowing) - self.inset)
        return _f32(u * u * np.sqrt(u) + v * v * np.sqrt(v))


@dataclass(frozen=True)
class Rib:
    """One rib: a band on the thoracic cage that sinks from the spine to its front end.

    Attributes:
        side: -1 for the patient's right, +1 for the left.
        cage: Semi-axes (x, y) in mm of the superellipse (that of `Trunk`) on which ribs lie.
        height: z of the spinal end in mm.
        drop: How far the front end lies below, in mm.
        start: Angle from the spine, in radians, where bone begins.
        end: Angle from the spine, in radians, where bone ends.
        thickness: Half the radial thickness in mm.
        width: Half the height of the band in mm.
    """

    side: int
    cage: tuple[float, float]
    height: float
    drop: float
    start: float
    end: float
    thickness: float
    width: float

    @property
    def box(self) -> Box:
        """Bounds in mm."""
        xs, ys, zs = [], [], []
        for step in range(5):
            angle = self.start + step / 4 * (self.end - self.start)
            u, v = math.sin(angle), math.cos(angle)
            rho = (abs(u) ** 2.5 + abs(v) ** 2.5) ** 0.4
            xs.append(self.side * self.cage[0] * u / rho)
            ys.append(self.cage[1] * v / rho)
            zs.append(self.height - self.drop / 2 * (1 - v))
        room, tall = self.thickness + 3.0, self.width + 2.0
        return (
            min(xs) - room,
            max(xs) + room,
            min(ys) - room,
            max(ys) + room,
            min(zs) - tall,
            max(zs) + tall,
        )

    def level(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Squared relative radius of the rib's section, cut at its front end and at the midline."""
        u, v = x / self.cage[0], y / self.cage[1]
        rho = np.maximum((np.abs(u) ** 2.5 + np.abs(v) ** 2.5) ** 0.4, 1e-3)
        away = (1 - 1 / rho) * np.hypot(x, y)
        angle = np.arctan2(np.abs(u), v)
        off = z - self.height + self.drop / 2 * (1 - np.cos(angle))
        section = np.square(away / self.thickness) + np.square(off / self.width)
        middle, half = (self.start + self.end) / 2, (self.end - self.start) / 2
        along = np.where(x * self.side >= 0, np.abs(angle - middle) / half, 9)
        return _f32(np.maximum(section, along))


@dataclass(frozen=True)
class Dome:
    """All that lies above (or, without `above`, below) a diaphragm, a downward paraboloid."""

    top: float
    centre: tuple[float, float]
    spread: tuple[float, float]
    above: bool

    @property
    def box(self) -> Box:
        """Bounds in mm: none."""
        return (-FAR, FAR, -FAR, FAR, -FAR, FAR)

    def level(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """1 on the dome, falling by 0.1 for each mm into the solid."""
        u = np.square((x - self.centre[0]) / self.spread[0])
        v = np.square((y - self.centre[1]) / self.spread[1])
        over = z - self.top + 60 * (u + v)
        return _f32(1 + (-over if self.above else over) / 10)


@dataclass(frozen=True)
class Common:
    """What lies in all `parts`."""

    parts: tuple[Shape, ...]

    @property
    def box(self) -> Box:
        """Bounds in mm."""
        x0, x1, y0, y1, z0, z1 = zip(*(part.box for part in self.parts), strict=True)
        return (max(x0), min(x1), max(y0), min(y1), max(z0), min(z1))

    def level(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """The largest of the parts' levels."""
        return reduce(np.maximum, (part.level(x, y, z) for part in self.parts))


@dataclass(frozen=True)
class Blend:
    """Ellipsoids melted into one smooth solid: the soft minimum of their levels."""

    parts: tuple[Ellipsoid, ...]
    sharpness: float = 5.0

    @property
    def box(self) -> Box:
        """Bounds in mm, with room for the fillets between the parts."""
        x0, x1, y0, y1, z0, z1 = zip(*(part.box for part in self.parts), strict=True)
        return (min(x0) - 6, max(x1) + 6, min(y0) - 6, max(y1) + 6, min(z0) - 6, max(z1) + 6)

    def level(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Soft minimum of the parts' squared relative radii."""
        k = self.sharpness
        total = sum(np.exp(-k * np.minimum(part.level(x, y, z), 12)) for part in self.parts)
        return _f32(-np.log(total) / k)


Wave = tuple[float, float, float, float]


@dataclass(frozen=True)
class Warp:
    """A smooth displacement in the axial plane, so that no outline is a perfect ellipse.

    Attributes:
        along_x: Sines that move x: (amplitude in mm, rad/mm over y, rad/mm over z, phase).
        along_y: Sines that move y: (amplitude in mm, rad/mm over x, rad/mm over z, phase).
    """

    along_x: tuple[Wave, ...] = ()
    along_y: tuple[Wave, ...] = ()

    @property
    def reach(self) -> float:
        """Largest displacement in mm."""
        return max(sum(abs(wave[0]) for wave in waves) for waves in (self.along_x, self.along_y))

    def __call__(self, x: Floats, y: Floats, z: Floats) -> tuple[Floats, Floats]:
        """Displaced x and y, broadcast against each other and z."""
        dx = sum(size * np.sin(a * y + b * z + phase) for size, a, b, phase in self.along_x)
        dy = sum(size * np.sin(a * x + b * z + phase) for size, a, b, phase in self.along_y)
        return _f32(x + dx), _f32(y + dy)
