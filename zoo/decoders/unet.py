"""U-Net decoder on a backbone, plain and with attention gates."""

from __future__ import annotations

import keras

from zoo.architectures.blocks import concatenate, conv, conv_block, drop, spatial
from zoo.architectures.resize import factors_between, fit, upsample_to
from zoo.decoders import DecoderInput
from zoo.decoders.levels import stages, top_of


def unet(given: DecoderInput) -> dict[str, keras.KerasTensor]:
    """Upsample, join the skip, two convolutions: level by level to full resolution.

    Ronneberger et al., 2015, arXiv:1505.04597, with the backbone as contracting path, nearest
    upsampling, padding, and a last level of full resolution without a skip.

    Returns:
        ``"P0"``, then, for supervision, the levels below the top, finest first.
    """
    return _decode(given, gated=False)


def attention_unet(given: DecoderInput) -> dict[str, keras.KerasTensor]:
    """As ``unet``, each skip weighted by an additive attention gate.

    Oktay et al., 2018, arXiv:1804.03999: the coefficients in [0, 1], output of the layer
    ``decoder_<level>_gate``, are computed on the coarser grid of the gating map and upsampled
    linearly.
    """
    return _decode(given, gated=True)


def _decode(given: DecoderInput, *, gated: bool) -> dict[str, keras.KerasTensor]:
    x = top_of(given.pyramid)
    outputs: dict[str, keras.KerasTensor] = {}
    steps = stages(given.image, given.pyramid)
    for stage, width in zip(steps, reversed(given.widths), strict=True):
        name = f"decoder_{stage.level}"
        skip = stage.skip
        if skip is not None and gated:
            skip = attention_gate(skip, x, max(1, int(skip.shape[-1]) // 2), name=name)
        x = upsample_to(x, stage.size, name=name)
        x = concatenate([x] if skip is None else [x, skip], name=f"{name}_join")
        for index in (1, 2):
            x = conv_block(x, width, name=f"{name}_{index}", norm=given.norm)
        outputs[stage.level] = x
    outputs["P0"] = drop(x, given.dropout, name="decoder_dropout")
    kept = reversed(outputs) if given.supervised else ["P0"]
    return {level: outputs[level] for level in kept}


def attention_gate(
    skip: keras.KerasTensor, gating: keras.KerasTensor, width: int, *, name: str
) -> keras.KerasTensor:
    """Weight a skip by its relevance to a coarser map (arXiv:1804.03999, figure 2).

    Args:
        skip: ``(batch, *fine, channels)``.
        gating: ``(batch, *coarse, any)``.
        width: Channels of the joint space.
        name: Prefix of the layers' names.

    Returns:
        A map of the shape of ``skip``.
    """
    factors = factors_between(spatial(gating), spatial(skip))
    theta = conv(skip, width, factors, strides=factors, name=f"{name}_gate_skip")
    theta = fit(theta, spatial(gating), name=f"{name}_gate_skip")
    phi = conv(gating, width, 1, bias=True, name=f"{name}_gate_signal")
    x = keras.layers.Add(name=f"{name}_gate_add")([theta, phi])
    x = keras.layers.ReLU(name=f"{name}_gate_relu")(x)
    x = conv(x, 1, 1, bias=True, name=f"{name}_gate_score")
    x = keras.layers.Activation("sigmoid", name=f"{name}_gate")(x)
    x = upsample_to(x, spatial(skip), name=f"{name}_gate", mode="linear")
    return keras.layers.Multiply(name=f"{name}_gated")([skip, x])
