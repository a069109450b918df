"""ConvNeXt and ConvNeXtV2 out of built-in Keras layers: what keras.applications lacks of them.

Layer names follow keras.applications (``<name>_stage_0_block_0_depthwise_conv``...). LayerScale is
a depthwise convolution of one pixel, so that plain Keras opens a saved model.
"""

from __future__ import annotations

import keras

from zoo.architectures.convnext_plan import convnext_plan
from zoo.spec import BackboneSpec

_EPSILON = 1e-6
_LAYER_SCALE = 1e-6
_FLOOR = 1e-12


def convnext(spec: BackboneSpec, input_tensor: keras.KerasTensor) -> keras.Model:
    """Build the variant that ``spec.name`` says, without a classification top.

    Args:
        spec: Entry of the catalogue.
        input_tensor: ``(batch, height, width, channels)``, preprocessed; any size from 32 pixels,
            any channels.

    Returns:
        Model from the source inputs of ``input_tensor`` to ``<name>_layernorm`` at stride 32: the
        last stage, normalised over channels at each place, as keras.applications ends its
        ConvNeXts; torchvision and timm normalise behind the global mean instead.
    """
    name, plan = spec.name, convnext_plan(spec.name)
    x = _patches(input_tensor, plan.widths[0], 4, f"{name}_stem_conv")
    x = _norm(x, f"{name}_stem_layernorm")
    for stage, (depth, width) in enumerate(zip(plan.depths, plan.widths, strict=True)):
        if stage:
            x = _norm(x, f"{name}_downsampling_layernorm_{stage - 1}")
            x = _patches(x, width, 2, f"{name}_downsampling_conv_{stage - 1}")
        for index in range(depth):
            x = _block(x, width, f"{name}_stage_{stage}_block_{index}", plan.responses)
    x = _norm(x, f"{name}_layernorm")
    return keras.Model(keras.utils.get_source_inputs(input_tensor), x, name=name)


def _block(x: keras.KerasTensor, width: int, name: str, responses: bool) -> keras.KerasTensor:
    """Filter depthwise, normalise, widen fourfold and back; add the input."""
    entered = x
    x = keras.layers.DepthwiseConv2D(
        7, padding="same", depthwise_initializer=_truncated(), name=f"{name}_depthwise_conv"
    )(x)
    x = _norm(x, f"{name}_layernorm")
    x = keras.layers.Dense(
        4 * width, kernel_initializer=_truncated(), name=f"{name}_pointwise_conv_1"
    )(x)
    x = keras.layers.Activation("gelu", name=f"{name}_gelu")(x)
    if responses:
        x = _normalised_responses(x, f"{name}_response")
    narrow = keras.layers.Dense(
        width, kernel_initializer=_truncated(), name=f"{name}_pointwise_conv_2"
    )
    x = narrow(x)
    if not responses:
        x = keras.layers.DepthwiseConv2D(
            1,
            use_bias=False,
            depthwise_initializer=keras.initializers.Constant(_LAYER_SCALE),
            name=f"{name}_layer_scale",
        )(x)
    return keras.layers.Add(name=f"{name}_add")([entered, x])


def _normalised_responses(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Weigh each channel by its strength among all (global response normalisation, ConvNeXtV2).

    The strength is the root mean square over space, in float32. Its ratio to the mean of all
    channels is the published one of Euclidean norms; only epsilon stands for ``sqrt(height *
    width)`` times as much.
    """
    squares = keras.layers.Multiply(dtype="float32", name=f"{name}_square")([x, x])
    power = keras.layers.GlobalAveragePooling2D(
        keepdims=True, dtype="float32", name=f"{name}_power"
    )(squares)
    # The floor keeps the root's gradient finite where a channel is silent.
    power = keras.layers.Rescaling(1.0, offset=_FLOOR, dtype="float32", name=f"{name}_floor")(power)
    strength = _named(keras.ops.sqrt(power), f"{name}_strength")
    mean = _named(keras.ops.mean(strength, axis=-1, keepdims=True), f"{name}_mean")
    mean = keras.layers.Rescaling(1.0, offset=_EPSILON, dtype="float32", name=f"{name}_epsilon")(
        mean
    )
    ratio = _named(keras.ops.divide(strength, mean), f"{name}_ratio")
    weighed = keras.layers.Multiply(name=f"{name}_weigh")([x, ratio])
    scaled = keras.layers.DepthwiseConv2D(1, depthwise_initializer="zeros", name=f"{name}_scale")(
        weighed
    )
    return keras.layers.Add(name=f"{name}_add")([x, scaled])


def _named(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Name the operation that made a tensor, else it would count up from build to build."""
    x._keras_history.operation.name = name
    return x


def _patches(x: keras.KerasTensor, width: int, side: int, name: str) -> keras.KerasTensor:
    """Embed squares that do not overlap; what is left over at the bottom and right is dropped."""
    return keras.layers.Conv2D(
        width, side, strides=side, kernel_initializer=_truncated(), name=name
    )(x)


def _norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return keras.layers.LayerNormalization(epsilon=_EPSILON, name=name)(x)


def _truncated() -> keras.initializers.Initializer:
    return keras.initializers.TruncatedNormal(stddev=0.02)
