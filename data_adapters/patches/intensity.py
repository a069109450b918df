"""Random changes of a patch's values, channel by channel, that leave its padding out.

Noise, blur, contrast, low resolution and gamma are those of nnU-Net (Isensee et al. 2021,
arXiv:1904.08128, supplement), written for float32 images of any unit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data_adapters.patches.policy import PatchPolicy
from data_adapters.patches.resample import mix_along

Array = NDArray[Any]
Floats = NDArray[np.float32]

LEAST_BLUR = 0.5
"""Voxels."""


def change_values(
    image: Floats,
    policy: PatchPolicy,
    rng: np.random.Generator,
    *,
    outside: NDArray[np.bool_] | None = None,
    thick: Sequence[bool] = (),
    unit: float = 1.0,
) -> Floats:
    """Draw and apply the changes of values.

    Args:
        image: `(*size, C)` float32; may be changed in place.
        policy: What may be done.
        rng: Source of the draws.
        outside: `size`, padding. It counts in no statistic, gets no noise, and does not run into
            the image by a blur; maps of single values (gamma, contrast) act on it too, as if the
            padding came after them. None is no padding.
        thick: Axes that are neither blurred nor coarsened; () is none.
        unit: One standard deviation of the data in the image's values.

    Returns:
        The image, all of it finite where it was.
    """
    chances = rng.random(7)
    inside = None if outside is None else ~outside
    if inside is not None and not inside.any():
        return image
    axes = image.ndim - 1
    fixed = tuple(thick) or (False,) * axes
    for c in range(image.shape[-1]):
        image[..., c] = _channel(image[..., c], policy, rng, chances, inside, fixed, unit)
    return image


def _channel(
    values: Floats,
    policy: PatchPolicy,
    rng: np.random.Generator,
    chances: NDArray[np.float64],
    inside: NDArray[np.bool_] | None,
    fixed: tuple[bool, ...],
    unit: float,
) -> Floats:
    spread, turn = rng.random(2), rng.uniform(-1.0, 1.0, 4)
    if policy.blur and chances[0] < policy.p_blur:
        least = min(LEAST_BLUR, policy.blur)
        values = blur(values, least + spread[0] * (policy.blur - least), inside, fixed)
    if policy.low_resolution > 1 and chances[1] < policy.p_low_resolution:
        factor = 1 + spread[1] * (policy.low_resolution - 1)
        values = low_resolution(values, factor, inside, fixed)
    if policy.brightness and chances[2] < policy.p_brightness:
        values = values + np.float32(turn[0] * policy.brightness * unit)
    if policy.contrast and chances[3] < policy.p_contrast:
        mean = _within(values, inside).mean(dtype=np.float64)
        factor = math.exp(turn[1] * math.log1p(policy.contrast))
        values = (values - np.float32(mean)) * np.float32(factor) + np.float32(mean)
    if policy.gamma and chances[4] < policy.p_gamma_inverted:
        exponent = math.exp(turn[2] * math.log1p(policy.gamma))
        values = -gamma(-values, exponent, inside)
    if policy.gamma and chances[5] < policy.p_gamma:
        values = gamma(values, math.exp(turn[3] * math.log1p(policy.gamma)), inside)
    if policy.noise and chances[6] < policy.p_noise:
        sd = np.float32(rng.random() * policy.noise * unit)
        noise = rng.standard_normal(values.shape, np.float32) * sd
        if inside is not None:
            noise *= inside
        values = values + noise
    return np.asarray(values, np.float32)


def gamma(values: Floats, exponent: float, inside: NDArray[np.bool_] | None = None) -> Floats:
    """Raise values, mapped to 0..1 by their range, to a power; mean and deviation as before.

    Args:
        values: Any shape.
        exponent: Above 0; below 1 brightens.
        inside: Where the statistics are taken; values beyond their range are held to it first.
    """
    known = _within(values, inside)
    low, high = float(known.min()), float(known.max())
    if not high - low > 1e-7 * max(abs(low), abs(high), 1e-30):
        return values
    mean, sd = known.mean(dtype=np.float64), known.std(dtype=np.float64)
    part = (values - np.float32(low)) * np.float32(1 / (high - low))
    np.clip(part, 0, 1, out=part)
    bent = np.power(part, np.float32(exponent), out=part)
    now = _within(bent, inside)
    factor = sd / max(float(now.std(dtype=np.float64)), 1e-8)
    shift = mean - factor * now.mean(dtype=np.float64)
    bent *= np.float32(factor)
    bent += np.float32(shift)
    return np.asarray(bent, np.float32)


def blur(
    values: Floats,
    sigma: float,
    inside: NDArray[np.bool_] | None = None,
    fixed: Sequence[bool] = (),
) -> Floats:
    """Gaussian blur of `sigma` voxels; padding keeps its values and gives none away."""
    sigmas = [0.0 if held else sigma for held in fixed or (False,) * values.ndim]
    if inside is None:
        return _gaussian(values, sigmas)
    share = _gaussian(inside.astype(np.float32), sigmas)
    mixed = _gaussian(values * inside, sigmas)
    return np.where(inside, mixed / np.maximum(share, np.float32(1e-6)), values)


def low_resolution(
    values: Floats,
    factor: float,
    inside: NDArray[np.bool_] | None = None,
    fixed: Sequence[bool] = (),
) -> Floats:
    """Take every `factor`-th voxel and go back by linear interpolation; padding keeps its values.

    Nearest voxels of the padding give their values away at the edge, as they would if the scanner's
    grid had been coarser.
    """
    out = values
    held = fixed or (False,) * values.ndim
    for axis, side in enumerate(values.shape):
        if not held[axis] and side > 1:
            out = _coarsened(out, axis, factor)
    return out if inside is None else np.where(inside, out, values)


def _gaussian(values: Floats, sigmas: Sequence[float]) -> Floats:
    out: Floats = ndimage.gaussian_filter(
        values, sigmas, output=np.float32, mode="nearest", truncate=3.0
    )
    return out


def _coarsened(values: Floats, axis: int, factor: float) -> Floats:
    """Nearest voxels of a grid of about side / factor places along an axis, then linear."""
    side = values.shape[axis]
    count = max(1, round(side / factor))
    centres = (np.arange(count) + 0.5) * side / count - 0.5
    taken = np.clip(np.rint(centres).astype(np.intp), 0, side - 1)
    at = np.clip((np.arange(side) + 0.5) * count / side - 0.5, 0, count - 1)
    low = np.minimum(at.astype(np.intp), max(count - 2, 0))
    high = np.minimum(low + 1, count - 1)
    part = (at - low).astype(np.float32)
    return mix_along(values, axis, [taken[low], taken[high]], [1 - part, part])


def _within(values: Floats, inside: NDArray[np.bool_] | None) -> Floats:
    return values if inside is None else values[inside]
