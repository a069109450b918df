"""Layers by dimension, and the blocks that decoders and U-Nets are made of.

Everything here takes maps ``(batch, *spatial, channels)`` with two or three spatial axes, and is
made of built-in layers with explicit names. Sizes are read from the maps, so odd ones are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from zoo.errors import ZooError

NORMS = ("batch", "instance", "group", "none")
ACTIVATIONS = ("relu", "leaky_relu", "prelu", "elu", "silu", "gelu", "none")
_GROUPS = 8


def spatial(x: keras.KerasTensor) -> tuple[int | None, ...]:
    """Give the sizes of the spatial axes, None where open."""
    return tuple(x.shape[1:-1])


def dims_of(x: keras.KerasTensor) -> int:
    """Give the number of spatial axes: 2 or 3."""
    return len(x.shape) - 2


def of_dims(name: str, dims: int) -> Any:
    """Give the class of Keras' layer for two or three axes: ``("Conv", 3)`` is ``Conv3D``."""
    return getattr(keras.layers, f"{name}{dims}D")


def conv(
    x: keras.KerasTensor,
    filters: int,
    kernel: int | Sequence[int],
    *,
    name: str,
    strides: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
    bias: bool = False,
    padding: str = "same",
    dtype: str | None = None,
) -> keras.KerasTensor:
    """Convolve, He-initialised (He et al., 2015, arXiv:1502.01852)."""
    layer = of_dims("Conv", dims_of(x))
    return layer(
        filters,
        kernel,
        strides=strides,
        dilation_rate=dilation,
        padding=padding,
        use_bias=bias,
        kernel_initializer="he_normal",
        dtype=dtype,
        name=name,
    )(x)


def normalise(x: keras.KerasTensor, norm: str, *, name: str) -> keras.KerasTensor:
    """Normalise channels.

    Args:
        x: The map.
        norm: ``"batch"``; ``"instance"``: each channel of each case by itself (Ulyanov et al.,
            2016, arXiv:1607.08022); ``"group"``: 8 groups, or as many as divide the channels
            (Wu & He, 2018, arXiv:1803.08494); ``"none"``.
        name: Name of the layer.
    """
    if norm == "batch":
        return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)
    if norm == "instance":
        return keras.layers.GroupNormalization(groups=-1, epsilon=1e-5, name=name)(x)
    if norm == "group":
        channels = int(x.shape[-1])
        groups = next(g for g in range(min(_GROUPS, channels), 0, -1) if channels % g == 0)
        return keras.layers.GroupNormalization(groups=groups, epsilon=1e-5, name=name)(x)
    return x


def activate(x: keras.KerasTensor, activation: str, *, name: str) -> keras.KerasTensor:
    """Apply an activation; leaky ReLU has slope 0.01, PReLU one slope a channel."""
    if activation == "none":
        return x
    if activation == "relu":
        return keras.layers.ReLU(name=name)(x)
    if activation == "leaky_relu":
        return keras.layers.LeakyReLU(negative_slope=0.01, name=name)(x)
    if activation == "prelu":
        shared = list(range(1, dims_of(x) + 1))
        return keras.layers.PReLU(
            alpha_initializer=keras.initializers.Constant(0.25), shared_axes=shared, name=name
        )(x)
    return keras.layers.Activation(activation, name=name)(x)


def conv_block(
    x: keras.KerasTensor,
    filters: int,
    kernel: int | Sequence[int] = 3,
    *,
    name: str,
    strides: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
    norm: str = "batch",
    activation: str = "relu",
    padding: str = "same",
    bias: bool | None = None,
) -> keras.KerasTensor:
    """Convolution, norm, activation: layers ``<name>_conv``, ``<name>_norm``, ``<name>_act``.

    The convolution has a bias where nothing takes it away again: without batch or instance norm.
    """
    wants_bias = norm in ("none", "group") if bias is None else bias
    x = conv(
        x,
        filters,
        kernel,
        name=f"{name}_conv",
        strides=strides,
        dilation=dilation,
        bias=wants_bias,
        padding=padding,
    )
    x = normalise(x, norm, name=f"{name}_norm")
    return activate(x, activation, name=f"{name}_act")


def concatenate(maps: Sequence[keras.KerasTensor], *, name: str) -> keras.KerasTensor:
    """Join channels; one map stays as it is."""
    return maps[0] if len(maps) == 1 else keras.layers.Concatenate(name=name)(list(maps))


def drop(x: keras.KerasTensor, rate: float, *, name: str) -> keras.KerasTensor:
    """Drop whole channels (Tompson et al., 2014, arXiv:1411.4280); nothing at rate 0."""
    if not rate:
        return x
    return of_dims("SpatialDropout", dims_of(x))(rate, name=name)(x)


def check_norm(norm: str) -> None:
    """Refuse a norm that is not known.

    Raises:
        ZooError: Naming the choices.
    """
    if norm not in NORMS:
        raise ZooError(f"unknown norm {norm!r}; choose from {', '.join(NORMS)}")


def check_activation(activation: str) -> None:
    """Refuse an activation that is not known.

    Raises:
        ZooError: Naming the choices.
    """
    if activation not in ACTIVATIONS:
        raise ZooError(f"unknown activation {activation!r}; choose from {', '.join(ACTIVATIONS)}")
