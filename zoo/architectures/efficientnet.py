"""EfficientNet and EfficientNetV2 as PyTorch computes them: symmetric padding, its epsilon.

The networks of keras.applications (``efficientnet_b0``, ``efficientnet_v2_s``...) pad a strided
convolution as TensorFlow's "SAME" does, at the bottom and right first; torchvision's and most of
timm's were trained with the same padding on both sides, and lose accuracy on the other graph.
Layer names are those of keras.applications, so taps and arrays go by the same names in both.
"""

from __future__ import annotations

import keras

from zoo.architectures.efficientnet_plan import Block, efficientnet_plan
from zoo.spec import BackboneSpec

_BN_MOMENTUM = 0.99
_DROP_CONNECT = 0.2


def efficientnet(
    spec: BackboneSpec,
    input_tensor: keras.KerasTensor,
    *,
    drop_connect: float = _DROP_CONNECT,
) -> keras.Model:
    """Build the variant that ``spec.name`` says, without a classification top.

    Args:
        spec: Entry of the catalogue.
        input_tensor: ``(batch, height, width, channels)``, preprocessed; any size, any channels.
        drop_connect: Rate of stochastic depth at the last block, in training only; it rises
            linearly from 0 at the first. The layers are named ``<block>_drop``.

    Returns:
        Model from the source inputs of ``input_tensor`` to ``top_activation`` at stride 32.
    """
    plan = efficientnet_plan(spec.name)
    build = _Builder(plan.epsilon)
    x = build.conv(input_tensor, plan.stem, 3, 2, "stem_conv")
    x = build.norm_act(x, "stem_bn", "stem_activation")
    for index, block in enumerate(plan.blocks):
        x = build.block(x, block, drop_connect * index / len(plan.blocks))
    x = build.conv(x, plan.top, 1, 1, "top_conv")
    x = build.norm_act(x, "top_bn", "top_activation")
    return keras.Model(keras.utils.get_source_inputs(input_tensor), x, name=spec.name)


class _Builder:
    """Makes named layers with one epsilon."""

    def __init__(self, epsilon: float) -> None:
        self._epsilon = epsilon

    def block(self, x: keras.KerasTensor, block: Block, drop: float) -> keras.KerasTensor:
        """Expand, filter, weigh the channels, project; add the input where shapes agree."""
        entered, name = x, block.name
        x = self._fused(x, block) if block.fused else self._depthwise(x, block)
        if not block.skip:
            return x
        if drop > 0:
            x = keras.layers.Dropout(drop, noise_shape=(None, 1, 1, 1), name=f"{name}_drop")(x)
        return keras.layers.Add(name=f"{name}_add")([x, entered])

    def _depthwise(self, x: keras.KerasTensor, block: Block) -> keras.KerasTensor:
        name = block.name
        if block.expansion != 1:
            x = self.conv(x, block.inner, 1, 1, f"{name}_expand_conv")
            x = self.norm_act(x, f"{name}_expand_bn", f"{name}_expand_activation")
        x, padding = self._padded(x, block.kernel, block.stride, block.depthwise)
        x = keras.layers.DepthwiseConv2D(
            block.kernel,
            strides=block.stride,
            padding=padding,
            use_bias=False,
            depthwise_initializer=_fan_out(),
            name=block.depthwise,
        )(x)
        x = self.norm_act(x, f"{name}_bn", f"{name}_activation")
        x = self._squeeze_excite(x, block)
        x = self.conv(x, block.filters_out, 1, 1, f"{name}_project_conv")
        return self._norm(x, f"{name}_project_bn")

    def _fused(self, x: keras.KerasTensor, block: Block) -> keras.KerasTensor:
        name = block.name
        if block.expansion == 1:
            x = self.conv(x, block.filters_out, block.kernel, block.stride, f"{name}_project_conv")
            return self.norm_act(x, f"{name}_project_bn", f"{name}_project_activation")
        x = self.conv(x, block.inner, block.kernel, block.stride, f"{name}_expand_conv")
        x = self.norm_act(x, f"{name}_expand_bn", f"{name}_expand_activation")
        x = self.conv(x, block.filters_out, 1, 1, f"{name}_project_conv")
        return self._norm(x, f"{name}_project_bn")

    def _squeeze_excite(self, x: keras.KerasTensor, block: Block) -> keras.KerasTensor:
        """Weigh the channels by what their means say (Hu et al., CVPR 2018, arXiv:1709.01507)."""
        name = f"{block.name}_se"
        means = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze")(x)
        weights = means
        for part, filters, activation in (
            ("reduce", block.squeezed, "swish"),
            ("expand", block.inner, "sigmoid"),
        ):
            weights = keras.layers.Conv2D(
                filters,
                1,
                activation=activation,
                kernel_initializer=_fan_out(),
                name=f"{name}_{part}",
            )(weights)
        return keras.layers.Multiply(name=f"{name}_excite")([x, weights])

    def conv(
        self, x: keras.KerasTensor, filters: int, kernel: int, stride: int, name: str
    ) -> keras.KerasTensor:
        """Convolve without bias, padded alike on both sides."""
        x, padding = self._padded(x, kernel, stride, name)
        return keras.layers.Conv2D(
            filters,
            kernel,
            strides=stride,
            padding=padding,
            use_bias=False,
            kernel_initializer=_fan_out(),
            name=name,
        )(x)

    @staticmethod
    def _padded(
        x: keras.KerasTensor, kernel: int, stride: int, name: str
    ) -> tuple[keras.KerasTensor, str]:
        """Pad in front of a strided convolution; unstrided, "same" is symmetric already."""
        if stride == 1:
            return x, "same"
        return keras.layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x), "valid"

    def _norm(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return keras.layers.BatchNormalization(
            momentum=_BN_MOMENTUM, epsilon=self._epsilon, name=name
        )(x)

    def norm_act(self, x: keras.KerasTensor, norm: str, activation: str) -> keras.KerasTensor:
        """Normalise, then swish."""
        return keras.layers.Activation("swish", name=activation)(self._norm(x, norm))


def _fan_out() -> keras.initializers.Initializer:
    """Normal initialisation by fan-out, as the EfficientNets are trained from."""
    return keras.initializers.VarianceScaling(scale=2.0, mode="fan_out", distribution="normal")
