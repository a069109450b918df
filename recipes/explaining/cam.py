"""Class activation maps: where a feature map speaks for a score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from recipes.explaining.network import Array, Explained, Floats

Kind = Literal["gradcam", "gradcam++"]


def class_activation(
    network: Explained,
    images: Array,
    weights: Array,
    *,
    kind: Kind = "gradcam",
    layers: Sequence[int] | None = None,
) -> Floats:
    """Grad-CAM or Grad-CAM++ of a batch, brought to the image's grid.

    Maps of one size (those of an ensemble's members) are added before what is negative is cut
    off, as the channels of one map are; maps of several sizes are added afterwards.

    Args:
        network: The network.
        images: ``(batch, *grid, channels)``.
        weights: The score, as of `Explained.scores`.
        kind: The method.
        layers: Feature maps, as `Program.find` gives them; None takes `Explained.last_maps`.

    Returns:
        ``(batch, *grid)``, 0 or more.
    """
    maps = coarse_maps(network, images, weights, kind=kind, layers=layers)
    grid = np.shape(images)[1:-1]
    return np.asarray(sum(enlarged(one, grid) for one in maps), np.float32)


def coarse_maps(
    network: Explained,
    images: Array,
    weights: Array,
    *,
    kind: Kind = "gradcam",
    layers: Sequence[int] | None = None,
) -> list[Floats]:
    """Class activation maps on the grids of the feature maps, one for each size.

    Grad-CAM (Selvaraju et al., 2017, arXiv:1610.02391): channels weighted by the mean gradient of
    the score, added, and cut off at 0. Behind a global average pooling and a linear head this is
    the class activation map of Zhou et al. (2016) over the number of places, its positive part.

    Args:
        network: The network.
        images: As of `class_activation`.
        weights: Likewise.
        kind: Likewise.
        layers: Likewise.
    """
    chosen = network.last_maps() if layers is None else tuple(layers)
    _, values, gradients = network.gradients(images, weights, layers=chosen)
    sums: dict[tuple[int, ...], Floats] = {}
    for value, gradient in zip(values, gradients, strict=True):
        share = channel_weights(value, gradient, kind)
        found = np.einsum("b...c,bc->b...", value, share, dtype=np.float32)
        sums[found.shape] = sums.get(found.shape, np.zeros_like(found)) + found
    return [np.maximum(one, 0) for one in sums.values()]


def channel_weights(values: Floats, gradients: Floats, kind: Kind) -> Floats:
    """How much each channel of a feature map counts, ``(batch, channels)``.

    Grad-CAM++ (Chattopadhay et al., 2018, arXiv:1710.11063, equations 18 and 19, for the
    exponential of the score, whose factor is left out as it is common to all places and channels):
    positive gradients are added, each with the share that its place has in the channel.

    Args:
        values: ``(batch, *grid, channels)``.
        gradients: Of like shape.
        kind: The method.
    """
    axes = tuple(range(1, values.ndim - 1))
    if kind == "gradcam":
        return np.asarray(gradients.mean(axis=axes), np.float32)
    # Relative to the largest gradient: squares and cubes of small ones vanish in float32.
    size = np.abs(gradients).max(axis=(*axes, -1), keepdims=True).astype(np.float64)
    g = gradients / np.where(size > 0, size, 1.0)
    whole = values.astype(np.float64).sum(axis=axes, keepdims=True) * size
    below = 2 * g**2 + whole * g**3
    share = np.divide(g**2, below, out=np.zeros_like(g), where=np.abs(below) > 1e-12)
    return np.asarray((share * np.maximum(g, 0) * size).sum(axis=axes), np.float32)


def enlarged(maps: Floats, grid: Sequence[int]) -> Floats:
    """Maps on a finer grid that covers the same extent, linear between the centres.

    Args:
        maps: ``(batch, *coarse)``.
        grid: Sides wanted.

    Returns:
        ``(batch, *grid)``.
    """
    if maps.shape[1:] == tuple(grid):
        return maps
    zoom = [1.0, *(wide / n for wide, n in zip(grid, maps.shape[1:], strict=True))]
    found: npt.NDArray[Any] = ndimage.zoom(
        maps.astype(np.float32), zoom, order=1, mode="nearest", grid_mode=True
    )
    return np.asarray(found, np.float32)
