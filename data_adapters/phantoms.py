"""Radiology phantoms made by computation, with exact truth; nothing here comes from a person.

An anatomy (analytic shapes with mean HU) is sampled on the voxel grid with supersampling, so that
borders show partial volume, blurred by a small point spread, and given noise with the ramp-like
spectrum of filtered back-projection. Masks come from the same shapes. Radiographs are ray sums
through the same anatomies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from data_adapters.case import Case, Display, Geometry
from data_adapters.errors import DataError, nearest
from data_adapters.synthetic.anatomy import make_anatomy
from data_adapters.synthetic.body import ORGANS, PHASES, Anatomy
from data_adapters.synthetic.lesions import (
    KINDS,
    LESION_CLASSES,
    Finding,
    Placed,
    place_lesion,
)
from data_adapters.synthetic.paint import Bytes
from data_adapters.synthetic.projection import Detector, project
from data_adapters.synthetic.scan import Scan, ct_noise, scan_grid
from data_adapters.synthetic.shapes import Floats

__all__ = [
    "KINDS",
    "LESION_CLASSES",
    "ORGANS",
    "PHASES",
    "REGIONS",
    "Anatomy",
    "Detector",
    "Finding",
    "Phantom",
    "Placed",
    "Scan",
    "ct_noise",
    "ct_slice",
    "ct_volume",
    "fitting_fov",
    "make_anatomy",
    "place_lesion",
    "radiograph",
]

REGIONS = {"abdomen": (5.0, 85.0), "chest": (160.0, 270.0)}
"""Heights in mm between which slices of a region lie."""
WINDOWS = {"abdomen": (40.0, 400.0), "chest": (-500.0, 1500.0)}
"""A usual display window (centre, width) in HU of each region."""


@dataclass(frozen=True, eq=False)
class Phantom:
    """A computed image with its truth.

    Attributes:
        image: (H, W, 1) or (D, H, W, 1) float32; HU for CT, 0 to 4095 for radiographs.
        mask: (H, W) or (D, H, W) uint8, positions in `LESION_CLASSES`: voxels of which a lesion
            (in a radiograph, its shadow) fills at least half.
        findings: The lesions that the image cuts or shows.
        geometry: Spacing, origin and directions.
        modality: `CT` or `DX`.
        window: A usual display window (centre, width).
        thickness_mm: Slice thickness; 0 for radiographs.
        organs: Same grid, uint8, positions in `ORGANS`, at voxel centres; None in radiographs
            and where the scan leaves it out.
        padding: (H, W) boolean, outside the reconstructed circle; None where there is none.
        phase: Contrast phase.
        region: `abdomen` or `chest`.
    """

    image: Floats
    mask: Bytes
    findings: tuple[Finding, ...]
    geometry: Geometry
    modality: str
    window: tuple[float, float]
    thickness_mm: float = 0.0
    organs: Bytes | None = None
    padding: np.ndarray | None = None
    phase: str = "native"
    region: str = "abdomen"

    @property
    def label(self) -> int:
        """Position in `LESION_CLASSES` of the class with the most lesion voxels; 0 without any."""
        counts = np.bincount(self.mask.ravel(), minlength=len(LESION_CLASSES))[1:]
        return int(counts.argmax()) + 1 if counts.any() else 0

    def case(self, case_id: str, *, patient_id: str | None = None) -> Case:
        """The phantom as a case with its truth."""
        padding = self.padding
        if padding is not None:
            padding = np.broadcast_to(padding, self.mask.shape)
        return Case(
            image=self.image,
            case_id=case_id,
            patient_id=patient_id,
            label=self.label,
            mask=self.mask,
            lesions=tuple(finding.lesion() for finding in self.findings),
            padding=padding,
            geometry=self.geometry,
            display=Display(windows=(self.window,)),
            meta={"modality": self.modality, "phase": self.phase, "synthetic": True},
        )


def ct_slice(
    seed: int | np.random.Generator,
    *,
    size: int = 512,
    kind: str = "none",
    region: str | None = None,
    phase: str = "portal",
    z_mm: float | None = None,
    fov_mm: float | None = None,
    centre_xy: tuple[float, float] = (0.0, 0.0),
    scan: Scan | None = None,
    anatomy: Anatomy | None = None,
    lesions: Sequence[Placed] | None = None,
) -> Phantom:
    """Compute one axial CT-like slice.

    Args:
        seed: Seed, or a generator to draw from.
        size: Rows and columns.
        kind: `none`, or the class of the one lesion through whose middle part the slice passes.
        region: A key of `REGIONS`; None takes the one where such lesions occur.
        phase: Contrast phase, a key of `PHASES`.
        z_mm: Height of the slice; None draws it from the region, or from the lesion.
        fov_mm: Side of the square field of view; None fits the body.
        centre_xy: Middle of the field of view in mm, LPS; (0, 0) is the body's axis.
        scan: How to image it; None takes the default `Scan`.
        anatomy: A given torso (then `phase` is its own); None draws one.
        lesions: Given lesions of that torso; None draws one of `kind`.

    Returns:
        The slice: image (size, size, 1) float32, -1024 to 3071 HU.

    Raises:
        DataError: A name is not known, a number is out of range, or a lesion finds no room.
    """
    rng, scan = np.random.default_rng(seed), scan or Scan()
    heights = _heights(region, (kind,))
    _check_shape((1, size, size), scan)
    torso = anatomy or make_anatomy(rng, phase=phase)
    if lesions is None:
        lesions = _draw_lesions(rng, torso, (kind,), heights)
    if z_mm is None:
        z_mm = float(rng.uniform(*heights))
        if lesions:
            z, reach = lesions[0].shape.centre[2], lesions[0].shape.radii[2]
            z_mm = z + float(rng.uniform(-0.4, 0.4)) * reach
    pitch = (fov_mm or fitting_fov(torso)) / size
    spacing = (scan.thickness_mm or 5.0, pitch, pitch)
    shape, centre = (1, size, size), (*centre_xy, z_mm)
    scanned = scan_grid(rng, torso, lesions, shape=shape, spacing=spacing, centre=centre, scan=scan)
    found = (_cut_finding(lesion, z_mm, pitch, scanned.origin) for lesion in lesions)
    return Phantom(
        image=scanned.hu[0, ..., None],
        mask=scanned.mask[0],
        findings=tuple(finding for finding in found if finding is not None),
        geometry=Geometry(spacing[1:], scanned.origin, ((0.0, 1.0, 0.0), (1.0, 0.0, 0.0))),
        modality="CT",
        window=WINDOWS[_region_at(z_mm)],
        region=_region_at(z_mm),
        thickness_mm=spacing[0],
        organs=None if scanned.organs is None else scanned.organs[0],
        padding=scanned.padding,
        phase=torso.phase,
    )


def ct_volume(
    seed: int | np.random.Generator,
    *,
    shape: tuple[int, int, int] = (32, 128, 128),
    kinds: Sequence[str] = ("cyst",),
    region: str | None = None,
    phase: str = "portal",
    step_mm: float = 5.0,
    centre_z: float | None = None,
    fov_mm: float | None = None,
    centre_xy: tuple[float, float] = (0.0, 0.0),
    scan: Scan | None = None,
    anatomy: Anatomy | None = None,
    lesions: Sequence[Placed] | None = None,
) -> Phantom:
    """Compute an axial CT-like volume; slice 0 lies nearest the feet.

    Args:
        seed: Seed, or a generator to draw from.
        shape: (slices, rows, columns).
        kinds: Classes of the lesions to put in, one lesion for each entry.
        region: A key of `REGIONS`; None takes the one where such lesions occur.
        phase: Contrast phase, a key of `PHASES`.
        step_mm: Distance between slices.
        centre_z: Height of the middle of the volume; None takes the region's middle.
        fov_mm: Width of the field of view (all columns); None fits the body.
        centre_xy: Middle of the field of view in mm, LPS; (0, 0) is the body's axis.
        scan: How to image it; None takes the default `Scan`.
        anatomy: A given torso (then `phase` is its own); None draws one.
        lesions: Given lesions of that torso; None draws those of `kinds`.

    Returns:
        The volume: image (*shape, 1) float32, -1024 to 3071 HU.

    Raises:
        DataError: A name is not known, a number is out of range, or a lesion finds no room.
    """
    rng = np.random.default_rng(seed)
    scan = scan or Scan()
    low, high = _heights(region, kinds)
    _check_shape(shape, scan)
    if not step_mm > 0:
        raise DataError(f"slice distance is {step_mm} mm; wanted more than 0")
    torso = anatomy or make_anatomy(rng, phase=phase)
    middle = (low + high) / 2 if centre_z is None else centre_z
    if lesions is None:
        reach = (shape[0] - 1) * step_mm / 2
        lesions = _draw_lesions(rng, torso, kinds, (middle - reach, middle + reach))
    pitch = (fov_mm or fitting_fov(torso)) / shape[2]
    spacing = (step_mm, pitch, pitch)
    centre = (*centre_xy, middle)
    scanned = scan_grid(rng, torso, lesions, shape=shape, spacing=spacing, centre=centre, scan=scan)
    directions = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    return Phantom(
        image=scanned.hu[..., None],
        mask=scanned.mask,
        findings=tuple(_finding(lesion, spacing, scanned.origin) for lesion in lesions),
        geometry=Geometry(spacing, scanned.origin, directions),
        modality="CT",
        window=WINDOWS[_region_at(middle)],
        region=_region_at(middle),
        thickness_mm=scan.thickness_mm or step_mm,
        organs=scanned.organs,
        padding=scanned.padding,
        phase=torso.phase,
    )


def radiograph(
    seed: int | np.random.Generator,
    *,
    size: int = 256,
    kind: str = "none",
    detector: Detector | None = None,
    anatomy: Anatomy | None = None,
    lesions: Sequence[Placed] | None = None,
) -> Phantom:
    """Compute a chest-radiograph-like projection, back to front, seen as films are hung.

    Args:
        seed: Seed, or a generator to draw from.
        size: Rows and columns.
        kind: `none`, or the class of one lesion (`nodule` and `opacity` lie in the lungs).
        detector: How to image it; None takes the default `Detector`.
        anatomy: A given torso; None draws one.
        lesions: Given lesions of that torso; None draws one of `kind`.

    Returns:
        The projection: image (size, size, 1) float32 of whole numbers, 0 to 4095, proportional to
        the logarithm of the attenuation, so that bone is bright. Column 0 is the patient's right.

    Raises:
        DataError: A name is not known, a number is out of range, or a lesion finds no room.
    """
    rng, detector = np.random.default_rng(seed), detector or Detector()
    _check_shape((1, size, size), Scan())
    torso = anatomy or make_anatomy(rng, phase="native")
    if lesions is None:
        lesions = _draw_lesions(rng, torso, (kind,), (150.0, 280.0))
    shot = project(rng, torso, lesions, size=size, detector=detector)
    return Phantom(
        image=shot.values[..., None],
        mask=shot.mask,
        findings=shot.findings,
        geometry=Geometry((shot.pitch, shot.pitch)),
        modality="DX",
        window=shot.window,
        region="chest",
        phase=torso.phase,
    )


def fitting_fov(anatomy: Anatomy) -> float:
    """Side in mm of the square field of view that holds the torso, rounded up to 10 mm."""
    return float(np.ceil((2 * anatomy.body.half_width + 2 * anatomy.warp.reach + 12) / 10) * 10)


def _heights(region: str | None, kinds: Sequence[str]) -> tuple[float, float]:
    """The range of heights asked for, after a check of all names."""
    for kind in kinds:
        if kind not in LESION_CLASSES:
            raise DataError(f"unknown lesion class {kind!r}{nearest(kind, LESION_CLASSES)}")
    if region is None:
        in_lung = any(kind in KINDS and KINDS[kind].host == "lung" for kind in kinds)
        region = "chest" if in_lung else "abdomen"
    if region not in REGIONS:
        raise DataError(f"unknown region {region!r}{nearest(region, REGIONS)}")
    return REGIONS[region]


def _draw_lesions(
    rng: np.random.Generator, anatomy: Anatomy, kinds: Sequence[str], z: tuple[float, float]
) -> tuple[Placed, ...]:
    _heights(None, kinds)
    return tuple(place_lesion(rng, anatomy, kind, z_range=z) for kind in kinds if kind != "none")


def _check_shape(shape: tuple[int, int, int], scan: Scan) -> None:
    if min(shape) < 1 or min(shape[1:]) < 8 or max(shape) > 4096:
        raise DataError(f"size is {shape}; wanted at least 8 and at most 4096 pixels a side")
    scan.check()


def _region_at(z: float) -> str:
    return "chest" if z > REGIONS["abdomen"][1] + 40 else "abdomen"


def _finding(
    lesion: Placed, spacing: tuple[float, float, float], origin: tuple[float, float, float]
) -> Finding:
    """A lesion in the voxel units (slice, row, column) of a volume."""
    index = tuple(
        (middle - first) / step
        for middle, first, step in zip(
            lesion.shape.centre[::-1], origin[::-1], spacing, strict=True
        )
    )
    a, b, _ = lesion.shape.radii
    return Finding(
        kind=lesion.kind,
        label=lesion.label,
        centre=index,
        radius=(a * b) ** 0.5 / (spacing[1] * spacing[2]) ** 0.5,
        centre_mm=lesion.shape.centre,
        radius_mm=lesion.radius_mm,
        hu=lesion.part.hu,
    )


def _cut_finding(
    lesion: Placed, z: float, pitch: float, origin: tuple[float, float, float]
) -> Finding | None:
    """A lesion in the voxel units (row, column) of a slice; None where the slice misses it."""
    area = lesion.section_area(z)
    if area == 0.0:
        return None
    whole = _finding(lesion, (1.0, pitch, pitch), origin)
    return replace(whole, centre=whole.centre[1:], radius=(area / np.pi) ** 0.5 / pitch)
