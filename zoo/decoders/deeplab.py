"""DeepLabV3+ on a backbone: atrous pooling pyramid of separable convolutions, one skip."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from zoo.architectures.blocks import (
    activate,
    concatenate,
    conv_block,
    dims_of,
    drop,
    normalise,
    of_dims,
    spatial,
)
from zoo.architectures.resize import upsample_to
from zoo.decoders import DecoderInput
from zoo.decoders.levels import top_of

RATES = (6, 12, 18)
"""Dilations at stride 16, as in the paper; they scale with the stride."""


def deeplabv3plus(given: DecoderInput) -> dict[str, keras.KerasTensor]:
    """Pooling pyramid on the top map, joined with the stride-4 map, two separable convolutions.

    Chen et al., 2018, arXiv:1802.02611. Backbones here keep their own stride, 32 for most, where
    the paper dilates the last stage to reach 16 or 8: rates are those of the paper at stride 16
    and scale with the top map's stride (3, 6, 9 at 32), per axis, so that they cover the same
    pixels; a rate never exceeds the map. In 3D a separable convolution is in-plane depthwise
    taps, then depth taps together with the channel mixing (as Qiu et al., 2017, arXiv:1711.10305,
    split kernels), since Keras has no depthwise 3D convolution.

    Returns:
        ``"P0"``, upsampled linearly to full resolution; then, for supervision, the pooling
        pyramid itself under its level's name.
    """
    narrow, width = given.widths
    top = top_of(given.pyramid)
    x = _pooling_pyramid(top, width, _rates(given.image, top), given.norm)
    x = drop(x, given.dropout, name="decoder_dropout")
    outputs = {max(given.pyramid, key=lambda name: int(name[1:])): x}
    level = min((n for n in given.pyramid if int(n[1:]) >= 2), key=lambda name: int(name[1:]))
    low = given.pyramid[level]
    if low is not top:
        low = conv_block(low, narrow, 1, name="decoder_low", norm=given.norm)
        x = upsample_to(x, spatial(low), name="decoder_high", mode="linear")
        x = concatenate([x, low], name="decoder_join")
    for index in (1, 2):
        x = separable_block(x, width, name=f"decoder_{index}", norm=given.norm)
    x = upsample_to(x, spatial(given.image), name="decoder_P0", mode="linear")
    return {"P0": x, **(outputs if given.supervised else {})}


def _rates(image: keras.KerasTensor, top: keras.KerasTensor) -> list[tuple[int, ...]]:
    """Scale the paper's rates to the top map's stride along each axis."""
    found = []
    for rate in RATES:
        axes = []
        for whole, size in zip(spatial(image), spatial(top), strict=True):
            stride = 32 if whole is None or size is None else max(1, round(whole / size))
            limit = 10**6 if size is None else max(1, size - 1)
            axes.append(min(max(1, round(rate * 16 / stride)), limit))
        found.append(tuple(axes))
    return found


def _pooling_pyramid(
    x: keras.KerasTensor, width: int, rates: Sequence[tuple[int, ...]], norm: str
) -> keras.KerasTensor:
    branches = [conv_block(x, width, 1, name="aspp_0", norm=norm)]
    for index, rate in enumerate(rates, 1):
        branches.append(separable_block(x, width, name=f"aspp_{index}", norm=norm, rate=rate))
    pool = of_dims("GlobalAveragePooling", dims_of(x))(keepdims=True, name="aspp_pool")(x)
    # Without a norm: over one value per case and channel, batch norm is noise and instance norm 0.
    pool = conv_block(pool, width, 1, name="aspp_pool", norm="none")
    branches.append(upsample_to(pool, spatial(x), name="aspp_pool"))
    x = concatenate(branches, name="aspp_join")
    return conv_block(x, width, 1, name="aspp", norm=norm)


def separable_block(
    x: keras.KerasTensor,
    filters: int,
    *,
    name: str,
    norm: str,
    rate: Sequence[int] | None = None,
) -> keras.KerasTensor:
    """Depthwise 3x3, then the channels mixed, each followed by norm and ReLU.

    Args:
        x: The map.
        filters: Channels that come out.
        name: Prefix of the layers' names.
        norm: As for ``conv_block``.
        rate: Dilation per axis.
    """
    dilation = tuple(rate or (1,) * dims_of(x))
    in_plane = keras.layers.DepthwiseConv2D(
        3,
        padding="same",
        use_bias=norm in ("none", "group"),
        dilation_rate=dilation[-2:],
        depthwise_initializer="he_normal",
        name=f"{name}_depthwise",
    )
    kernel: tuple[int, ...] = (1, 1)
    along: tuple[int, ...] = (1, 1)
    if dims_of(x) == 3:
        x = keras.layers.TimeDistributed(in_plane, name=f"{name}_slices")(x)
        kernel, along = (3, 1, 1), (dilation[0], 1, 1)
    else:
        x = in_plane(x)
    x = normalise(x, norm, name=f"{name}_depthwise_norm")
    x = activate(x, "relu", name=f"{name}_depthwise_act")
    return conv_block(x, filters, kernel, name=name, norm=norm, dilation=along)
