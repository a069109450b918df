"""Radiograph-like projections of phantoms: ray sums from a point source onto a flat detector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from data_adapters.errors import DataError
from data_adapters.synthetic.body import Anatomy
from data_adapters.synthetic.lesions import Finding, Placed
from data_adapters.synthetic.paint import Bytes, paint
from data_adapters.synthetic.shapes import Ellipsoid, Floats

WATER_PER_MM = 0.0195
"""Linear attenuation of water in 1/mm at an effective energy of about 65 keV (NIST XCOM)."""


@dataclass(frozen=True)
class Detector:
    """How a projection is made.

    Attributes:
        side_mm: Side of the square detector.
        centre_z: Height of its middle in mm.
        source_mm: Distance from source to detector.
        gap_mm: Distance from the front of the body to the detector.
        step_mm: Distance between the samples of a ray, front to back.
        counts: Mean quanta per mm² without an object: sets the noise.
        scatter: Scattered over primary signal behind the grid.
        blur_mm: Standard deviation of the detector's point spread.
        full_scale: Attenuation (natural logarithm) at the value 4095.
    """

    side_mm: float = 400.0
    centre_z: float = 200.0
    source_mm: float = 1800.0
    gap_mm: float = 30.0
    step_mm: float = 3.0
    counts: float = 12000.0
    scatter: float = 0.25
    blur_mm: float = 0.35
    full_scale: float = 6.0


@dataclass(frozen=True, eq=False)
class Shot:
    """A projection with its truth.

    Attributes:
        values: (H, W) float32, whole numbers 0 to 4095.
        mask: (H, W) uint8, lesion classes.
        findings: The lesions that show.
        pitch: Detector pixel in mm.
        window: A usual display window (centre, width).
    """

    values: Floats
    mask: Bytes
    findings: tuple[Finding, ...]
    pitch: float
    window: tuple[float, float]


@dataclass(frozen=True)
class _View:
    """Source and detector plane: a detector point (u, v) is the ray S + t (P - S), 0 <= t <= 1."""

    source: tuple[float, float, float]
    plane_y: float

    def ray(self, u: Floats, v: Floats) -> tuple[Floats, float, Floats]:
        """Direction (x, y, z) of the rays, of length 1 at the detector."""
        return u - self.source[0], self.plane_y - self.source[1], v - self.source[2]


def project(
    rng: np.random.Generator,
    anatomy: Anatomy,
    lesions: Sequence[Placed],
    *,
    size: int,
    detector: Detector,
) -> Shot:
    """Project an anatomy from back to front.

    Args:
        rng: Source of the noise.
        anatomy: The torso.
        lesions: Lesions, painted last.
        size: Detector rows and columns.
        detector: How to do it.

    Returns:
        The projection; row 0 at the head, column 0 at the patient's right.

    Raises:
        DataError: A number of the detector is out of range.
    """
    if min(detector.side_mm, detector.step_mm, detector.counts, detector.full_scale) <= 0:
        raise DataError(f"a length, count or scale of {detector} is not positive")
    pitch = detector.side_mm / size
    across = np.asarray((np.arange(size) - (size - 1) / 2) * pitch, dtype=np.float32)
    plane_y = -anatomy.body.half_depth - detector.gap_mm
    view = _View((0.0, plane_y + detector.source_mm, detector.centre_z), plane_y)
    u, v = across[None], np.float32(detector.centre_z) - across[:, None]
    line = _attenuation(anatomy, lesions, view, u, v, detector.step_mm)
    values = _expose(rng, line, pitch, detector)
    mask = np.zeros((size, size), np.uint8)
    found = []
    for lesion in lesions:
        share = shadow(lesion.shape, view.source, plane_y, u, v, pitch=pitch)
        mask[share >= 0.5] = lesion.label
        if share.any():
            found.append(_finding(lesion, view, share, pitch, across[0], detector.centre_z))
    low, high = (float(q) for q in np.percentile(values, (4, 97)))
    window = (round((low + high) / 2), max(round(high - low), 1))
    return Shot(values, mask, tuple(found), pitch, window)


def _attenuation(
    anatomy: Anatomy,
    lesions: Sequence[Placed],
    view: _View,
    u: Floats,
    v: Floats,
    step: float,
) -> Floats:
    """Line integrals of the attenuation along every ray (natural logarithm)."""
    depth = anatomy.body.half_depth + anatomy.warp.reach
    count = math.ceil(2 * depth / step)
    total = np.zeros((v.size, u.size), np.float32)
    plane = np.empty_like(total)
    source_y = view.source[1]
    for y in (np.arange(count) - (count - 1) / 2) * step:
        t = float((source_y - y) / (source_y - view.plane_y))
        x = t * u
        z = np.asarray(view.source[2] + t * (v - view.source[2]), dtype=np.float32)
        level = np.full((1, 1), y, np.float32)
        plane.fill(-1000.0)
        paint(anatomy.parts, x, level, z, warp=anatomy.warp, hu=plane)
        paint([lesion.part for lesion in lesions], x, level, z, hu=plane)
        total += np.maximum(plane + 1000, 0)
    dx, dy, dz = view.ray(u, v)
    slant = np.sqrt(dx * dx + dy * dy + dz * dz) / abs(dy)
    return np.asarray(total * slant * (WATER_PER_MM / 1000 * step), dtype=np.float32)


def _expose(rng: np.random.Generator, line: Floats, pitch: float, detector: Detector) -> Floats:
    """Detector values (H, W) from line integrals: blur, scatter, quantum noise, logarithm."""
    primary = np.exp(-line.astype(np.float64))
    primary = ndimage.gaussian_filter(primary, detector.blur_mm / pitch)
    haze = ndimage.gaussian_filter(primary, 30.0 / pitch, mode="nearest", truncate=2.5)
    quanta = detector.counts * pitch**2
    signal = rng.poisson(quanta * (primary + detector.scatter * haze))
    logs = -np.log(np.maximum(signal, 0.5) / (quanta * (1 + detector.scatter)))
    values = np.rint(np.clip(logs / detector.full_scale, 0, 1) * 4095)
    return np.asarray(values, dtype=np.float32)


def shadow(
    shape: Ellipsoid,
    source: tuple[float, float, float],
    plane_y: float,
    u: Floats,
    v: Floats,
    *,
    pitch: float,
    samples: int = 4,
) -> Floats:
    """Share of each detector pixel whose rays meet an ellipsoid, in closed form.

    A ray S + t d meets it where (d·Aw)² >= (d·Ad)(w·Aw - 1), with w from the centre to S and A
    the ellipsoid's matrix.

    Args:
        shape: The ellipsoid (without lean).
        source: Source (x, y, z) in mm.
        plane_y: y of the detector in mm.
        u: (1, W) x of the pixels' centres on the detector, in mm.
        v: (H, 1) z likewise.
        pitch: Pixel size in mm.
        samples: Rays per pixel along each axis.

    Returns:
        (H, W) float32, 0 to 1.
    """
    offsets = ((np.arange(samples) + 0.5) / samples - 0.5) * pitch
    cos, sin = math.cos(shape.angle), math.sin(shape.angle)
    turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    scale = turn / np.array(shape.radii)[:, None]
    w = scale @ (np.array(source) - np.array(shape.centre))
    share = np.zeros(np.broadcast_shapes(u.shape, v.shape), np.float32)
    for du in offsets:
        for dv in offsets:
            ray = (u + du - source[0], plane_y - source[1], v + dv - source[2])
            d = [sum(row[k] * ray[k] for k in range(3)) for row in scale]
            dot = sum(d[k] * w[k] for k in range(3))
            share += dot**2 >= sum(part * part for part in d) * (w @ w - 1)
    return share / np.float32(samples**2)


def _finding(
    lesion: Placed, view: _View, share: Floats, pitch: float, first: float, centre_z: float
) -> Finding:
    """A lesion in the pixel units (row, column) of the detector."""
    x, y, z = lesion.shape.centre
    zoom = (view.source[1] - view.plane_y) / (view.source[1] - y)
    row = (centre_z - (view.source[2] + zoom * (z - view.source[2])) - first) / pitch
    column = (zoom * x - first) / pitch
    return Finding(
        kind=lesion.kind,
        label=lesion.label,
        centre=(float(row), float(column)),
        radius=math.sqrt(float(share.sum()) / math.pi),
        centre_mm=lesion.shape.centre,
        radius_mm=lesion.radius_mm,
        hu=lesion.part.hu,
    )
