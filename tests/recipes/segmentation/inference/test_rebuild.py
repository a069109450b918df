"""Networks at other sizes, with and without their batch norms folded into convolutions."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from recipes.segmentation.inference import InferenceError, rebuild
from recipes.segmentation.inference.rebuild import copy_weights, foldable
from tests.recipes.segmentation.inference.networks import apart, random_image, shaken, tiny_unet

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
    rows = norm(axis=1)(layers.Conv2D(3, 3)(image))
    return {
        "plain": (model(plain), 1),
        "activation between": (model(norm()(active)), 0),
        "read twice": (model(layers.Add()([twice, norm()(twice)])), 0),
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
    with pytest.raises(InferenceError, match="cannot be rebuilt for 12x12"):
        rebuild(keras.Model(image, x), (12, 12))
