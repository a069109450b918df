"""ResNets as PyTorch has them, in 2D and (MedicalNet) in 3D, out of built-in Keras layers.

They differ from the ResNets of keras.applications in the stride, which is in the 3x3 convolution,
in the epsilon of the norms, and in having no biases; layer names are alike (``conv1_conv``,
``conv2_block1_1_conv``, ``conv2_block3_out``...). Padding is symmetric, as PyTorch's.

Grouped convolutions (ResNeXt) run forward on a CPU at full speed, but TensorFlow computes their
gradient there some ten times slower than that of a plain one: train those on a GPU.
"""

from __future__ import annotations

from typing import Any

import keras

from zoo.architectures.resnet_plan import (
    DEEP_STEM_FILTERS,
    PLANS,
    ResidualBlock,
    ResNetPlan,
    residual_blocks,
)
from zoo.spec import BackboneSpec

EPSILON = 1e-5
_MOMENTUM = 0.9


def resnet(spec: BackboneSpec, input_tensor: keras.KerasTensor) -> keras.Model:
    """Build the variant that ``spec.name`` says, without a classification top.

    Args:
        spec: Entry of the catalogue.
        input_tensor: ``(batch, *sides, channels)`` with ``spec.dims`` sides, preprocessed.

    Returns:
        Model from the source inputs of ``input_tensor`` to the last block's output, values >= 0.
    """
    return build_resnet(PLANS[spec.name], input_tensor, name=spec.name, dims=spec.dims)


def build_resnet(
    plan: ResNetPlan, input_tensor: keras.KerasTensor, *, name: str, dims: int = 2
) -> keras.Model:
    """Build the network of a plan on a preprocessed tensor with two or three spatial axes."""
    layers = _Layers(dims)
    x = _stem(layers, plan, input_tensor)
    x = layers.pad(x, 1, "pool1_pad")  # zeros: after the activation no less than PyTorch's -inf
    x = layers.pool("MaxPooling", 3, stride=2, name="pool1_pool")(x)
    for block in residual_blocks(plan):
        x = _block(layers, plan, block, x)
    return keras.Model(keras.utils.get_source_inputs(input_tensor), x, name=name)


def _stem(layers: _Layers, plan: ResNetPlan, x: keras.KerasTensor) -> keras.KerasTensor:
    if not plan.deep_stem:
        x = layers.conv(x, plan.stem, 7, "conv1", stride=2)
        return layers.norm(x, "conv1", relu=True)
    for index, stride in ((1, 2), (2, 1)):
        x = layers.conv(x, DEEP_STEM_FILTERS, 3, f"conv1_{index}", stride=stride)
        x = layers.norm(x, f"conv1_{index}", relu=True)
    x = layers.conv(x, plan.stem, 3, "conv1")
    return layers.norm(x, "conv1", relu=True)


def _block(
    layers: _Layers, plan: ResNetPlan, block: ResidualBlock, entered: keras.KerasTensor
) -> keras.KerasTensor:
    """Two or three convolutions, the input added to what they give."""
    name, spatial = block.name, {"stride": block.stride, "dilation": block.dilation}
    if plan.bottleneck:
        x = layers.conv(entered, block.width, 1, f"{name}_1")
        x = layers.norm(x, f"{name}_1", relu=True)
        x = layers.conv(x, block.width, 3, f"{name}_2", groups=plan.groups, **spatial)
        x = layers.norm(x, f"{name}_2", relu=True)
        x = layers.conv(x, block.filters_out, 1, f"{name}_3")
        x = layers.norm(x, f"{name}_3")
    else:
        x = layers.conv(entered, block.filters_out, 3, f"{name}_1", **spatial)
        x = layers.norm(x, f"{name}_1", relu=True)
        x = layers.conv(x, block.filters_out, 3, f"{name}_2", dilation=block.dilation)
        x = layers.norm(x, f"{name}_2")
    if block.shortcut:
        entered = _shortcut(layers, plan, block, entered)
    x = keras.layers.Add(name=f"{name}_add")([entered, x])
    return keras.layers.ReLU(name=f"{name}_out")(x)


def _shortcut(
    layers: _Layers, plan: ResNetPlan, block: ResidualBlock, x: keras.KerasTensor
) -> keras.KerasTensor:
    """Bring the input of a block to the shape of its output."""
    name = f"{block.name}_0"
    if plan.shortcut == "pad":
        if block.stride > 1:
            x = layers.pool("AveragePooling", 1, stride=block.stride, name=f"{name}_pool")(x)
        zeros = keras.layers.Rescaling(0.0, name=f"{name}_zeros")(x)
        copies = block.filters_out // block.filters_in - 1
        return keras.layers.Concatenate(name=f"{name}_pad")([x, *[zeros] * copies])
    stride = block.stride
    if plan.shortcut == "pool" and stride > 1:
        pool = layers.pool("AveragePooling", 2, stride=2, padding="same", name=f"{name}_pool")
        x, stride = pool(x), 1
    x = layers.conv(x, block.filters_out, 1, name, stride=stride)
    return layers.norm(x, name)


class _Layers:
    """The layers of one dimension: convolutions without bias, norms with PyTorch's constants."""

    def __init__(self, dims: int) -> None:
        self._dims = dims

    def make(self, kind: str, *args: Any, **options: Any) -> keras.layers.Layer:
        """Make ``Conv2D`` or ``Conv3D`` out of ``"Conv"``, and so on."""
        return getattr(keras.layers, f"{kind}{self._dims}D")(*args, **options)

    def pool(
        self, kind: str, size: int, *, stride: int, name: str, padding: str = "valid"
    ) -> keras.layers.Layer:
        """Make a pooling; in 3D in float32, for TensorFlow has none in float16 on a CPU."""
        dtype = "float32" if self._dims == 3 else None
        return self.make(kind, size, strides=stride, padding=padding, dtype=dtype, name=name)

    def pad(self, x: keras.KerasTensor, width: int, name: str) -> keras.KerasTensor:
        """Put zeros around all sides."""
        return self.make("ZeroPadding", width, name=name)(x)

    def conv(
        self,
        x: keras.KerasTensor,
        filters: int,
        kernel: int,
        prefix: str,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
    ) -> keras.KerasTensor:
        """Convolve with padding by half the kernel on each side, as PyTorch does."""
        if stride > 1 and kernel > 1:
            x = self.pad(x, dilation * (kernel // 2), f"{prefix}_pad")
        layer = self.make(
            "Conv",
            filters,
            kernel,
            strides=stride,
            padding="valid" if stride > 1 else "same",
            dilation_rate=dilation,
            groups=groups,
            use_bias=False,
            kernel_initializer=keras.initializers.VarianceScaling(
                scale=2.0, mode="fan_out", distribution="untruncated_normal"
            ),
            name=f"{prefix}_conv",
        )
        return layer(x)

    def norm(self, x: keras.KerasTensor, prefix: str, *, relu: bool = False) -> keras.KerasTensor:
        """Normalise by batch statistics, then apply ReLU where asked."""
        x = keras.layers.BatchNormalization(
            momentum=_MOMENTUM, epsilon=EPSILON, name=f"{prefix}_bn"
        )(x)
        return keras.layers.ReLU(name=f"{prefix}_relu")(x) if relu else x
