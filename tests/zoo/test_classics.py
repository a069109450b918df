"""Sizes and parameter counts as published, and that the small ones learn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from zoo.classics import alexnet, lenet5, multilayer_perceptron
from zoo.errors import ZooError

ALEXNET = {1: 62_378_344, 2: 60_965_224}


def alexnet_parameters(groups: int, *, width: float = 1.0, classes: int = 1000) -> int:
    """Closed form: kernels and biases of five convolutions and three dense layers."""
    a, b, c, d, e, f = (round(width * n) for n in (96, 256, 384, 384, 256, 4096))
    convolutions = [(11, 3, a), (5, a // groups, b), (3, b, c), (3, c // groups, d)]
    convolutions.append((3, d // groups, e))
    dense = [(36 * e, f), (f, f), (f, classes)]
    count = sum(k * k * i * o + o for k, i, o in convolutions)
    return count + sum(i * o + o for i, o in dense)


def shapes(model: keras.Model, *names: str) -> list[tuple[int, ...]]:
    """Shapes of the outputs of layers, without the batch."""
    return [tuple(model.get_layer(name).output.shape[1:]) for name in names]


def test_lenet5_has_the_sizes_of_the_paper_and_61706_parameters() -> None:
    model = lenet5()
    assert model.count_params() == 61_706
    assert [model.get_layer(name).count_params() for name in ("c1", "c3", "c5", "f6")] == [
        156,
        2_416,
        48_120,
        10_164,
    ]
    assert shapes(model, "c1", "s2", "c3", "s4", "c5", "f6", "logits") == [
        (28, 28, 6),
        (14, 14, 6),
        (10, 10, 16),
        (5, 5, 16),
        (120,),
        (84,),
        (10,),
    ]


def test_alexnet_has_the_published_number_of_parameters() -> None:
    """The closed form gives the published figures, and a narrow network follows it."""
    for groups, published in ALEXNET.items():
        assert alexnet_parameters(groups) == published
        narrow = alexnet(width=1 / 16, groups=groups, classes=7)
        assert narrow.count_params() == alexnet_parameters(groups, width=1 / 16, classes=7)
    assert shapes(narrow, "conv1", "pool1", "conv2", "pool2", "conv5", "pool5") == [
        (55, 55, 6),
        (27, 27, 6),
        (27, 27, 16),
        (13, 13, 16),
        (13, 13, 16),
        (6, 6, 16),
    ]


@pytest.mark.big
@pytest.mark.parametrize("groups", [1, 2])
def test_whole_alexnet(groups: int) -> None:
    model = alexnet(groups=groups)
    assert model.count_params() == ALEXNET[groups]
    assert np.isfinite(np.asarray(model(np.zeros((1, 227, 227, 3), "float32")))).all()


def test_perceptron_is_the_product_of_its_matrices() -> None:
    model = multilayer_perceptron(input_shape=(4, 5, 1), classes=3, hidden=(6, 7), dropout=0.5)
    assert model.count_params() == 20 * 6 + 6 + 6 * 7 + 7 + 7 * 3 + 3
    image = np.random.default_rng(0).uniform(0, 255, (2, 4, 5, 1)).astype("float32")
    x = image.reshape(2, -1) / 255
    for name in ("hidden1", "hidden2", "logits"):
        kernel, bias = model.get_layer(name).get_weights()
        x = x @ kernel + bias
        x = x if name == "logits" else np.maximum(x, 0)
    np.testing.assert_allclose(model(image), x, rtol=1e-4, atol=1e-6)


MAKERS: dict[str, Callable[[], keras.Model]] = {
    "perceptron": lambda: multilayer_perceptron(input_shape=(16, 16, 1), classes=2, hidden=(16,)),
    "lenet5": lambda: lenet5(input_shape=(16, 16, 1), classes=2, activation="relu"),
    "alexnet": lambda: alexnet(
        input_shape=(67, 67, 1), classes=2, width=1 / 16, norm="batch", dropout=0.0
    ),
}


@pytest.mark.parametrize("name", MAKERS)
def test_learns_saves_and_opens_in_plain_keras(name: str, tmp_path: Path) -> None:
    """A bright half, left or right."""
    keras.utils.set_random_seed(1)
    model = MAKERS[name]()
    side = model.input.shape[1]
    labels = np.arange(8) % 2
    images = np.random.default_rng(2).uniform(0, 80, (8, side, side, 1)).astype("float32")
    for image, label in zip(images, labels, strict=True):
        image[:, label * side // 2 : (label + 1) * side // 2] += 170
    model.compile(
        keras.optimizers.Adam(5e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    seen = model.fit(images, labels, epochs=9, batch_size=8, verbose=0).history["loss"]
    assert seen[-1] < 0.6 * seen[0]
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(again(images), model(images))


def test_input_range_is_scaled_inside() -> None:
    first = multilayer_perceptron(input_shape=(6,), classes=2, input_range=(-1000.0, 400.0))
    second = multilayer_perceptron(input_shape=(6,), classes=2)
    second.set_weights(first.get_weights())
    hounsfield = np.array([[-1000, -300, 0, 40, 200, 400]], "float32")
    np.testing.assert_allclose(
        first(hounsfield), second((hounsfield + 1000) / 1400 * 255), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lenet5(input_shape=(15, 16, 1)), "too small: at least 16"),
        (lambda: lenet5(input_shape=(None, 16, 1)), "fixed sides"),
        (lambda: lenet5(input_shape=(16, 16)), "is not \\(height, width, channels\\)"),
        (lambda: lenet5(classes=0), "classes is 0"),
        (lambda: alexnet(input_shape=(66, 67, 3)), "at least 67"),
        (lambda: alexnet(groups=3), "groups 3 must be 1 or 2"),
        (lambda: alexnet(norm="lrn"), "norm 'lrn'"),
        (lambda: alexnet(dropout=1), "dropout is 1"),
        (lambda: multilayer_perceptron(input_shape=(4,), classes=2, hidden=(0,)), "hidden"),
        (lambda: lenet5(input_range=(1.0, 1.0)), "is empty"),
    ],
)
def test_refused_arguments(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ZooError, match=message):
        make()
