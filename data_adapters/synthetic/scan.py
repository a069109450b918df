"""The scanner of phantoms: partial volume, point spread and noise of a CT-like slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

from data_adapters.errors import DataError
from data_adapters.synthetic.body import ORGANS, Anatomy
from data_adapters.synthetic.lesions import Placed
from data_adapters.synthetic.paint import Bytes, Part, paint, region
from data_adapters.synthetic.shapes import Ellipsoid, Floats, Tube


@dataclass(frozen=True)
class Scan:
    """How an anatomy is imaged.

    Attributes:
        thickness_mm: Slice thickness, over which the anatomy is averaged; None takes the distance
            between slices (5 mm for a single slice).
        noise_hu: Standard deviation of the noise.
        blur_mm: Standard deviation of the in-plane point spread.
        supersampling: Samples per voxel along each axis.
        couch: Whether the patient lies on a table top.
        circle: Whether pixels outside the reconstructed circle are padding (-1024 HU).
        organs: Whether to paint the organ mask too.
    """

    thickness_mm: float | None = None
    noise_hu: float = 12.0
    blur_mm: float = 0.55
    supersampling: int = 2
    couch: bool = True
    circle: bool = False
    organs: bool = True

    def check(self) -> None:
        """Check the numbers.

        Raises:
            DataError: One is out of range.
        """
        if not 1 <= self.supersampling <= 16:
            raise DataError(f"supersampling is {self.supersampling}; wanted 1 to 16")
        if self.thickness_mm is not None and not self.thickness_mm > 0:
            raise DataError(f"slice thickness is {self.thickness_mm} mm; wanted more than 0")
        if self.noise_hu < 0 or self.blur_mm < 0:
            raise DataError(f"noise ({self.noise_hu}) and blur ({self.blur_mm}) cannot be negative")


@dataclass(frozen=True, eq=False)
class Scanned:
    """What a scan gives.

    Attributes:
        hu: (D, H, W) float32, -1024 to 3071 HU.
        mask: (D, H, W) uint8, lesion classes.
        organs: (D, H, W) uint8, positions in `ORGANS`; None when not asked for.
        origin: (x, y, z) of the first voxel in mm, LPS.
        padding: (H, W) boolean outside the reconstructed circle, or None.
    """

    hu: Floats
    mask: Bytes
    organs: Bytes | None
    origin: tuple[float, float, float]
    padding: np.ndarray | None


def ct_noise(
    seed: int | np.random.Generator, shape: tuple[int, int], *, sd: float, cutoff: float = 0.28
) -> Floats:
    """Noise with the spectrum of filtered back-projection.

    The power rises with the frequency f (the ramp) and falls as exp(-(f / cutoff)²) (the
    reconstruction kernel): no power at f = 0, most at `cutoff` / √2. Riederer, Pelc, Chesler,
    Phys Med Biol 23:446 (1978).

    Args:
        seed: Seed, or a generator to draw from.
        shape: (H, W).
        sd: Standard deviation.
        cutoff: In cycles per pixel.

    Returns:
        (H, W) float32, zero mean, standard deviation `sd`.
    """
    white = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    down, across = fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1])[None]
    f = np.hypot(down, across).astype(np.float32)
    gain = np.sqrt(f) * np.exp(-0.5 * np.square(f / cutoff))
    noise = fft.irfft2(fft.rfft2(white) * gain, s=shape)
    return np.asarray(noise * (sd / max(float(noise.std()), 1e-12)), dtype=np.float32)


def coverage(
    shape: Ellipsoid, x: Floats, y: Floats, z: Floats, *, steps: tuple[float, float], samples: int
) -> Floats:
    """Share of each pixel of a plane that a solid fills.

    Args:
        shape: The solid.
        x: (1, W) coordinates in mm of the pixels' centres.
        y: (H, 1) likewise.
        z: Heights in mm of the samples through the slice.
        steps: Pixel size (row, column) in mm.
        samples: In-plane samples per pixel along each axis.

    Returns:
        (H, W) float32, 0 to 1.
    """
    share = np.zeros((y.shape[0], x.shape[1]), np.float32)
    where = region(shape.box, x, y, np.zeros((1, 1), np.float32), slack=max(steps))
    fine_y = _finer(y[where[0], 0], steps[0], samples)[:, None]
    fine_x = _finer(x[0, where[1]], steps[1], samples)[None]
    total = np.zeros((fine_y.size, fine_x.size), np.float32)
    for height in z:
        total += shape.level(fine_x, fine_y, np.full((1, 1), height, np.float32)) <= 1
    if total.size == 0:
        return share
    share[where] = _pooled(total, samples) / len(z)
    return share


def _finer(centres: Floats, step: float, samples: int) -> Floats:
    """Sample positions, `samples` to a pixel, evenly spread about each centre."""
    offsets = (np.arange(samples) + 0.5) / samples - 0.5
    return np.asarray(centres[:, None] + offsets * step, dtype=np.float32).ravel()


def _pooled(fine: Floats, samples: int) -> Floats:
    """Mean over each pixel's samples."""
    if samples == 1:
        return fine
    height, width = fine.shape[0] // samples, fine.shape[1] // samples
    blocks = fine.reshape(height, samples, width, samples)
    return np.asarray(blocks.mean(axis=(1, 3)), dtype=np.float32)


def couch(anatomy: Anatomy) -> tuple[Part, ...]:
    """A carbon-shelled foam table top, hollow towards the patient, under a torso."""
    back, organ = anatomy.body.half_depth, ORGANS.index("couch")
    layers = ((232.0, 84.0, -40.0), (229.0, 81.5, -880.0), (227.0, 69.0, -40.0))
    parts = [
        Part(Tube((0.0, back - 64), (wide, deep), -900, 900), organ, hu)
        for wide, deep, hu in layers
    ]
    air = Tube((0.0, back - 64), (226.0, 67.0), -900, 900)
    above = Tube((0.0, back - 264), (400.0, 200.0), -900, 900, boxy=True)
    return (*parts, Part(air, 0, -1000.0), Part(above, 0, -1000.0))


def scan_grid(
    rng: np.random.Generator,
    anatomy: Anatomy,
    lesions: Sequence[Placed],
    *,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    centre: tuple[float, float, float],
    scan: Scan,
) -> Scanned:
    """Image an anatomy on a grid.

    Args:
        rng: Source of the noise.
        anatomy: The torso.
        lesions: Lesions, painted last.
        shape: (slices, rows, columns).
        spacing: Distances in mm in the same order.
        centre: Middle of the grid (x, y, z) in mm, LPS.
        scan: How to image it.

    Returns:
        Image and truth on the same grid.
    """
    axes = (
        (np.arange(count) - (count - 1) / 2) * step + middle
        for count, step, middle in zip(shape, spacing, centre[::-1], strict=True)
    )
    zs, ys, xs = (np.asarray(axis, dtype=np.float32) for axis in axes)
    hu = np.empty(shape, np.float32)
    mask: Bytes = np.zeros(shape, np.uint8)
    organs: Bytes | None = np.zeros(shape, np.uint8) if scan.organs else None
    x, y, thickness = xs[None], ys[:, None], scan.thickness_mm or spacing[0]
    for index, z in enumerate(zs):
        hu[index] = _slice(rng, anatomy, lesions, (z, ys, xs), spacing, scan)
        level = np.full((1, 1), z, np.float32)
        if organs is not None:
            if scan.couch:
                paint(couch(anatomy), x, y, level, organs=organs[index])
            paint(anatomy.parts, x, y, level, warp=anatomy.warp, organs=organs[index])
        deep = _finer(zs[index : index + 1], thickness, 5)
        for lesion in lesions:
            share = coverage(lesion.shape, x, y, deep, steps=spacing[1:], samples=5)
            mask[index][share >= 0.5] = lesion.label
    half = (np.array(shape[1:]) + 1) / 2 * spacing[1:]
    padding = np.hypot((y - centre[1]) / half[0], (x - centre[0]) / half[1]) > 1
    if scan.circle:
        hu[:, padding] = -1024
    origin = (float(xs[0]), float(ys[0]), float(zs[0]))
    return Scanned(hu, mask, organs, origin, padding if scan.circle else None)


def _slice(
    rng: np.random.Generator,
    anatomy: Anatomy,
    lesions: Sequence[Placed],
    axes: tuple[np.float32, Floats, Floats],
    spacing: tuple[float, float, float],
    scan: Scan,
) -> Floats:
    """One slice (H, W) in HU: the mean over sub-planes and sub-pixels, blurred, with noise."""
    z, ys, xs = axes
    samples = scan.supersampling
    x, y = _finer(xs, spacing[2], samples)[None], _finer(ys, spacing[1], samples)[:, None]
    heights = _finer(np.array([z]), scan.thickness_mm or spacing[0], samples)
    total = np.zeros((y.size, x.size), np.float32)
    for height in heights:
        plane, level = np.full_like(total, -1000.0), np.full((1, 1), height, np.float32)
        if scan.couch:
            paint(couch(anatomy), x, y, level, hu=plane)
        paint(anatomy.parts, x, y, level, warp=anatomy.warp, hu=plane)
        paint([lesion.part for lesion in lesions], x, y, level, hu=plane)
        total += plane
    hu = _pooled(total, samples) / len(heights)
    blur = [scan.blur_mm / step for step in spacing[1:]]
    if max(blur) >= 0.25:
        hu = ndimage.gaussian_filter(hu, blur)
    hu = hu + ct_noise(rng, hu.shape, sd=scan.noise_hu)
    return np.clip(hu, -1024, 3071)
