"""Bring a map to the size of another: upsampling, then cropping or repeating the border.

Encoders halve sizes by rounding up, down, or by dropping borders, so a coarse map is rarely an
exact fraction of the finer one. Here the result has the wanted size always. Built-in layers alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras

from zoo.architectures.blocks import dims_of, of_dims, spatial
from zoo.errors import ZooError


def factors_between(
    coarse: Sequence[int | None], fine: Sequence[int | None], default: Sequence[int] | None = None
) -> tuple[int, ...]:
    """Give the whole factor per axis that brings the coarse size nearest to the fine one.

    Args:
        coarse: Spatial sizes of the coarse map.
        fine: Spatial sizes of the finer one.
        default: Factors of the axes whose sizes are open; 2 each where not given.
    """
    fallback = default or (2,) * len(coarse)
    return tuple(
        given if low is None or high is None else max(1, round(high / low))
        for low, high, given in zip(coarse, fine, fallback, strict=True)
    )


def upsample_to(
    x: keras.KerasTensor,
    size: Sequence[int | None],
    *,
    name: str,
    mode: str = "nearest",
    default: Sequence[int] | None = None,
) -> keras.KerasTensor:
    """Bring a map to a size.

    Args:
        x: ``(batch, *spatial, channels)``.
        size: Wanted spatial sizes; None where open.
        name: Prefix of the layers' names.
        mode: ``"nearest"``, or ``"linear"`` (bilinear, trilinear; half-pixel centres).
        default: Factors for axes of open size, whose sizes then must be multiples of the strides.

    Returns:
        ``(batch, *size, channels)``.
    """
    factors = factors_between(spatial(x), size, default)
    if any(factor > 1 for factor in factors):
        x = upsample(x, factors, name=name, mode=mode)
    return fit(x, size, name=name)


def upsample(
    x: keras.KerasTensor, factors: Sequence[int], *, name: str, mode: str = "nearest"
) -> keras.KerasTensor:
    """Upsample by whole factors, one per axis."""
    if mode == "nearest":
        return of_dims("UpSampling", dims_of(x))(tuple(factors), name=f"{name}_up")(x)
    if dims_of(x) == 2:
        return keras.layers.UpSampling2D(
            tuple(factors), interpolation="bilinear", name=f"{name}_up"
        )(x)
    return _trilinear(x, tuple(factors), name)


def _trilinear(x: keras.KerasTensor, factors: tuple[int, ...], name: str) -> keras.KerasTensor:
    """Bilinear over depth and height with width among the channels, then linear over width.

    Keras has no trilinear layer; interpolation is separable, so the two steps are the same.
    """
    depth, height, width, channels = x.shape[1:]
    if None in (depth, height, width):
        raise ZooError(
            f"a trilinear upsampling needs a known size, not {tuple(x.shape[1:-1])}; "
            "build the network for one input size"
        )
    up, fold = keras.layers.UpSampling2D, keras.layers.Reshape
    if factors[0] > 1 or factors[1] > 1:
        x = fold((depth, height, width * channels), name=f"{name}_fold")(x)
        x = up(factors[:2], interpolation="bilinear", name=f"{name}_up")(x)
        depth, height = depth * factors[0], height * factors[1]
    if factors[2] > 1:
        x = fold((depth * height, width, channels), name=f"{name}_fold_width")(x)
        x = up((1, factors[2]), interpolation="bilinear", name=f"{name}_up_width")(x)
        width *= factors[2]
    return fold((depth, height, width, channels), name=f"{name}_unfold")(x)


def fit(x: keras.KerasTensor, size: Sequence[int | None], *, name: str) -> keras.KerasTensor:
    """Crop the far side, or repeat the border on both sides, until the size is the wanted one."""
    have = spatial(x)
    pairs = [
        (a, b) if a is not None and b is not None else (0, 0)
        for a, b in zip(have, size, strict=True)
    ]
    surplus = [(0, max(0, a - b)) for a, b in pairs]
    if any(high for _, high in surplus):
        x = of_dims("Cropping", dims_of(x))(tuple(surplus), name=f"{name}_crop")(x)
    for axis, (a, b) in enumerate(pairs):
        if a < b:
            x = _repeat_border(x, axis, b - a, name=f"{name}_axis{axis}")
    return x


def _repeat_border(x: keras.KerasTensor, axis: int, count: int, *, name: str) -> keras.KerasTensor:
    """Repeat the first and last slice along a spatial axis, ``count`` in all, half on each side."""
    low, high = count // 2, count - count // 2
    length = int(x.shape[axis + 1])
    crop = of_dims("Cropping", dims_of(x))

    def slice_at(first: bool) -> keras.KerasTensor:
        cut = [(0, 0)] * dims_of(x)
        cut[axis] = (0, length - 1) if first else (length - 1, 0)
        return crop(tuple(cut), name=f"{name}_{'first' if first else 'last'}")(x)

    parts = [slice_at(True)] * low if low else []
    parts = [*parts, x, *[slice_at(False)] * high]
    return keras.layers.Concatenate(axis=axis + 1, name=f"{name}_border")(parts)
