"""Attributions to single pixels and voxels, by gradients of a score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recipes.explaining.errors import ExplainError
from recipes.explaining.gradients import Rectify
from recipes.explaining.network import Array, Explained, Floats, at_once

BATCH = 8
"""Pictures in one pass at most."""


@dataclass(frozen=True)
class Integrated:
    """Integrated gradients of one picture.

    Attributes:
        values: Attribution of each value, ``(*grid, channels)``; their sum is the difference of
            the scores of picture and baseline, but for ``gap``.
        difference: That difference.
        gap: What is missing to it or too much, relative to its size.
        steps: Gradients that were averaged.
    """

    values: Floats
    difference: float
    gap: float
    steps: int


def input_gradients(
    network: Explained, images: Array, weights: Array, *, rectify: Rectify | None = None
) -> Floats:
    """Gradient of the score at the image (Simonyan et al., 2013, arXiv:1312.6034), or with ReLUs
    changed: guided back-propagation and deconvolution.

    Args:
        network: The network.
        images: ``(batch, *grid, channels)``.
        weights: The score, as of `Explained.scores`.
        rectify: As of `gradients.rectified`.

    Returns:
        Like ``images``.

    Raises:
        ExplainError: ``rectify`` is not defined for the network's activations.
    """
    return network.gradients(images, weights, rectify=rectify)[2][0]


def integrated_gradients(
    network: Explained,
    image: Array,
    weights: Array,
    *,
    baseline: Array | float,
    steps: int = 32,
    tolerance: float = 0.05,
    most: int = 256,
) -> Integrated:
    """Integrated gradients (Sundararajan et al., 2017, arXiv:1703.01365) of one picture.

    The path is the straight line from the baseline. Its integral is a Gauss-Legendre sum whose
    number of steps is doubled until the attributions add up to the difference of the scores.

    Args:
        network: The network.
        image: ``(*grid, channels)``.
        weights: The score, ``(*output_shape)``.
        baseline: What stands for nothing: a value, or an image.
        steps: Gradients at first.
        tolerance: Gap, relative to the difference, that ends the doubling.
        most: Gradients at most; the gap that is left is told.

    Raises:
        ExplainError: The baseline has another shape.
    """
    x = np.asarray(image, np.float64)
    start = np.asarray(baseline, np.float64)
    if start.ndim and start.shape != x.shape:
        raise ExplainError(f"a baseline of shape {start.shape} for an image of {x.shape}")
    start = np.broadcast_to(start, x.shape)
    ends = np.stack([x, start])
    high, low = network.scores(ends, weights[None]).astype(np.float64)
    difference = float(high - low)
    scale = max(abs(difference), 1e-6 * max(abs(high), abs(low), 1.0))
    while True:
        mean = _mean_gradient(network, x, start, weights, steps)
        values = (x - start) * mean
        gap = abs(float(values.sum()) - difference) / scale
        if gap <= tolerance or 2 * steps > most:
            return Integrated(np.asarray(values, np.float32), difference, gap, steps)
        steps *= 2


def _mean_gradient(network: Explained, x: Array, start: Array, weights: Array, steps: int) -> Array:
    places, shares = np.polynomial.legendre.leggauss(steps)
    total = np.zeros(x.shape, np.float64)
    batch = at_once(x.shape[:-1], BATCH)
    for k in range(0, steps, batch):
        along = ((places[k : k + batch] + 1) / 2).reshape(-1, *(1,) * x.ndim)
        found = input_gradients(network, start + along * (x - start), weights[None])
        total += np.tensordot(shares[k : k + batch] / 2, found, axes=1)
    return total


def smooth_gradients(
    network: Explained,
    image: Array,
    weights: Array,
    *,
    rng: np.random.Generator,
    samples: int = 32,
    noise: float = 0.15,
) -> Floats:
    """SmoothGrad (Smilkov et al., 2017, arXiv:1706.03825): mean gradient under noise.

    Args:
        network: The network.
        image: ``(*grid, channels)``.
        weights: The score, ``(*output_shape)``.
        rng: Where the noise comes from.
        samples: Noisy copies.
        noise: Standard deviation, relative to the range of the image's values.

    Returns:
        Like the image.
    """
    x = np.asarray(image, np.float32)
    deviation = noise * float(np.ptp(x))
    total = np.zeros(x.shape, np.float64)
    batch = at_once(x.shape[:-1], BATCH)
    for k in range(0, samples, batch):
        count = min(batch, samples - k)
        noisy = x + rng.normal(0.0, deviation, (count, *x.shape)).astype(np.float32)
        total += input_gradients(network, noisy, weights[None]).sum(axis=0)
    return np.asarray(total / samples, np.float32)
