"""Small classifiers and segmenters around one backbone: flat or nested, 2D or 3D."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from zoo.spec import BackboneSpec

WIDTHS = (6, 8, 10)
CLASSES = 2
SPEC = BackboneSpec(
    name="three_stages",
    family="test",
    builder="unused:unused",
    taps=tuple((2**i, f"act{i}") for i in range(1, len(WIDTHS) + 1)),
    preprocessing="none",
    min_size=8,
    input_size=16,
    params=0,
    weights=(),
    licence="Apache-2.0",
    paper="none",
)
HEAD = len(WIDTHS) + 1


def side(dims: int) -> tuple[int, ...]:
    """Shape of an input without the batch."""
    return (8,) * dims + (1,)


def _layer(name: str, dims: int) -> Any:
    return getattr(keras.layers, f"{name}{dims}D")


def backbone(image: keras.KerasTensor, dims: int) -> list[keras.KerasTensor]:
    """Three strided convolutions with norms; the last behind a 1x1 convolution with a bias."""
    x, maps = image, []
    for i, width in enumerate(WIDTHS, 1):
        if i == len(WIDTHS):
            x = _layer("Conv", dims)(width, 1, name="mix")(x)
        x = _layer("Conv", dims)(
            width, 3, strides=2, padding="same", use_bias=False, name=f"conv{i}"
        )(x)
        x = keras.layers.BatchNormalization(name=f"norm{i}")(x)
        x = keras.layers.ReLU(name=f"act{i}")(x)
        maps.append(x)
    return maps


def _classify(maps: list[keras.KerasTensor], dims: int) -> keras.KerasTensor:
    x = _layer("GlobalAveragePooling", dims)(name="pool")(maps[-1])
    return keras.layers.Dense(CLASSES, dtype="float32", name="logits")(x)


def _segment(maps: list[keras.KerasTensor], dims: int) -> keras.KerasTensor:
    x = maps[-1]
    for i, lower in ((2, maps[1]), (1, maps[0])):
        x = _layer("UpSampling", dims)(2, name=f"up{i}")(x)
        x = keras.layers.Concatenate(name=f"join{i}")([x, lower])
        x = _layer("Conv", dims)(4, 3, padding="same", activation="relu", name=f"decode{i}")(x)
    return _layer("Conv", dims)(CLASSES, 1, dtype="float32", name="logits")(x)


def build(
    *, dims: int = 2, task: str = "classify", nested: bool = False, seed: int = 0
) -> keras.Model:
    """A network with weights through which the signal survives."""
    tail = {"classify": _classify, "segment": _segment}[task]
    image = keras.Input(side(dims), name="image")
    pixels = keras.layers.Rescaling(1.0, name="scale")(image)
    if nested:
        inner = keras.Input(side(dims), name="inner")
        maps = keras.Model(inner, backbone(inner, dims), name="body")(pixels)
    else:
        maps = backbone(pixels, dims)
    model = keras.Model(image, tail(maps, dims), name=task)
    draw(model, seed)
    return model


def draw(model: keras.Model, seed: int) -> None:
    """Draw every weight anew."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.name == "kernel":
            value = rng.normal(0, np.sqrt(2 / np.prod(weight.shape[:-1])), weight.shape)
        elif weight.name in ("gamma", "moving_variance"):
            value = rng.uniform(0.7, 1.3, weight.shape)
        else:
            value = rng.normal(0, 0.1, weight.shape)
        weight.assign(value)


def batch(dims: int = 2, *, size: int = 4, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and one-hot truths of a classifier."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(size, *side(dims))).astype("float32")
    return x, np.eye(CLASSES, dtype="float32")[rng.integers(0, CLASSES, size)]


def compiled(model: keras.Model, optimizer: keras.Optimizer) -> keras.Model:
    """The model with a loss, eager, so that a test does not wait for a graph."""
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, run_eagerly=True, auto_scale_loss=False)
    return model


def array(value: Any, dtype: str | None = None) -> np.ndarray:
    """A copy of a variable or tensor."""
    return np.array(keras.ops.convert_to_numpy(value), dtype)


def values(model: keras.Model) -> dict[str, np.ndarray]:
    """Every weight by its path."""
    return {w.path: array(w) for w in model.weights}
