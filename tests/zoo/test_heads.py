"""Classification heads: what comes out, what is inside, and how they come apart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.zoo.tiny import SPEC, registered
from zoo.backbones import create_backbone
from zoo.errors import ZooError
from zoo.heads import create_model, fit_standardization, split_head
from zoo.registry import get_spec

NAME = SPEC.name
RNG = np.random.default_rng(11)


@pytest.fixture(scope="module", autouse=True)
def _tiny() -> Iterator[None]:
    with registered():
        yield


def randomise(made: keras.Model) -> None:
    """Draw kernels so that a signal survives."""
    for weight in made.weights:
        if weight.name == "kernel":
            weight.assign(RNG.normal(0, np.sqrt(2 / np.prod(weight.shape[:-1])), weight.shape))


@pytest.fixture(scope="module")
def model() -> keras.Model:
    made = create_model(
        NAME, input_shape=(32, 48, 1), classes=3, weights=None, input_range=(-1000.0, 400.0)
    )
    randomise(made)
    return made


def test_interface(model: keras.Model) -> None:
    assert model.name == f"{NAME}_classifier"
    assert model.input.name == "image"
    assert model.output.shape == (None, 3)
    assert model.output.dtype == "float32"
    assert [layer.name for layer in model.layers[-3:]] == ["pool", "dropout", "logits"]
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)
    assert model.get_layer("logits").activation is keras.activations.linear


def test_input_range_is_clipped_and_scaled_inside(model: keras.Model) -> None:
    hounsfield = RNG.uniform(-3000, 3000, (2, 32, 48, 1)).astype("float32")
    plain = create_model(NAME, input_shape=(32, 48, 1), classes=3, weights=None)
    plain.set_weights(model.get_weights())
    pixels = (np.clip(hounsfield, -1000, 400) + 1000) / 1400 * 255
    np.testing.assert_allclose(model(hounsfield), plain(pixels), rtol=1e-4, atol=1e-5)
    assert "input_scale" not in {layer.name for layer in plain.layers}


def test_logits_are_pooled_top_features_times_the_head() -> None:
    pixels = RNG.uniform(0, 255, (2, 32, 48, 3)).astype("float32")
    for pooling, pool in (("avg", np.mean), ("max", np.max)):
        whole = create_model(
            NAME, input_shape=(32, 48, 3), classes=2, weights=None, pooling=pooling
        )
        backbone = create_backbone(NAME, input_shape=(32, 48, 3), weights=None)
        randomise(backbone)
        kernel, bias = RNG.normal(size=(24, 2)), RNG.normal(size=2)
        whole.set_weights([*backbone.get_weights(), kernel, bias])
        top = pool(np.asarray(backbone(pixels)["P4"]), axis=(1, 2))
        np.testing.assert_allclose(whole(pixels), top @ kernel + bias, rtol=1e-3, atol=1e-3)


def test_plain_keras_opens_the_saved_file(model: keras.Model, tmp_path: Path) -> None:
    image = RNG.uniform(-1000, 400, (2, 32, 48, 1)).astype("float32")
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(again(image), model(image))
    assert all(getattr(keras.layers, type(one).__name__) is type(one) for one in again.layers)


def test_split_head_shares_the_layers(model: keras.Model) -> None:
    features, head = split_head(model)
    image = RNG.uniform(-1000, 400, (2, 32, 48, 1)).astype("float32")
    pooled = features(image)
    assert pooled.shape == (2, 24)
    np.testing.assert_allclose(head(pooled), model(image), rtol=1e-5)
    before = model.get_layer("logits").get_weights()
    head.get_layer("logits").bias.assign([1.0, 2.0, 3.0])
    np.testing.assert_allclose(head(pooled), model(image), rtol=1e-5)
    assert {layer.name for layer in head.layers} == {"pooled", "dropout", "logits"}
    model.get_layer("logits").set_weights(before)


def test_dropout_acts_in_training_alone() -> None:
    made = create_model(NAME, input_shape=(32, 32, 3), classes=2, weights=None, dropout=0.5)
    _, head = split_head(made)
    pooled = np.ones((64, 24), "float32")
    assert np.ptp(head(pooled, training=False), axis=0).max() == pytest.approx(0, abs=1e-6)
    assert np.ptp(head(pooled, training=True), axis=0).max() > 0.1


@pytest.fixture(scope="module")
def middle() -> keras.Model:
    made = create_model(
        NAME,
        input_shape=(64, 48, 1),
        classes=2,
        weights=None,
        pooling="stats",
        levels=("P3", "P2"),
        hidden=7,
        standardize=True,
    )
    randomise(made)
    return made


def test_features_of_the_middle_levels_are_means_and_spreads(middle: keras.Model) -> None:
    """Against numpy on the maps that the backbone gives."""
    pixels = RNG.uniform(0, 255, (3, 64, 48, 1)).astype("float32")
    features, _ = split_head(middle)
    backbone = create_backbone(NAME, input_shape=(64, 48, 1), weights=None)
    taps = {tap: backbone.get_layer(tap) for _, tap in get_spec(NAME).taps}
    own = {layer.name: layer for layer in features.layers}
    for layer in backbone.layers:
        if layer.name in own:
            layer.set_weights(own[layer.name].get_weights())
    maps = backbone(pixels)
    wanted = [
        pool(np.asarray(maps[name], "float64"), axis=(1, 2))
        for name in ("P2", "P3")
        for pool in (np.mean, np.std)
    ]
    np.testing.assert_allclose(features(pixels), np.concatenate(wanted, 1), rtol=1e-3, atol=4e-3)
    assert taps[get_spec(NAME).taps[2][1]].name in own  # P3, the highest level asked for
    assert taps[get_spec(NAME).taps[3][1]].name not in own


def test_standardised_features_have_mean_0_and_variance_1(middle: keras.Model) -> None:
    _, head = split_head(middle)
    assert [layer.name for layer in head.layers[1:]] == [
        "standardize",
        "dropout",
        "hidden",
        "hidden_dropout",
        "logits",
    ]
    pooled = RNG.normal(5, 3, (400, head.input_shape[1])).astype("float32")
    pooled[:, 0] = 4.0
    assert fit_standardization(middle, pooled)
    scaled = np.asarray(head.get_layer("standardize")(pooled))
    assert np.all(scaled[:, 0] == 0)
    np.testing.assert_allclose(scaled[:, 1:].mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(scaled[:, 1:].std(axis=0), 1, rtol=1e-3)


def test_a_flat_channel_keeps_the_gradient_finite(middle: keras.Model) -> None:
    pixels = np.zeros((2, 64, 48, 1), "float32")
    features, _ = split_head(middle)
    assert np.isfinite(np.asarray(features(pixels))).all()
    middle.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    assert np.isfinite(middle.train_on_batch(pixels, np.eye(2, dtype="float32")))
    assert all(np.isfinite(weight).all() for weight in middle.get_weights())


def test_a_head_without_standardization_says_so(model: keras.Model) -> None:
    assert not fit_standardization(model, np.ones((2, 24)))


def test_the_middle_head_survives_plain_keras(middle: keras.Model, tmp_path: Path) -> None:
    image = RNG.uniform(0, 255, (2, 64, 48, 1)).astype("float32")
    middle.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(again(image), middle(image))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"levels": ("P9",)}, "has no level 'P9'; it has P1, P2, P3, P4"),
        ({"levels": ()}, "must name one level or more"),
        ({"levels": ("P4", "P4")}, "each once"),
        ({"hidden": -1}, "hidden is -1"),
        ({"classes": 0}, "classes is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"pooling": "mean"}, "unknown pooling 'mean'; choose from"),
        ({"input_range": (5.0, 5.0)}, "input_range \\(5.0, 5.0\\) is empty"),
        ({"input_shape": (8, 32, 3)}, "too small"),
        ({"weights": "imagenett"}, "unknown weights 'imagenett'.*did you mean 'imagenet'"),
    ],
)
def test_refused_arguments(change: dict[str, Any], message: str) -> None:
    arguments = {"input_shape": (32, 32, 3), "classes": 2, "weights": None, **change}
    with pytest.raises(ZooError, match=message):
        create_model(NAME, **arguments)
