"""A backbone of a few thousand parameters, for tests that need any backbone at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from zoo.registry import _registry, register
from zoo.spec import BackboneSpec, WeightSpec

WEIGHTS = WeightSpec(
    name="imagenet",
    source="keras",
    file="tiny.weights.h5",
    licence="MIT",
    citation="none",
    input_convention="RGB, 0-255, (x / 255 - ImageNet mean) / ImageNet deviation",
    preprocessing="torch",
)
SPEC = BackboneSpec(
    name="tiny",
    family="tiny",
    builder="tests.zoo.tiny:build",
    taps=((2, "stem_relu"), (4, "block2_relu"), (8, "block3_relu"), (16, "block4_relu")),
    preprocessing="torch",
    min_size=16,
    input_size=32,
    params=7_368,
    weights=(WEIGHTS,),
    licence="MIT",
    paper="none",
)


def build(spec: BackboneSpec, x: keras.KerasTensor) -> keras.Model:
    """Stack four strided convolutions with norms; the third is depthwise separable."""
    source = keras.utils.get_source_inputs(x)[0]
    for name, width in (("stem", 8), ("block2", 16), ("block3", 24), ("block4", 24)):
        if name == "block3":
            x = keras.layers.DepthwiseConv2D(
                3, strides=2, padding="same", use_bias=False, name=f"{name}_dwconv"
            )(x)
            x = keras.layers.Conv2D(width, 1, use_bias=False, name=f"{name}_conv")(x)
        else:
            x = keras.layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
            x = keras.layers.Conv2D(width, 3, strides=2, use_bias=False, name=f"{name}_conv")(x)
        x = keras.layers.BatchNormalization(name=f"{name}_bn")(x)
        x = keras.layers.ReLU(name=f"{name}_relu")(x)
    return keras.Model(source, x, name=spec.name)


@contextmanager
def registered(spec: BackboneSpec = SPEC) -> Iterator[BackboneSpec]:
    """Have the backbone in the registry for a while."""
    register(spec)
    try:
        yield spec
    finally:
        _registry().pop(spec.name)
