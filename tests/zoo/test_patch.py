"""Dense networks against the sliding window at every position, and what cannot be dense."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from zoo.errors import NotExactError, ZooError
from zoo.patch import patch_classifier, patch_field, to_dense


def randomise(model: keras.Model, *, seed: int = 0) -> keras.Model:
    """Weights and statistics of norms that differ and let the signal through."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        for weight in layer.weights:
            if weight.name in ("gamma", "moving_variance"):
                value = rng.uniform(0.5, 1.5, weight.shape)
            elif len(weight.shape) > 1:
                value = rng.normal(0, np.sqrt(2 / np.prod(weight.shape[:-1])), weight.shape)
            else:
                value = rng.normal(0, 0.3, weight.shape)
            weight.assign(value)
    return model


def sliding_window(model: keras.Model, image: np.ndarray) -> np.ndarray:
    """Scores of every patch of ``(*spatial, channels)``, one after the other."""
    sides = model.inputs[0].shape[1:-1]
    axes = tuple(range(len(sides)))
    windows = np.lib.stride_tricks.sliding_window_view(image, sides, axis=axes)
    places = windows.shape[: len(sides)]
    patches = np.moveaxis(windows, len(sides), -1).reshape(-1, *sides, image.shape[-1])
    return np.asarray(model(patches)).reshape(*places, -1)


def difference(model: keras.Model, dense: keras.Model, more: tuple[int, ...]) -> float:
    """Largest difference of the two on a random image, relative to the largest score."""
    shape = [a + b for a, b in zip(model.inputs[0].shape[1:-1], more, strict=True)]
    image = np.random.default_rng(7).normal(size=(*shape, model.inputs[0].shape[-1]))
    want = sliding_window(model, image.astype("float32"))
    got = np.asarray(dense(image[None].astype("float32")))[0]
    assert got.shape == want.shape
    assert want.std(axis=(0, 1)).min() > 1e-2 * np.abs(want).max()  # scores differ by place
    return float(np.abs(got - want).max() / np.abs(want).max())


def residual() -> keras.Model:
    """Cropped shortcut, depthwise and separable kernels, global pooling, several strides."""
    x = image = keras.Input((22, 19, 2), name="image")
    x = layers.Rescaling(0.5, offset=0.1)(x)
    x = layers.Conv2D(6, 3, strides=(2, 1), activation="relu")(x)
    short = layers.Cropping2D(((1, 1), (2, 2)))(x)
    x = layers.DepthwiseConv2D((3, 5))(x)
    x = layers.LeakyReLU()(layers.BatchNormalization()(x))
    x = layers.Concatenate()([layers.Add()([x, short]), short])
    x = layers.AveragePooling2D(2, strides=(1, 2))(x)
    x = layers.SeparableConv2D(8, 2, strides=2)(x)
    x = layers.PReLU(shared_axes=(1, 2))(layers.LayerNormalization()(x))
    both = [layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)]
    x = layers.BatchNormalization()(layers.Concatenate()(both))
    x = layers.Dense(5, activation="softmax")(layers.Dropout(0.3)(x))
    return keras.Model(image, x, name="residual")


def volume() -> keras.Model:
    """Odd and even sides, strides and a dilation of its own, in space."""
    return keras.Sequential(
        [
            keras.Input((9, 12, 11, 1)),
            layers.Conv3D(4, 3, strides=(1, 2, 2)),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling3D(2),
            layers.Conv3D(6, (2, 1, 2), activation="relu"),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.ReLU(),
            layers.Dense(7, activation="tanh"),
            layers.BatchNormalization(),
            layers.Dense(3, use_bias=False),
        ]
    )


BUILDS: dict[str, tuple[Callable[[], keras.Model], tuple[int, ...]]] = {
    "max": (lambda: patch_classifier(patch_shape=(21, 24, 1), classes=3, widths=(4, 6)), (7, 10)),
    "avg": (
        lambda: patch_classifier(
            patch_shape=(31, 28, 2), classes=2, widths=(3, 4, 5), convolutions=1, reduction="avg"
        ),
        (9, 8),
    ),
    "stride": (
        lambda: patch_classifier(
            patch_shape=(18, 17, 1), classes=2, widths=(4, 6), reduction="stride", hidden=0
        ),
        (6, 9),
    ),
    "volume_max": (
        lambda: patch_classifier(
            patch_shape=(8, 9, 10, 1), classes=2, widths=(3, 4), convolutions=1, hidden=5
        ),
        (3, 4, 5),
    ),
    "residual": (residual, (8, 9)),
    "volume": (volume, (4, 5, 6)),
}


@pytest.mark.parametrize("name", BUILDS)
def test_dense_equals_the_sliding_window_everywhere(name: str) -> None:
    """To 1e-5 of the largest score; one kernel perturbed in the middle, and it does not."""
    build, more = BUILDS[name]
    model = randomise(build())
    dense = to_dense(model)
    assert difference(model, dense, more) < 1e-5
    kernels = [one for one in dense.weights if len(one.shape) > 2]
    middle = kernels[len(kernels) // 2]
    values = middle.numpy()
    middle.assign(np.flip(values, axis=tuple(range(len(values.shape) - 2))) * 1.02)
    assert difference(model, dense, more) > 1e-3


def test_dense_keeps_norms_dropout_and_the_patch_model(tmp_path: Path) -> None:
    model = randomise(BUILDS["max"][0]())
    before = [weight.numpy().copy() for weight in model.weights]
    dense = to_dense(model)
    kinds = {type(layer) for layer in dense.layers}
    assert layers.BatchNormalization in kinds
    assert layers.Dropout in kinds
    assert layers.Dense not in kinds
    assert dense.name == "patch_classifier_dense"
    assert dense.input.shape == (None, None, None, 1)
    assert dense.output.dtype == "float32"
    for weight in dense.weights:
        weight.assign(weight.numpy() + 1)
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(before, model.weights, strict=True))
    dense.save(tmp_path / "dense.keras")
    again = keras.models.load_model(tmp_path / "dense.keras", safe_mode=True)
    image = np.random.default_rng(1).normal(size=(1, 26, 30, 1)).astype("float32")
    np.testing.assert_array_equal(again(image), dense(image))
    assert [one.name for one in to_dense(model).operations] == [o.name for o in dense.operations]


@pytest.mark.parametrize("name", ["max", "avg", "stride", "volume_max"])
def test_field_is_where_the_score_changes(name: str) -> None:
    """Rows of pixels are changed one by one, along each axis."""
    model = BUILDS[name][0]()
    for weight in model.weights:  # all positive: nothing cancels, no ReLU closes
        weight.assign(np.full(weight.shape, 1.0 if "variance" in weight.name else 0.1))
    field = patch_field(model)
    sides = tuple(model.inputs[0].shape[1:-1])
    assert field.patch == sides
    assert field.centre == tuple(side // 2 for side in sides)
    rng = np.random.default_rng(2)
    for axis, side in enumerate(sides):
        changed = np.zeros((side + 1, *model.inputs[0].shape[1:]), "float32")
        for i in range(side):
            row = np.moveaxis(changed[i], axis, 0)[i]
            row[...] = rng.uniform(1, 2, row.shape)
        scores = np.asarray(model(changed))
        change = np.abs(scores[:-1] - scores[-1]).max(axis=1)
        touched = np.flatnonzero(change > 1e-4 * change.max())
        assert touched[0] == field.start[axis]
        assert touched[-1] - touched[0] + 1 == field.receptive_field[axis]


def test_field_of_a_known_network() -> None:
    """Convolutions of 3 and 3, pooling 2, convolutions of 3 and 3: 14 pixels before Flatten."""
    field = patch_field(patch_classifier(patch_shape=(14, 15, 1), classes=2, widths=(4, 6)))
    assert field.receptive_field == (14, 14)
    assert field.stride == (2, 2)
    assert field.centre == (7, 7)
    branches = patch_field(residual())
    assert branches.receptive_field == (19, 18)
    assert branches.start == (0, 0)
    assert branches.stride == (4, 4)


def tail(*middle: Any, flatten: bool = True) -> keras.Model:
    """A model of some layers between an image and a dense layer."""
    last = [layers.Flatten(), layers.Dense(2)] if flatten else []
    return keras.Sequential([keras.Input((8, 8, 4)), *middle, *last])


def self_attention() -> keras.Model:
    """Attention over the places of a patch."""
    x = image = keras.Input((8, 8, 4))
    x = layers.MultiHeadAttention(1, 2, name="guilty")(x, x)
    return keras.Model(image, layers.Dense(2)(layers.Flatten()(x)))


def excited() -> keras.Model:
    """Squeeze and excitation: channels weighted by their mean over the patch."""
    x = image = keras.Input((8, 8, 4))
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = layers.Multiply(name="guilty")([x, gate])
    return keras.Model(image, layers.Dense(2)(layers.Flatten()(x)))


def added() -> keras.Model:
    """An operation instead of a layer."""
    x = image = keras.Input((8, 8, 4))
    return keras.Model(image, layers.Dense(2)(layers.Flatten()(x + 1.0)))


def two_strides() -> keras.Model:
    """Branches of equal size whose places lie differently."""
    x = image = keras.Input((8, 8, 4))
    a = layers.Conv2D(4, 2, strides=2)(x)
    x = layers.Add(name="guilty")([a, layers.Conv2D(4, 5)(x)])
    return keras.Model(image, layers.Dense(2)(layers.Flatten()(x)))


def shared() -> keras.Model:
    """One layer called twice."""
    x = image = keras.Input((8, 8, 4))
    twice = layers.Conv2D(4, 3, name="guilty")
    return keras.Model(image, layers.Dense(2)(layers.Flatten()(twice(twice(x)))))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: tail(layers.Conv2D(4, 3, padding="same", name="guilty")), "'guilty'.*pads"),
        (lambda: tail(layers.MaxPooling2D(3, padding="same", name="guilty")), "'guilty'.*pads"),
        (
            lambda: tail(layers.ZeroPadding2D(name="guilty")),
            "'guilty' .ZeroPadding2D. is not known",
        ),
        (lambda: tail(layers.GroupNormalization(2, name="guilty")), "'guilty'.*not known"),
        (lambda: tail(layers.UpSampling2D(name="guilty")), "'guilty'.*not known"),
        (lambda: tail(layers.Reshape((4, 4, 16), name="guilty")), "'guilty'.*not known"),
        (lambda: tail(layers.LayerNormalization(axis=(1, 2, 3), name="guilty")), "guilty.*axis"),
        (lambda: tail(layers.Softmax(axis=(1, 2), name="guilty")), "'guilty'.*along axis"),
        (lambda: tail(layers.PReLU(name="guilty")), "'guilty'.*slope for every pixel"),
        (
            lambda: tail(layers.Flatten(), layers.BatchNormalization(name="guilty")),
            "guilty.*before",
        ),
        (lambda: tail(tail(flatten=False)), "Sequential"),
        (self_attention, "'guilty' .MultiHeadAttention"),
        (excited, "'guilty'.*lie differently"),
        (two_strides, "'guilty'.*lie differently"),
        (shared, "'guilty'.*more than once"),
        (added, "is an operation on tensors"),
        (lambda: tail(layers.Conv2D(2, 3), flatten=False), "gives a map of"),
        (
            lambda: keras.Sequential([keras.Input((None, 8, 4)), layers.GlobalMaxPooling2D()]),
            "fixed sides",
        ),
    ],
)
def test_what_cannot_be_exact_is_refused(build: Callable[[], keras.Model], message: str) -> None:
    with pytest.raises(NotExactError, match=message):
        to_dense(build())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch_shape": (8, 8, 1)}, "too small.*stage2"),
        ({"patch_shape": (8, 8)}, "is not \\(height, width, channels\\)"),
        ({"patch_shape": (None, 8, 1)}, "is not \\(height"),
        ({"reduction": "mean"}, "unknown reduction 'mean'"),
        ({"widths": ()}, "must be 1 or more"),
        ({"classes": 0}, "classes 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_refused_arguments(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ZooError, match=message):
        patch_classifier(**{"patch_shape": (21, 21, 1), "classes": 2, **change})
