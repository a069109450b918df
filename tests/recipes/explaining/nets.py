"""Tiny networks with drawn weights, so that every figure can be checked by hand."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt

SIDE = 16


def drawn(model: keras.Model, seed: int = 0) -> keras.Model:
    """The model with weights of a seed, large enough for a signal to survive."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        shape = tuple(weight.shape)
        if weight.name == "moving_variance":
            value = rng.uniform(0.5, 1.5, shape)
        else:
            fan = float(np.prod(shape[:-1])) if len(shape) > 1 else 4.0
            value = rng.normal(0, np.sqrt(2 / fan), shape)
        weight.assign(value.astype("float32"))
    return model


def classifier(
    *, activation: str = "relu", classes: int = 3, dims: int = 2, name: str = "net", seed: int = 0
) -> keras.Model:
    """Two convolutions, a norm, global average pooling and a linear head ``logits``."""
    convolution = {2: keras.layers.Conv2D, 3: keras.layers.Conv3D}[dims]
    pool = {2: keras.layers.GlobalAveragePooling2D, 3: keras.layers.GlobalAveragePooling3D}[dims]
    image = keras.Input((SIDE,) * dims + (2,), name="image")
    x = convolution(4, 3, padding="same", activation=activation, name="first")(image)
    x = convolution(6, 3, strides=2, padding="same", use_bias=False, name="second")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Activation(activation, name="top")(x)
    x = pool(name="pool")(x)
    x = keras.layers.Dropout(0.5, name="dropout")(x)
    return drawn(keras.Model(image, keras.layers.Dense(classes, name="logits")(x), name=name), seed)


def ensemble(members: list[keras.Model]) -> keras.Model:
    """The mean of models, each a model inside, as a run's file has them."""
    image = keras.Input(members[0].input_shape[1:], name="image")
    branches = [
        keras.Model(one.inputs[0], one.outputs[0], name=f"member_{k}")(image)
        for k, one in enumerate(members)
    ]
    return keras.Model(image, keras.layers.Average(name="mean")(branches), name="joined")


def segmenter(*, dims: int = 2, classes: int = 3, seed: int = 0) -> keras.Model:
    """A U-Net of one level, with deep supervision's two outputs ``P0`` and ``P1``."""
    convolution = {2: keras.layers.Conv2D, 3: keras.layers.Conv3D}[dims]
    enlarge = {2: keras.layers.UpSampling2D, 3: keras.layers.UpSampling3D}[dims]
    image = keras.Input((SIDE,) * dims + (1,), name="image")
    skip = convolution(4, 3, padding="same", activation="relu", name="down")(image)
    low = convolution(6, 3, strides=2, padding="same", activation="relu", name="low")(skip)
    up = enlarge(2, name="up")(low)
    x = keras.layers.Concatenate(name="joined")([skip, up])
    outputs = {
        "P0": convolution(classes, 1, name="P0")(x),
        "P1": convolution(classes, 1, name="P1")(low),
    }
    return drawn(keras.Model(image, outputs, name="segmenter"), seed)


def images(model: keras.Model, count: int = 2, seed: int = 5) -> npt.NDArray[np.float32]:
    """Fresh random pictures for a model."""
    shape = (count, *model.input_shape[1:])
    return np.random.default_rng(seed).normal(0.3, 1.0, shape).astype(np.float32)


def one_hot(k: int, classes: int = 3) -> npt.NDArray[np.float32]:
    """Weights of the logit of a class, for all pictures of a batch."""
    return np.eye(classes, dtype=np.float32)[k][None]


def plain(tensor: Any) -> npt.NDArray[np.float32]:
    """A tensor as an array."""
    return np.asarray(keras.ops.convert_to_numpy(tensor), np.float32)
