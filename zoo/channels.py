"""Pretrained first kernels on any number of channels, exactly.

A published network takes B channels (3: RGB, or 1: grey), each scaled and shifted by constants of
its own, and pads with zeros *behind* that. An image of C other channels enters it through a matrix
that says how much of each channel goes to each of the B. Scales and matrix fold into the first
kernel. The shifts must not fold into a bias, which would be wrong wherever padding shows (by 82% at
the borders of ResNet50); they fold into the kernel of one further input channel that is 1
everywhere inside the image and, padded with the rest, 0 outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.errors import ZooError
from zoo.preprocessing import BGR, constants

if TYPE_CHECKING:
    import keras

Array = np.ndarray[Any, np.dtype[Any]]
ChannelMap = Sequence[str | Sequence[float]]

_NAMED = {
    "R": (1.0, 0.0, 0.0),
    "G": (0.0, 1.0, 0.0),
    "B": (0.0, 0.0, 1.0),
    "RGB": (1.0, 1.0, 1.0),
    "none": (0.0, 0.0, 0.0),
}


def channel_matrix(channels: int, channel_map: ChannelMap | None, *, base: int = 3) -> Array:
    """Say how much of each input channel enters each channel of the published network.

    Without a map, filters are cycled and rescaled: channel i goes to colour i mod B, and a colour
    that gets n channels takes their mean; with fewer channels than colours each colour takes
    channel (colour mod C). So the same picture in all channels gives the features of the
    published network on that picture, whatever C is, and one grey channel sums the filters.

    Args:
        channels: Number of input channels, C.
        channel_map: One entry per input channel: ``"R"``, ``"G"``, ``"B"``, ``"RGB"`` (all
            three), ``"none"`` (starts unused), or B weights.
        base: Number of channels of the published network, B.

    Returns:
        ``(B, C)`` float64, rows in RGB order.

    Raises:
        ZooError: For a map of another length, an unknown name or weights that are not finite.
    """
    if channel_map is None:
        return _cycled(channels, base)
    if isinstance(channel_map, str) or len(channel_map) != channels:
        raise ZooError(
            f"channel_map has {len(channel_map)} entries for {channels} channels; give one each"
        )
    columns = [_column(entry, base) for entry in channel_map]
    matrix = np.array(columns, "float64").T
    if not np.isfinite(matrix).all() or not matrix.any():
        raise ZooError(f"channel_map {list(channel_map)} must hold finite weights, not all 0")
    return matrix


def _cycled(channels: int, base: int) -> Array:
    matrix = np.zeros((base, channels))
    for colour in range(max(base, channels)):
        matrix[colour % base, colour % channels] = 1.0
    shared: Array = matrix / matrix.sum(axis=1, keepdims=True)
    return shared


def _column(entry: str | Sequence[float], base: int) -> Sequence[float]:
    if isinstance(entry, str):
        if base != 3 or entry not in _NAMED:
            known = sorted(_NAMED) if base == 3 else f"{base} weights: the network takes no colours"
            raise ZooError(f"channel_map has {entry!r}; choose from {known}")
        return _NAMED[entry]
    if len(entry) != base:
        raise ZooError(f"channel_map has {list(entry)}; it needs {base} weights per channel")
    return entry


def needs_constant(mode: str, matrix: Array) -> bool:
    """Tell whether a shift is left to fold, so that the first kernel needs the channel of ones.

    Args:
        mode: As for ``zoo.preprocessing.constants``.
        matrix: What ``channel_matrix`` gave.
    """
    return bool(np.abs(_shares(mode, matrix)[1]).max() > 1e-9)


def fold_kernel(kernel: Array, mode: str, matrix: Array) -> Array:
    """Turn a published first kernel into one for other channels.

    Args:
        kernel: ``(*window, B, filters)``, B channels in the network's order (see ``BGR``).
        mode: The preprocessing that its input gets, as for ``zoo.preprocessing.constants``.
        matrix: What ``channel_matrix`` gave, ``(B, C)``.

    Returns:
        ``(*window, C, filters)``, or ``(*window, C + 1, filters)`` where ``needs_constant``: the
        last channel takes ones. To be fed with what ``preprocess_evenly`` gives.
    """
    share, rest = _shares(mode, matrix)
    if needs_constant(mode, matrix):
        share = np.concatenate([share, rest[:, None]], axis=1)
    folded: Array = np.einsum("...bf,bc->...cf", kernel.astype("float64"), share)
    return folded.astype(kernel.dtype)


def _shares(mode: str, matrix: Array) -> tuple[Array, Array]:
    """Write each colour as ``share @ evenly_preprocessed + rest``, in the network's order."""
    base = len(matrix)
    parts = [np.array(part, "float64") for part in constants(mode)]
    mean_scale, mean_offset = (float(part.mean()) for part in parts)
    scale, offset = (np.broadcast_to(part, (base,)) for part in parts)
    rows = matrix[::-1] if mode in BGR and base == 3 else matrix
    share = rows * (scale / mean_scale)[:, None]
    return share, offset - share.sum(axis=1) * mean_offset


def with_constant(x: keras.KerasTensor) -> keras.KerasTensor:
    """Append a channel of ones.

    Args:
        x: ``(batch, *spatial, channels)``.

    Returns:
        ``(batch, *spatial, channels + 1)``, out of operations with stable names.
    """
    import keras

    first = x[..., :1]
    first._keras_history.operation.name = "first_channel"
    ones = keras.ops.ones_like(first)
    ones._keras_history.operation.name = "ones"
    return keras.layers.Concatenate(name="with_constant")([x, ones])
