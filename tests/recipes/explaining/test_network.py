"""Networks written out: the same outputs, gradients that are those of differences."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from recipes.explaining.errors import ExplainError
from recipes.explaining.network import Explained
from tests.recipes.explaining.nets import (
    classifier,
    drawn,
    ensemble,
    images,
    one_hot,
    plain,
    segmenter,
)


def sequential() -> keras.Model:
    """A sequential model."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((16, 16, 2)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    return drawn(model)


MODELS = {
    "flat": classifier,
    "volume": lambda: classifier(dims=3),
    "ensemble": lambda: ensemble([classifier(seed=1), classifier(seed=2)]),
    "nested twice": lambda: ensemble([ensemble([classifier(seed=1), classifier(seed=2)])] * 2),
    "sequential": sequential,
}


@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_those_of_the_model(name: str) -> None:
    model = MODELS[name]()
    x = images(model)
    network = Explained(model)
    assert np.allclose(network.outputs(x), plain(model(x, training=False)), atol=1e-5)
    assert np.allclose(network.scores(x, one_hot(1)), network.outputs(x)[:, 1], atol=1e-5)


@pytest.mark.parametrize("output", [None, "P0", "P1"])
def test_one_of_several_outputs(output: str | None) -> None:
    model = segmenter()
    x = images(model)
    found = Explained(model, output=output).outputs(x)
    assert np.allclose(found, plain(model(x, training=False)[output or "P0"]), atol=1e-5)


def test_a_saved_model_is_explained_alike(tmp_path: Path) -> None:
    model = ensemble([classifier(seed=1), classifier(seed=2)])
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    x = images(model)
    _, _, here = Explained(model).gradients(x, one_hot(2))
    _, _, there = Explained(again).gradients(x, one_hot(2))
    assert np.ptp(here[0]) > 0
    assert np.allclose(here[0], there[0], atol=1e-6)


@pytest.mark.parametrize("name", ["flat", "volume", "ensemble"])
def test_gradients_are_those_of_differences(name: str) -> None:
    model = MODELS[name]()
    x = images(model, count=1).astype(np.float64)
    network = Explained(model)
    gradient = network.gradients(x, one_hot(0))[2][0]
    rng = np.random.default_rng(3)
    for _ in range(3):
        step = rng.normal(0, 1, x.shape)
        step *= 1e-2 / np.linalg.norm(step)
        high, low = (network.scores(x + sign * step, one_hot(0))[0] for sign in (1, -1))
        assert (high - low) / 2 == pytest.approx(float((gradient * step).sum()), rel=0.05, abs=2e-5)


def test_pictures_of_a_batch_do_not_mix() -> None:
    model = classifier()
    x = images(model, count=3)
    weights = np.eye(3, dtype=np.float32)
    network = Explained(model)
    together = network.gradients(x, weights)[2][0]
    alone = [network.gradients(x[k : k + 1], weights[k : k + 1])[2][0][0] for k in range(3)]
    assert np.allclose(together, np.stack(alone), atol=1e-5)


def test_a_map_made_of_another_one_is_not_counted_twice() -> None:
    image = keras.Input((8, 8, 1), name="image")
    x = keras.layers.Conv2D(3, 3, name="top")(image)
    squares = keras.layers.Multiply(name="squares")([x, x])
    pool = keras.layers.GlobalAveragePooling2D
    joined = keras.layers.Concatenate()([pool()(x), pool()(squares)])
    network = Explained(drawn(keras.Model(image, keras.layers.Dense(2)(joined))))
    assert [network.name_of(n) for n in network.last_maps()] == ["top"]


def test_last_maps() -> None:
    both = Explained(ensemble([classifier(seed=1), classifier(seed=2)]))
    assert [both.name_of(n) for n in both.last_maps()] == ["member_0/top", "member_1/top"]
    assert [Explained(segmenter()).name_of(n) for n in Explained(segmenter()).last_maps()] == [
        "low"
    ]


def test_pieces_of_a_map_are_no_map() -> None:
    image = keras.Input((8, 8, 1), name="image")
    x = keras.layers.Conv2D(3, 3, strides=2, padding="same", name="low")(image)
    pieces = keras.ops.split(x, 4, axis=1)
    whole = keras.layers.Concatenate(axis=1, name="whole")([pieces[k] for k in (3, 2, 1, 0)])
    up = keras.layers.UpSampling2D(name="up")(whole)
    model = keras.Model(image, keras.layers.Conv2D(2, 1, name="logits")(up))
    network = Explained(model)
    assert [network.name_of(n) for n in network.last_maps()] == ["whole"]


def test_layers_that_depend_on_each_other() -> None:
    model = classifier()
    network = Explained(model)
    x = images(model)
    points = (*network.program.find("first"), *network.program.find("top"))
    _, values, gradients = network.gradients(x, one_hot(0), layers=points)
    for point, value, gradient in zip(points, values, gradients, strict=True):
        _, (own,), (lone,) = network.gradients(x, one_hot(0), layers=[point])
        assert np.ptp(lone) > 0
        assert np.allclose(value, own)
        assert np.allclose(gradient, lone)


def test_refusals() -> None:
    network = Explained(classifier())
    with pytest.raises(ExplainError, match=r"no layer 'tpo'; did you mean 'top'"):
        network.program.find("tpo")
    with pytest.raises(ExplainError, match="no feature map over places"):
        network.program.find("pool")
    with pytest.raises(ExplainError, match="no output 'P2'; it has P0, P1"):
        Explained(segmenter(), output="P2")
    image = keras.Input((7,))
    with pytest.raises(ExplainError, match="no functional network of one picture or volume"):
        Explained(keras.Model(image, keras.layers.Dense(2)(image)))
    side = Explained(segmenter(), output="P1")
    with pytest.raises(ExplainError, match="does not depend on joined"):
        side.gradients(
            images(side.model), np.ones((1, 8, 8, 3)), layers=side.program.find("joined")
        )
