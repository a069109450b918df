"""Networks at other sizes, with and without their batch norms folded into convolutions."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import zoo
from tests.recipes.segmentation.inference.networks import apart, random_image, shaken, tiny_unet
from zoo.errors import ZooError
from zoo.inference import copy_weights, foldable, rebuild

layers = keras.layers


def test_folded_copy_gives_the_same_logits_and_follows_new_weights() -> None:
    model = tiny_unet(8, 8, 8, 2)
    image = random_image(1, 8, 8, 8, 2)
    twin = rebuild(model, (8, 8, 8), fold=True)
    assert len(foldable(model)) == 6
    assert not any(isinstance(layer, layers.BatchNormalization) for layer in twin.layers)
    for seed in (1, 7):
        shaken(model, seed)
        copy_weights(model, twin)
        wanted = np.asarray(model(image, training=False))
        assert apart(np.asarray(twin(image, training=False)), wanted) < 1e-5
    model.get_layer("encoder_1_2_norm").moving_mean.assign_add([0.1, 0.0, 0.0])
    assert apart(np.asarray(twin(image, training=False)), np.asarray(model(image))) > 1e-3


def norms() -> dict[str, tuple[Any, int]]:
    """Model and number of its norms that fold."""
    conv: Any = layers.Conv2D(3, 3, padding="same", name="conv")
    image = keras.Input((6, 6, 2))

    def model(x: Any) -> keras.Model:
        return shaken(keras.Model(image, x))

    norm = layers.BatchNormalization
    active = layers.Conv2D(3, 3, activation="relu")(image)
    twice = layers.Conv2D(3, 3, padding="same")(image)
    plain = norm(scale=False, center=False)(conv(image))
    depthwise = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same")(image)
    rows = norm(axis=1)(layers.Conv2D(3, 3)(image))
    return {
        "plain": (model(plain), 1),
        "activation between": (model(norm()(active)), 0),
        "read twice": (model(layers.Add()([twice, norm()(twice)])), 0),
        "depthwise": (model(norm()(depthwise)), 1),
        "along rows": (model(rows), 0),
        "behind pooling": (model(norm()(layers.MaxPooling2D(2)(image))), 0),
    }


def test_only_norms_right_behind_a_convolution_fold() -> None:
    image = random_image(2, 6, 6, 2)
    for name, (model, count) in norms().items():
        assert len(foldable(model)) == count, name
        twin = rebuild(model, (6, 6), fold=True)
        wanted = np.asarray(model(image, training=False))
        assert apart(np.asarray(twin(image, training=False)), wanted) < 1e-5, name


def test_layers_that_hold_a_size_are_refused() -> None:
    image = keras.Input((8, 8, 1))
    x = layers.Reshape((8, 8, 1))(layers.Reshape((64,))(image))
    with pytest.raises(ZooError, match="cannot be rebuilt for 12x12"):
        rebuild(keras.Model(image, x), (12, 12))


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18"])
def test_a_backbone_for_prediction_gives_the_same_features(name: str) -> None:
    model = shaken(zoo.create_backbone(name, input_shape=(64, 64, 1), weights=None))
    model.compile("sgd", "mse")
    twin = zoo.for_inference(model)
    assert not any(isinstance(layer, layers.BatchNormalization) for layer in twin.layers)
    assert not twin.compiled
    image = 255 * np.abs(random_image(1, 64, 64, 1))
    wanted, found = model(image, training=False), twin(image, training=False)
    for key in wanted:
        assert apart(np.asarray(found[key]), np.asarray(wanted[key])) < 1e-4, key


def test_networks_inside_a_network_are_folded_too() -> None:
    image = keras.Input((32, 32, 1), name="image")
    parts = [
        shaken(zoo.create_model("resnet18", classes=2, input_shape=(32, 32, 1), weights=None), k)
        for k in (1, 2)
    ]
    parts = [keras.Model(p.inputs[0], p.outputs[0], name=f"p{k}") for k, p in enumerate(parts)]
    mean = layers.Average()([part(image) for part in parts])
    model = keras.Model(image, mean)
    twin = zoo.for_inference(model)
    inner = [layer for layer in twin.layers if isinstance(layer, keras.Model)]
    assert len(inner) == 2
    assert not any(
        isinstance(layer, layers.BatchNormalization) for part in inner for layer in part.layers
    )
    pixels = 255 * np.abs(random_image(2, 32, 32, 1))
    wanted = np.asarray(model(pixels, training=False))
    assert apart(np.asarray(twin(pixels, training=False)), wanted) < 1e-4
    shaken(parts[0], 5)
    copy_weights(model, twin)
    moved = np.asarray(model(pixels, training=False))
    assert apart(moved, wanted) > 1e-3
    assert apart(np.asarray(twin(pixels, training=False)), moved) < 1e-4


def test_only_functional_models_are_taken() -> None:
    with pytest.raises(ZooError, match="not a functional model of one image"):
        zoo.for_inference(keras.Sequential([layers.Dense(2)]))
