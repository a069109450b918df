"""The DenseNet that keras.applications lacks (161), like its other ones, out of built-in layers.

Layer names and the epsilon of the norms are those of keras.applications' DenseNets, so that one
converter serves them all.
"""

from __future__ import annotations

import keras

from zoo.architectures.densenet_plan import (
    BOTTLENECK,
    PLANS,
    DenseBlock,
    DenseNetPlan,
    dense_blocks,
)
from zoo.spec import BackboneSpec

EPSILON = 1.001e-5
_MOMENTUM = 0.9


def densenet(spec: BackboneSpec, input_tensor: keras.KerasTensor) -> keras.Model:
    """Build the variant that ``spec.name`` says, without a classification top.

    Args:
        spec: Entry of the catalogue.
        input_tensor: ``(batch, height, width, channels)``, preprocessed.

    Returns:
        Model from the source inputs of ``input_tensor`` to the activation ``relu``, values >= 0.
    """
    return build_densenet(PLANS[spec.name], input_tensor, name=spec.name)


def build_densenet(
    plan: DenseNetPlan, input_tensor: keras.KerasTensor, *, name: str
) -> keras.Model:
    """Build the network of a plan on a preprocessed tensor."""
    x = keras.layers.ZeroPadding2D(3, name="conv1_pad")(input_tensor)
    x = _conv(x, plan.stem, 7, "conv1_conv", stride=2)
    x = _norm_relu(x, "conv1")
    x = keras.layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = keras.layers.MaxPooling2D(3, strides=2, name="pool1")(x)
    blocks = dense_blocks(plan)
    for block in blocks:
        x = _dense_block(x, block, plan.growth)
        if block is not blocks[-1]:
            stage = f"pool{block.number + 1}"
            x = _norm_relu(x, stage)
            x = _conv(x, block.filters_out // 2, 1, f"{stage}_conv")
            x = keras.layers.AveragePooling2D(2, strides=2, name=f"{stage}_pool")(x)
    x = keras.layers.BatchNormalization(momentum=_MOMENTUM, epsilon=EPSILON, name="bn")(x)
    x = keras.layers.ReLU(name="relu")(x)
    return keras.Model(keras.utils.get_source_inputs(input_tensor), x, name=name)


def _dense_block(x: keras.KerasTensor, block: DenseBlock, growth: int) -> keras.KerasTensor:
    """Let each layer see what all before it gave."""
    for index in range(1, block.repeats + 1):
        name = f"{block.name}_block{index}"
        new = _norm_relu(x, f"{name}_0")
        new = _conv(new, BOTTLENECK * growth, 1, f"{name}_1_conv")
        new = _norm_relu(new, f"{name}_1")
        new = _conv(new, growth, 3, f"{name}_2_conv")
        x = keras.layers.Concatenate(name=f"{name}_concat")([x, new])
    return x


def _norm_relu(x: keras.KerasTensor, prefix: str) -> keras.KerasTensor:
    x = keras.layers.BatchNormalization(momentum=_MOMENTUM, epsilon=EPSILON, name=f"{prefix}_bn")(x)
    return keras.layers.ReLU(name=f"{prefix}_relu")(x)


def _conv(
    x: keras.KerasTensor, filters: int, kernel: int, name: str, *, stride: int = 1
) -> keras.KerasTensor:
    return keras.layers.Conv2D(
        filters,
        kernel,
        strides=stride,
        padding="same" if stride == 1 else "valid",
        use_bias=False,
        kernel_initializer="he_normal",
        name=name,
    )(x)
