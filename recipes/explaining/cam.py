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
    local: bool = False,
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
        local: Weigh every value by its own gradient, for a score that is taken at one place; see
            `coarse_maps`.

    Returns:
        ``(batch, *grid)``, 0 or more.
    """
    maps = coarse_maps(network, images, weights, kind=kind, layers=layers, local=local)
    grid = np.shape(images)[1:-1]
    return np.asarray(sum(enlarged(one, grid) for one in maps), np.float32)


def coarse_maps(
    network: Explained,
    images: Array,
    weights: Array,
    *,
    kind: Kind = "gradcam",
    layers: Sequence[int] | None = None,
    local: bool = False,
) -> list[Floats]:
    """Class activation maps on the grids of the feature maps, one for each size.

    Grad-CAM (Selvaraju et al., 2017, arXiv:1610.02391): channels weighted by the mean gradient of
    the score, added, and cut off at 0. Behind a global average pooling and a linear head this is
    the class activation map of Zhou et al. (2016) over the number of places, its positive part.

    The mean gradient stands for every place alike, so the map of a score that is taken at one place
    lights up wherever the image shows the like. A ``local`` map weighs every value by the gradient
    at its own place (HiResCAM, Draelos and Carin, 2020, arXiv:2011.08891; for detectors ODAM, Zhao
    and Chan, 2023, arXiv:2304.06354). Where the gradient is the same everywhere, as behind a global
    average pooling, it is the plain map (of Grad-CAM++ over the number of places).

    Args:
        network: The network.
        images: As of `class_activation`.
        weights: Likewise.
        kind: Likewise.
        layers: Likewise.
        local: Likewise.
    """
    chosen = network.last_maps() if layers is None else tuple(layers)
    _, values, gradients = network.gradients(images, weights, layers=chosen)
    sums: dict[tuple[int, ...], Floats] = {}
    for value, gradient in zip(values, gradients, strict=True):
        share = value_weights(value, gradient, kind)
        if not local:
            axes = tuple(range(1, share.ndim - 1))
            share = (share.mean if kind == "gradcam" else share.sum)(axis=axes, keepdims=True)
        found = np.asarray((value * share).sum(axis=-1), np.float32)
        sums[found.shape] = sums.get(found.shape, np.zeros_like(found)) + found
    return [np.maximum(one, 0) for one in sums.values()]


def value_weights(values: Floats, gradients: Floats, kind: Kind) -> Array:
    """How much each value of a feature map counts, like ``values``.

    Of Grad-CAM their mean over the places is a channel's weight; of Grad-CAM++ their sum
    (Chattopadhay et al., 2018, arXiv:1710.11063, equations 18 and 19, for the exponential of the
    score, whose factor is left out as it is common to all places and channels): positive gradients
    are added, each with the share that its place has in the channel.

    Args:
        values: ``(batch, *grid, channels)``.
        gradients: Of like shape.
        kind: The method.
    """
    if kind == "gradcam":
        return gradients
    axes = tuple(range(1, values.ndim - 1))
    # Relative to the largest gradient: squares and cubes of small ones vanish in float32.
    size = np.abs(gradients).max(axis=(*axes, -1), keepdims=True).astype(np.float64)
    g = gradients / np.where(size > 0, size, 1.0)
    whole = values.astype(np.float64).sum(axis=axes, keepdims=True) * size
    below = 2 * g**2 + whole * g**3
    share = np.divide(g**2, below, out=np.zeros_like(g), where=np.abs(below) > 1e-12)
    return np.asarray(share * np.maximum(g, 0) * size)


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
