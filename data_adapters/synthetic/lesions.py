"""Lesions of phantoms: classes, placement inside an organ, and their truth in closed form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from data_adapters.case import Lesion
from data_adapters.errors import DataError, nearest
from data_adapters.synthetic.body import ORGANS, Anatomy
from data_adapters.synthetic.paint import Bytes, Part, near, paint
from data_adapters.synthetic.shapes import Ellipsoid, Floats


@dataclass(frozen=True)
class LesionKind:
    """One class of lesion.

    Attributes:
        host: Organ that holds it.
        radius: Range of radii in mm.
        hu: Range of HU, absolute or (when `relative`) above the host's.
        relative: Whether `hu` and `core` count from the host's HU.
        soft: Relative half-width of the border.
        core: Range of HU in the middle, where it differs from the border.
        phases: Factor on a relative contrast by contrast phase (1 where not named).
    """

    host: str
    radius: tuple[float, float]
    hu: tuple[float, float]
    relative: bool = False
    soft: float = 0.0
    core: tuple[float, float] | None = None
    phases: tuple[tuple[str, float], ...] = ()


KINDS: Mapping[str, LesionKind] = {
    "cyst": LesionKind("liver", (6, 22), (0, 15)),
    "metastasis": LesionKind(
        "liver", (7, 22), (-58, -32), relative=True, soft=0.3, phases=(("native", 0.4),)
    ),
    "hypervascular": LesionKind(
        "liver",
        (7, 22),
        (45, 85),
        relative=True,
        soft=0.12,
        core=(5, 30),
        phases=(("native", -0.15), ("portal", 0.4)),
    ),
    "calcification": LesionKind("liver", (2, 5), (300, 900)),
    "nodule": LesionKind("lung", (4, 12), (10, 70), soft=0.08),
    "opacity": LesionKind("lung", (20, 40), (-350, -80), soft=0.45),
}
"""Lesion classes: cyst (water, sharp), metastasis (low, blurry), hypervascular (bright rim),
calcification (small, dense), lung nodule (solid) and lung opacity (ground glass)."""

LESION_CLASSES = ("none", *KINDS)
"""Class names; their positions are the values of lesion masks."""


@dataclass(frozen=True)
class Placed:
    """A lesion somewhere in an anatomy: an ellipsoid, not warped, so that its size is exact."""

    kind: str
    part: Part
    shape: Ellipsoid

    @property
    def label(self) -> int:
        """Index into `LESION_CLASSES`."""
        return LESION_CLASSES.index(self.kind)

    @property
    def radius_mm(self) -> float:
        """Radius in mm of the sphere of equal volume."""
        return math.prod(self.shape.radii) ** (1 / 3)

    @property
    def volume_mm3(self) -> float:
        """Volume in mm³: 4/3 π abc."""
        return 4 / 3 * math.pi * math.prod(self.shape.radii)

    def section_area(self, z: float) -> float:
        """Area in mm² of the axial section at height `z`: π ab (1 - (dz/c)²), or 0."""
        a, b, c = self.shape.radii
        return math.pi * a * b * max(0.0, 1 - ((z - self.shape.centre[2]) / c) ** 2)


@dataclass(frozen=True)
class Finding:
    """One lesion as it shows in an image.

    Attributes:
        kind: Its class name.
        label: Index into `LESION_CLASSES`.
        centre: Centre in voxel indices, in the order of the image axes.
        radius: In-plane radius in voxels (of the circle of equal area).
        centre_mm: Centre (x, y, z) in mm, LPS.
        radius_mm: Radius in mm of the sphere of equal volume.
        hu: Mean value in HU at its border (or throughout).
    """

    kind: str
    label: int
    centre: tuple[float, ...]
    radius: float
    centre_mm: tuple[float, float, float]
    radius_mm: float
    hu: float

    def lesion(self) -> Lesion:
        """The same finding in the form that cases carry."""
        return Lesion(self.label, centre=self.centre, radius=self.radius)


def check_kind(kind: str) -> LesionKind:
    """Look up a lesion class.

    Raises:
        DataError: The class is not known; the message names the nearest.
    """
    if kind not in KINDS:
        raise DataError(f"unknown lesion class {kind!r}{nearest(kind, LESION_CLASSES)}")
    return KINDS[kind]


def place_lesion(
    seed: int | np.random.Generator,
    anatomy: Anatomy,
    kind: str,
    *,
    radius_mm: float | None = None,
    z_range: tuple[float, float] = (-math.inf, math.inf),
) -> Placed:
    """Draw a lesion that lies wholly inside its host organ.

    Args:
        seed: Seed, or a generator to draw from.
        anatomy: Where to put it.
        kind: A key of `KINDS`.
        radius_mm: Radius of the sphere of equal volume; None draws it from the class's range. It
            shrinks by steps where the organ has no room.
        z_range: Heights (mm) allowed for the centre.

    Returns:
        The lesion; its axes differ by up to some 15 % from the radius.

    Raises:
        DataError: The class is not known, or the organ has no room at those heights.
    """
    spec, rng = check_kind(kind), np.random.default_rng(seed)
    radius = float(rng.uniform(*spec.radius)) if radius_mm is None else radius_mm
    part = _material(rng, anatomy, spec)
    stretch, turn = rng.uniform(0.87, 1.15, 2), float(rng.uniform(0, math.pi))
    axes = (float(stretch[0]), float(stretch[1]), float(1 / stretch.prod()))
    hosts = [p for p in anatomy.parts if p.organ == ORGANS.index(spec.host)]
    host = hosts[int(rng.integers(len(hosts)))]
    for _ in range(24):
        radii = (radius * axes[0], radius * axes[1], radius * axes[2])
        centre = _find_room(rng, anatomy, host, radii, z_range)
        if centre is not None:
            shape = Ellipsoid(centre, radii, turn)
            return Placed(kind, replace(part, shape=shape, organ=host.organ), shape)
        radius *= 0.9
    raise DataError(f"no room for a {kind!r} in the {spec.host} at heights {z_range}")


def _material(rng: np.random.Generator, anatomy: Anatomy, spec: LesionKind) -> Part:
    """A part with the lesion's HU; its shape is still to be set."""
    factor = dict(spec.phases).get(anatomy.phase, 1.0) if spec.relative else 1.0
    base = anatomy.hu[spec.host] if spec.relative else 0.0
    hu = base + factor * float(rng.uniform(*spec.hu))
    core = None if spec.core is None else base + factor * float(rng.uniform(*spec.core))
    return Part(Ellipsoid((0, 0, 0), (1, 1, 1)), 0, hu, spec.soft, core)


def _find_room(
    rng: np.random.Generator,
    anatomy: Anatomy,
    host: Part,
    radii: tuple[float, float, float],
    z_range: tuple[float, float],
    count: int = 24,
) -> tuple[float, float, float] | None:
    """A centre in the host whose neighbourhood, one reach around, is host (vessels allowed)."""
    low, high = np.array(host.box[::2]), np.array(host.box[1::2])
    low[2], high[2] = max(low[2], z_range[0]), min(high[2], z_range[1])
    if (low > high).any():
        return None
    centres = rng.uniform(low, high, (count, 3))
    reach = 1.04 * np.array([max(radii[:2])] * 2 + [radii[2]])
    signs = np.array([(a, b, c) for a in (-1, 0, 1) for b in (-1, 0, 1) for c in (-1, 0, 1)])
    shell = signs / np.maximum(np.linalg.norm(signs, axis=1, keepdims=True), 1) * reach
    points = (centres[:, None] + shell).reshape(-1, 3).astype(np.float32)
    organs = organs_at(anatomy, points, (low - reach, high + reach)).reshape(count, -1)
    fits = np.isin(organs, (host.organ, ORGANS.index("vessel"))).all(1)
    fits &= organs[:, len(signs) // 2] == host.organ
    if not fits.any():
        return None
    x, y, z = centres[int(np.argmax(fits))]
    return (float(x), float(y), float(z))


def organs_at(
    anatomy: Anatomy, points: Floats, bounds: tuple[np.ndarray, np.ndarray] | None = None
) -> np.ndarray:
    """Organ index at points in the patient.

    Args:
        anatomy: The torso.
        points: (N, 3) x, y, z in mm, LPS.
        bounds: Lowest and highest corner that hold all points, if known.

    Returns:
        (N,) uint8, positions in `ORGANS`.
    """
    low, high = bounds if bounds is not None else (points.min(0), points.max(0))
    close = near(anatomy.parts, low.tolist(), high.tolist(), slack=anatomy.warp.reach)
    found: Bytes = np.zeros((1, len(points)), np.uint8)
    x, y, z = (np.ascontiguousarray(points[None, :, k], np.float32) for k in range(3))
    paint(close, x, y, z, warp=anatomy.warp, organs=found, scattered=True)
    return found.reshape(-1)
