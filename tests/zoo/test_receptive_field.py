"""Receptive fields against the support of gradients."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from zoo.errors import ZooError
from zoo.receptive_field import AxisField, receptive_field
from zoo.unets import unet

layers = keras.layers


def support(model: keras.Model, index: tuple[int, ...], output: str | None = None) -> list[Any]:
    """First and last input index per axis on which one output position depends."""
    rng = np.random.default_rng(0)
    total = np.zeros(model.inputs[0].shape[1:-1], bool)
    for _ in range(2):  # another input opens other ReLUs and maxima
        image = tf.constant(rng.normal(size=(1, *model.inputs[0].shape[1:])).astype("float32"))
        with tf.GradientTape() as tape:
            tape.watch(image)
            y = model(image)
            value = tf.reduce_sum((y if output is None else y[output])[(0, *index)])
        total |= np.abs(tape.gradient(value, image).numpy()[0]).sum(axis=-1) > 0
    where = np.argwhere(total)
    return list(zip(where.min(axis=0), where.max(axis=0), strict=True))


def check(model: keras.Model, *, tight: bool = True, output: str | None = None) -> None:
    """The gradient's support lies in the computed bounds, and fills them where ``tight``."""
    fields = receptive_field(model, output)
    shape = (model.output if output is None else model.output[output]).shape[1:-1]
    reached = [0] * len(shape)
    for step in range(4):
        index = tuple(side // 2 + step % (side // 2) for side in shape)
        for axis, (first, last) in enumerate(support(model, index, output)):
            field: AxisField = fields[axis]
            centre = field.stride * index[axis]
            assert first >= centre + field.low
            assert last <= centre + field.high
            reached[axis] = max(reached[axis], last - first + 1)
    for field, most in zip(fields, reached, strict=True):
        assert field.size is not None
        assert most <= field.size
        assert not tight or most == field.size


def positive(model: keras.Model) -> keras.Model:
    """Positive weights and no cancelling, so that the support is the graph's."""
    rng = np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(rng.uniform(0.1, 1.0, weight.shape))
    return model


def stack(*made: Any, size: tuple[int, ...] = (40, 44, 2)) -> keras.Model:
    x = image = keras.Input(size)
    for layer in made:
        x = type(layer).from_config(layer.get_config())(x)
    return positive(keras.Model(image, x))


STACKS = {
    "two convolutions": (layers.Conv2D(2, 3, padding="same"), layers.Conv2D(2, 5, padding="same")),
    "valid, strided": (layers.Conv2D(2, 3, strides=2), layers.Conv2D(2, (1, 4), strides=(2, 3))),
    "same, strided": (
        layers.Conv2D(2, 3, strides=2, padding="same"),
        layers.Conv2D(2, 3, strides=2, padding="same"),
    ),
    "dilated": (layers.Conv2D(2, 3, dilation_rate=(2, 4), padding="same"),),
    "average pooling": (layers.AveragePooling2D((2, 4)), layers.Conv2D(2, 3, padding="same")),
    "padded and cropped": (
        layers.ZeroPadding2D(((1, 2), (0, 1))),
        layers.Conv2D(2, 3),
        layers.Cropping2D(((1, 0), (2, 2))),
    ),
    "depthwise": (layers.DepthwiseConv2D(3, padding="same"), layers.SeparableConv2D(3, 3)),
    "up nearest": (layers.Conv2D(2, 4, strides=4), layers.UpSampling2D((2, 4)), layers.ReLU()),
    "transposed": (
        layers.AveragePooling2D(2),
        layers.Conv2DTranspose(2, 2, strides=2),
        layers.Conv2DTranspose(2, 3, strides=1, padding="same"),
    ),
    "transposed, overlapping": (
        layers.AveragePooling2D(2),
        layers.Conv2DTranspose(2, (3, 4), strides=2, padding="same"),
    ),
}


@pytest.mark.parametrize("name", STACKS)
def test_bounds_are_those_of_the_gradient(name: str) -> None:
    # Behind upsampling each phase sees a part of the bounds.
    check(stack(*STACKS[name]), tight=not name.startswith(("up", "transposed")))


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_bilinear_upsampling_stays_within_bounds(factor: int) -> None:
    up = layers.UpSampling2D(factor, interpolation="bilinear")
    check(stack(layers.AveragePooling2D(2), up), tight=False)


def test_unets_in_the_plane_and_in_space() -> None:
    for shape, widths in (((48, 50, 1), (2, 2, 2)), ((16, 14, 15, 1), (2, 2))):
        model = positive(unet(input_shape=shape, classes=1, widths=widths, norm="none"))
        check(model, tight=False)
        wanted = {2 ** (len(widths) - 1)}
        assert {field.alignment for field in receptive_field(model)} == wanted
        assert all(field.padded for field in receptive_field(model))


def test_a_tile_is_exact_inside_its_margin_and_not_before() -> None:
    """Both directions on a U-Net with padding: the margin is enough, and padding does matter."""
    whole = unet(input_shape=(96, 96, 1), classes=1, widths=(2, 3), norm="none")
    positive(whole)
    tile = unet(input_shape=(64, 64, 1), classes=1, widths=(2, 3), norm="none")
    tile.set_weights(whole.get_weights())
    image = np.random.default_rng(2).normal(size=(1, 96, 96, 1)).astype("float32")
    margin = receptive_field(whole)[0].margin
    assert margin is not None
    wanted = np.asarray(whole(image))[0, 16:80, 16:80]
    found = np.asarray(tile(image[:, 16:80, 16:80]))[0]
    wrong = np.abs(found - wanted)[..., 0] > 1e-5 * np.abs(wanted).max()
    assert wrong[0].any()
    assert wrong[:, 0].any()
    inner = slice(margin, 64 - margin)
    assert not wrong[inner, inner].any()
    rows = np.flatnonzero(wrong[:, inner].any(axis=1))
    assert margin - 2 <= max(rows[rows < 32]) + 1 <= margin


def test_without_padding_tiles_have_no_margin() -> None:
    model = stack(layers.Conv2D(2, 3), layers.MaxPooling2D(2), layers.Conv2D(2, 3))
    field = receptive_field(model)[0]
    assert (field.size, field.stride, field.alignment) == (8, Fraction(2), 2)
    assert not field.padded
    assert field.margin == 0


def test_channels_may_be_turned_round_and_places_may_not() -> None:
    image = keras.Input((16, 16, 3))
    for axis in (-1, 3):
        turned = layers.Conv2D(2, 3, padding="same")(keras.ops.flip(image, axis=axis))
        field = receptive_field(keras.Model(image, turned))[0]
        assert (field.size, field.margin) == (3, 1)
    for axes in (1, (1, 2), None):
        with pytest.raises(ZooError, match=r"Flip.*is not known"):
            receptive_field(keras.Model(image, keras.ops.flip(image, axis=axes)))


def test_an_output_that_sees_everything() -> None:
    model = unet(input_shape=(16, 16, 1), classes=1, widths=(2, 3), norm="instance")
    assert [field.size for field in receptive_field(model)] == [None, None]
    assert receptive_field(model)[0].margin is None


def test_refusals() -> None:
    model = stack(layers.Permute((2, 1, 3)))
    with pytest.raises(ZooError, match=r"behind layer 'permute.*Permute.*is not known"):
        receptive_field(model)
    deep = unet(input_shape=(16, 16, 1), classes=1, widths=(2, 3, 4), deep_supervision=True)
    with pytest.raises(ZooError, match="no output 'P7'; it has P0, P1"):
        receptive_field(deep, "P7")
    assert receptive_field(deep, "P1")[0].stride == 2
