"""Backbones: channels, preprocessing, refusals. What all share is in test_conformance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from zoo.architectures.rebuild import rebuild, stable_names
from zoo.backbones import create_backbone
from zoo.errors import UnknownBackboneError, ZooError
from zoo.preprocessing import preprocess

PIXELS = np.random.default_rng(3).uniform(0, 255, (2, 4, 5, 3)).astype("float32")


@pytest.mark.parametrize("mode", ["caffe", "torch", "tf"])
def test_preprocessing_is_that_of_keras(mode: str, tmp_path: Path) -> None:
    image = keras.Input((None, None, 3))
    model = keras.Model(image, preprocess(image, mode))
    wanted = keras.applications.imagenet_utils.preprocess_input(PIXELS.copy(), mode=mode)
    np.testing.assert_allclose(model(PIXELS), wanted, atol=2e-5)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(again(PIXELS), model(PIXELS))


@pytest.mark.parametrize(
    ("mode", "shift", "scale"), [("lite", 127.0, 128.0), ("signed128", 128.0, 128.0)]
)
def test_preprocessing_of_the_lite_and_v2_networks(mode: str, shift: float, scale: float) -> None:
    image = keras.Input((None, None, 3))
    found = keras.Model(image, preprocess(image, mode))(PIXELS)
    np.testing.assert_allclose(found, (PIXELS - shift) / scale, atol=1e-6)


@pytest.mark.parametrize("mode", ["caffe", "torch"])
def test_other_channel_counts_get_the_mean_constants(mode: str) -> None:
    five = np.full((1, 2, 2, 5), 100.0, "float32")
    three = np.full((1, 2, 2, 3), 100.0, "float32")
    outputs = []
    for pixels in (five, three):
        image = keras.Input(pixels.shape[1:])
        outputs.append(np.asarray(keras.Model(image, preprocess(image, mode))(pixels)))
    assert np.ptp(outputs[0]) == 0
    assert outputs[0].mean() == pytest.approx(outputs[1].mean(), rel=0.01)


def test_one_channel_is_repeated() -> None:
    gray = create_backbone("mobilenet_v2", input_shape=(32, 32, 1), weights=None)
    colour = create_backbone("mobilenet_v2", input_shape=(32, 32, 3), weights=None)
    colour.set_weights(gray.get_weights())
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 1)).astype("float32")
    for level, value in gray(pixels).items():
        np.testing.assert_allclose(value, colour(np.repeat(pixels, 3, -1))[level], atol=1e-6)
    assert gray.input_shape == (None, 32, 32, 1)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "efficientnet_b0"])
def test_five_channels_train_from_scratch(name: str) -> None:
    model = create_backbone(name, input_shape=(32, 32, 5), weights=None)
    outputs = model(np.zeros((1, 32, 32, 5), "float32"))
    assert outputs["P5"].shape[:3] == (1, 1, 1)
    with pytest.raises(ZooError, match="need 1 or 3 channels, not 5; pass weights=None"):
        create_backbone(name, input_shape=(32, 32, 5))


def test_efficientnet_without_a_file_normalises_as_imagenet() -> None:
    model = create_backbone("efficientnet_b0", input_shape=(32, 32, 3), weights=None)
    scaled = keras.Model(model.input, model.get_layer("rescaling_1").output)
    pixels = np.random.default_rng(1).uniform(0, 255, (1, 32, 32, 3)).astype("float32")
    wanted = keras.applications.imagenet_utils.preprocess_input(pixels.copy(), mode="torch")
    np.testing.assert_allclose(scaled(pixels), wanted, atol=1e-5)


def test_any_size_where_the_network_allows_it() -> None:
    model = create_backbone("efficientnet_lite0", input_shape=(None, None, 3), weights=None)
    assert model(np.zeros((1, 64, 96, 3), "float32"))["P5"].shape == (1, 2, 3, 1280)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("xception", (70, 71, 3), "too small for 'xception': at least 71 pixels"),
        ("nasnet_mobile", (64, None, 3), "leaves a side open; 'nasnet_mobile' needs both"),
        ("vgg16", (64, 64), "is not \\(height, width, channels\\)"),
        ("vgg16", (64, 64, 0), "is not \\(height, width, channels\\)"),
    ],
)
def test_refused_shapes(name: str, shape: Any, message: str) -> None:
    with pytest.raises(ZooError, match=message):
        create_backbone(name, input_shape=shape, weights=None)


def test_unknown_name() -> None:
    with pytest.raises(UnknownBackboneError, match="did you mean 'vgg16'"):
        create_backbone("vgg_16", input_shape=(64, 64, 3))


def test_stable_names_follow_creation_not_the_process() -> None:
    def build() -> keras.Model:
        image = keras.Input((8,))
        first = keras.layers.Dense(4)(image)
        second = keras.layers.Dense(4)(image)
        named = keras.layers.Dense(4, name="dense_of_mine")(second)
        return keras.Model(image, keras.layers.Add()([first, named]))

    build()
    names = stable_names(build())
    assert sorted(names.values()) == ["add", "dense", "dense_1", "input_layer"]
    again = [rebuild(build(), keras.Input((8,))) for _ in range(2)]
    assert [one.name for one in again[0].layers[1:]] == [one.name for one in again[1].layers[1:]]


def test_rebuild_refuses_what_it_does_not_know() -> None:
    image = keras.Input((8,))
    strange = keras.Model(image, keras.ops.sin(keras.layers.Dense(2, name="before")(image)))
    with pytest.raises(ZooError, match="cannot rebuild the operation 'Sin' after layer 'before'"):
        rebuild(strange, keras.Input((8,)))
