"""EfficientNet-Lite0, 1 and 2 out of built-in Keras layers.

Layer names follow the EfficientNets of keras.applications (``stem_conv``, ``block2a_expand_conv``,
``top_activation``...), so they are stable from build to build and taps can name them. Convolutions
pad as TensorFlow's "SAME" does (the odd pixel at the bottom and right), which is what the
published weights were trained with; any input size works.
"""

from __future__ import annotations

import keras

from zoo.architectures.lite_plan import (
    STEM_FILTERS,
    TOP_FILTERS,
    Block,
    lite_blocks,
)
from zoo.spec import BackboneSpec

_BN_EPSILON = 1e-3
_BN_MOMENTUM = 0.99
_DROP_CONNECT = 0.2


def efficientnet_lite(
    spec: BackboneSpec,
    input_tensor: keras.KerasTensor,
    *,
    drop_connect: float = _DROP_CONNECT,
) -> keras.Model:
    """Build the variant that ``spec.name`` says, without a classification top.

    Args:
        spec: Entry of the catalogue.
        input_tensor: ``(batch, height, width, channels)``; for the published weights three
            channels in RGB order, scaled as ``(x - 127) / 128``.
        drop_connect: Rate of stochastic depth at the last block, in training only; it rises
            linearly from 0 at the first. The layers are named ``<block>_drop``.

    Returns:
        Model from the source inputs of ``input_tensor`` to ``top_activation``, 1280 channels at
        stride 32, values in [0, 6].
    """
    blocks = lite_blocks(spec.name)
    x = _conv(input_tensor, STEM_FILTERS, 3, 2, "stem")
    x = _norm(x, "stem_bn")
    x = _relu6(x, "stem_activation")
    for index, block in enumerate(blocks):
        x = _inverted_residual(x, block, drop_connect * index / len(blocks))
    x = _conv(x, TOP_FILTERS, 1, 1, "top")
    x = _norm(x, "top_bn")
    x = _relu6(x, "top_activation")
    return keras.Model(keras.utils.get_source_inputs(input_tensor), x, name=spec.name)


def _inverted_residual(x: keras.KerasTensor, block: Block, drop: float) -> keras.KerasTensor:
    """Expand 1x1, filter depthwise, project 1x1; add the input where shapes agree."""
    entered, name = x, block.name
    if block.expansion != 1:
        x = _conv(x, block.filters_in * block.expansion, 1, 1, f"{name}_expand")
        x = _norm(x, f"{name}_expand_bn")
        x = _relu6(x, f"{name}_expand_activation")
    x = keras.layers.DepthwiseConv2D(
        block.kernel,
        strides=block.stride,
        padding="same",
        use_bias=False,
        depthwise_initializer=_fan_out(),
        name=f"{name}_dwconv",
    )(x)
    x = _norm(x, f"{name}_bn")
    x = _relu6(x, f"{name}_activation")
    x = _conv(x, block.filters_out, 1, 1, f"{name}_project")
    x = _norm(x, f"{name}_project_bn")
    if not block.skip:
        return x
    if drop > 0:
        x = keras.layers.Dropout(drop, noise_shape=(None, 1, 1, 1), name=f"{name}_drop")(x)
    return keras.layers.Add(name=f"{name}_add")([x, entered])


def _conv(
    x: keras.KerasTensor, filters: int, kernel: int, stride: int, prefix: str
) -> keras.KerasTensor:
    return keras.layers.Conv2D(
        filters,
        kernel,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer=_fan_out(),
        name=f"{prefix}_conv",
    )(x)


def _norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return keras.layers.BatchNormalization(momentum=_BN_MOMENTUM, epsilon=_BN_EPSILON, name=name)(x)


def _relu6(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return keras.layers.ReLU(max_value=6.0, name=name)(x)


def _fan_out() -> keras.initializers.Initializer:
    """Normal initialisation by fan-out, as the EfficientNets are trained from."""
    return keras.initializers.VarianceScaling(scale=2.0, mode="fan_out", distribution="normal")
