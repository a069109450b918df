"""A backbone of a few thousand parameters, so that a test run costs seconds."""

from __future__ import annotations

from pathlib import Path

import keras

import zoo

NAME = "tiny_test_backbone"
WIDTHS = (8, 12, 16, 24)


def build(spec: zoo.BackboneSpec, input_tensor: keras.KerasTensor) -> keras.Model:
    """Four strided convolutions with BatchNorm; taps ``act1`` to ``act4``."""
    x = input_tensor
    for i, width in enumerate(WIDTHS, 1):
        x = keras.layers.Conv2D(
            width, 3, strides=2, padding="same", use_bias=False, name=f"conv{i}"
        )(x)
        x = keras.layers.BatchNormalization(name=f"norm{i}")(x)
        x = keras.layers.ReLU(name=f"act{i}")(x)
    return keras.Model(input_tensor, x, name=spec.name)


SPEC = zoo.BackboneSpec(
    name=NAME,
    family="test",
    builder="tests.recipes.tiny_backbone:build",
    taps=tuple((2**i, f"act{i}") for i in range(1, len(WIDTHS) + 1)),
    preprocessing="tf",
    min_size=16,
    input_size=32,
    params=0,
    weights=(),
    licence="Apache-2.0",
    paper="none",
)


def register() -> None:
    """Enrol the backbone once in this process."""
    if NAME not in zoo.list_backbones():
        zoo.register(SPEC)


def write_weights(path: Path) -> Path:
    """Save seeded random weights to start from."""
    register()
    keras.utils.set_random_seed(7)
    model = zoo.create_backbone(NAME, input_shape=(32, 32, 3), weights=None)
    model.save_weights(path)
    return path
