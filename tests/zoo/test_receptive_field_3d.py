"""Receptive fields of networks inflated to 3D against the support of gradients."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import keras
import pytest

from tests.zoo.inflating import inflated
from tests.zoo.test_receptive_field import check, positive, support
from zoo.architectures.inflate import inflate
from zoo.backbones import create_backbone
from zoo.receptive_field import receptive_field
from zoo.registry import get_spec, list_backbones

layers = keras.layers

STACKS: dict[str, tuple[list[Any], int]] = {
    "convolutions": ([layers.Conv2D(2, 3, padding="same"), layers.Conv2D(2, 5, padding="same")], 7),
    "strided": (
        [
            layers.Conv2D(2, 3, strides=2, padding="same"),
            layers.Conv2D(2, 3, strides=2, padding="same"),
        ],
        7,
    ),
    "depthwise": (
        [
            layers.DepthwiseConv2D(3, padding="same"),
            layers.Conv2D(2, 1),
            layers.DepthwiseConv2D(5, strides=2, padding="same"),
        ],
        7,
    ),
    "dilated": ([layers.Conv2D(2, 3, dilation_rate=2, padding="same")], 5),
    "patches, mean": (
        [layers.Conv2D(2, 2, strides=2), layers.BatchNormalization(), layers.AveragePooling2D(2)],
        4,
    ),
    "mean over borders": ([layers.AveragePooling2D(3, strides=2, padding="same")], 3),
    "separable": ([layers.SeparableConv2D(2, 3, padding="same"), layers.Activation("softplus")], 3),
}


def volumes(made: list[Any], size: tuple[int, ...] = (16, 12, 13, 2)) -> keras.Model:
    fresh = [type(layer).from_config(layer.get_config()) for layer in made]
    return positive(inflated(fresh, size)[2])


@pytest.mark.parametrize("name", STACKS)
def test_bounds_are_those_of_the_gradient(name: str) -> None:
    made, deep = STACKS[name]
    model = volumes(made)
    check(model)
    assert receptive_field(model)[0].size == deep
    assert [field.fixed for field in receptive_field(model)] == [True, False, False]


@pytest.mark.parametrize("depth", [1, 2, 5, 16])
@pytest.mark.parametrize("name", ["depthwise", "patches, mean"])
def test_bounds_hold_where_depth_is_mirrored(name: str, depth: int) -> None:
    model = volumes(STACKS[name][0], (depth, 12, 13, 2))
    fields = receptive_field(model)
    shape = model.output.shape[1:-1]
    for slice_ in {0, shape[0] - 1}:
        index = (slice_, shape[1] // 2, shape[2] // 2)
        for axis, (first, last) in enumerate(support(model, index)):
            centre = fields[axis].stride * index[axis]
            assert centre + fields[axis].low <= first
            assert last <= centre + fields[axis].high


def test_shortcuts_and_layers_inside() -> None:
    """As residual networks have them; and the field of every layer is that of a model to it."""
    image = keras.Input((12, 13, 2))
    x = layers.Conv2D(3, 3, padding="same", name="stem")(image)
    y = layers.DepthwiseConv2D(3, padding="same", name="filter")(x)
    y = layers.Conv2D(3, 1, name="mix")(layers.ReLU(name="act")(y))
    x = layers.Add(name="sum")([x, y])
    y = layers.Conv2D(4, 3, strides=2, padding="same", name="down")(x)
    x = layers.Conv2D(4, 1, strides=2, name="shortcut")(x)
    x = layers.Add(name="top")([x, y])
    volume = keras.Input((16, 12, 13, 2))
    model = positive(inflate(keras.Model(image, x), volume).model)
    wanted = {"stem": (3, 1), "sum": (5, 1), "shortcut_volume": (5, 2), "top": (7, 2)}
    for name, (size, stride) in wanted.items():
        for axis in receptive_field(model, layer=name):
            assert (axis.size, axis.stride, axis.padded) == (size, Fraction(stride), True)
    check(model)


def test_each_call_of_a_layer_has_its_own_field() -> None:
    image = keras.Input((16, 16, 1))
    shared = layers.Conv2D(1, 3, padding="same", name="shared")
    model = keras.Model(image, shared(shared(image)))
    assert receptive_field(model, layer="shared")[0].size == 3
    assert receptive_field(model, layer="shared:2")[0].size == 5


def _inflatable() -> list[Any]:
    return [
        pytest.param(name, marks=() if name == "vgg11" else (pytest.mark.big,))
        for name in list_backbones()
        if get_spec(name).dims == 2 and get_spec(name).inflatable
    ]


@pytest.mark.parametrize("name", _inflatable())
def test_in_plane_an_inflated_backbone_sees_what_it_sees_of_pictures(name: str) -> None:
    side = max(64, get_spec(name).min_size)
    flat = create_backbone(name, input_shape=(side, side, 3), weights=None)
    deep = create_backbone(name, input_shape=(8, side, side, 3), weights=None, dims=3)
    for level in flat.output:
        pictures, volumes = (
            receptive_field(keras.Model(model.input, model.output[level])) for model in (flat, deep)
        )
        for mine, theirs in zip(volumes[1:], pictures, strict=True):
            assert (mine.size, mine.stride, mine.low, mine.high) == (
                theirs.size, theirs.stride, theirs.low, theirs.high,
            )  # fmt: skip
