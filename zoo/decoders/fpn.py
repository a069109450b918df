"""Feature pyramid network with the segmentation branch of panoptic FPN."""

from __future__ import annotations

import keras

from zoo.architectures.blocks import conv, conv_block, drop, spatial
from zoo.architectures.resize import factors_between, fit, upsample, upsample_to
from zoo.decoders import DecoderInput


def fpn(given: DecoderInput) -> dict[str, keras.KerasTensor]:
    """Top-down pyramid, each level brought to the finest one by convolutions, then summed.

    Lin et al., 2016, arXiv:1612.03144 (lateral 1x1, nearest upsampling, 3x3 on every merged map)
    and Kirillov et al., 2019, arXiv:1901.02446 (per halving: 3x3, norm, ReLU, doubling; levels
    summed). Levels finer than stride 4 are left out, as in both.

    Returns:
        ``"P0"``, the sum, upsampled linearly to full resolution; then, for supervision, the
        branches before they are summed, by level, finest first.
    """
    branch, width = given.widths
    names = sorted(given.pyramid, key=lambda name: int(name[1:]))
    names = [name for name in names if int(name[1:]) >= 2] or names[-1:]
    size = spatial(given.pyramid[names[0]])
    maps: dict[str, keras.KerasTensor] = {}
    x = None
    for name in reversed(names):
        prefix = f"decoder_{name}"
        lateral = conv(given.pyramid[name], width, 1, bias=True, name=f"{prefix}_lateral")
        if x is not None:
            x = upsample_to(x, spatial(lateral), name=f"{prefix}_down")
            lateral = keras.layers.Add(name=f"{prefix}_merge")([lateral, x])
        x = lateral
        smooth = conv(x, width, 3, bias=True, name=f"{prefix}_smooth")
        maps[name] = _to_finest(smooth, branch, size, given.norm, prefix)
    merged = list(maps.values())
    x = merged[0] if len(merged) == 1 else keras.layers.Add(name="decoder_sum")(merged)
    x = drop(x, given.dropout, name="decoder_dropout")
    outputs = {"P0": upsample_to(x, spatial(given.image), name="decoder_P0", mode="linear")}
    if given.supervised:
        outputs |= {name: maps[name] for name in names}
    return outputs


def _to_finest(
    x: keras.KerasTensor, width: int, size: tuple[int | None, ...], norm: str, prefix: str
) -> keras.KerasTensor:
    """Convolve and double until the map has the finest level's size; convolve once at least."""
    factors = factors_between(spatial(x), size)
    for index in range(1, 9):
        x = conv_block(x, width, name=f"{prefix}_{index}", norm=norm)
        step = tuple(2 if factor % 2 == 0 else factor for factor in factors)
        if max(step) > 1:
            x = upsample(x, step, name=f"{prefix}_{index}", mode="linear")
        factors = tuple(factor // by for factor, by in zip(factors, step, strict=True))
        if max(factors) == 1:
            break
    return fit(x, size, name=prefix)
