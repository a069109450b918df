"""The VGGs that keras.applications lacks (11, 13, and those with batch normalisation).

Layer names are alike (``block1_conv1``, ``block5_pool``); behind a norm stands the activation
``block1_relu1``. As in PyTorch, an odd row or column at the end is left out by each pooling.
"""

from __future__ import annotations

import keras

from zoo.architectures.vgg_plan import PLANS, VGGPlan, vgg_convs
from zoo.spec import BackboneSpec

EPSILON = 1e-5
_MOMENTUM = 0.9


def vgg(spec: BackboneSpec, input_tensor: keras.KerasTensor) -> keras.Model:
    """Build the variant that ``spec.name`` says, without a classification top.

    Args:
        spec: Entry of the catalogue.
        input_tensor: ``(batch, height, width, channels)``, preprocessed.

    Returns:
        Model from the source inputs of ``input_tensor`` to ``block5_pool``, values >= 0.
    """
    return build_vgg(PLANS[spec.name], input_tensor, name=spec.name)


def build_vgg(plan: VGGPlan, input_tensor: keras.KerasTensor, *, name: str) -> keras.Model:
    """Build the network of a plan on a preprocessed tensor."""
    x = input_tensor
    for conv in vgg_convs(plan, input_tensor.shape[-1]):
        prefix, number = f"block{conv.block}", conv.number
        x = keras.layers.Conv2D(
            conv.filters_out,
            3,
            padding="same",
            activation=None if plan.norm else "relu",
            kernel_initializer="he_normal",
            name=f"{prefix}_conv{number}",
        )(x)
        if plan.norm:
            x = keras.layers.BatchNormalization(
                momentum=_MOMENTUM, epsilon=EPSILON, name=f"{prefix}_bn{number}"
            )(x)
            x = keras.layers.ReLU(name=f"{prefix}_relu{number}")(x)
        if number == plan.repeats[conv.block - 1]:
            x = keras.layers.MaxPooling2D(2, strides=2, name=f"{prefix}_pool")(x)
    return keras.Model(keras.utils.get_source_inputs(input_tensor), x, name=name)
