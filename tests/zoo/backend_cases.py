"""What every backend must compute alike: models on fixed weights and pixels, as plain arrays."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

import zoo
from zoo.losses import (
    Dice,
    DiceCrossentropy,
    Focal,
    MaskedCrossentropy,
    TopKCrossentropy,
    Tversky,
)

Arrays = dict[str, np.ndarray]
SIZE = 32


def pixels(*shape: int) -> np.ndarray:
    """Noise in 0-255, the same for the same shape: ``(2, *shape)`` float32."""
    rng = np.random.default_rng(sum(shape))
    return rng.uniform(0.0, 255.0, (2, *shape)).astype("float32")


def settle(model: keras.Model) -> None:
    """Give every weight a value that depends on its layer and shape alone; norms hardly scale."""
    for layer in model.layers:
        rng = np.random.default_rng(zlib.crc32(layer.name.encode()))
        layer.set_weights([_draw(weight, rng) for weight in layer.weights])


def _draw(weight: Any, rng: np.random.Generator) -> np.ndarray:
    shape = tuple(weight.shape)
    if len(shape) > 1:
        window = shape[:-2] if weight.name == "depthwise_kernel" else shape[:-1]
        return rng.normal(0.0, np.sqrt(2.0 / np.prod(window)), shape)
    if weight.name in ("gamma", "moving_variance", "scale", "exponent"):
        return rng.uniform(0.8, 1.2, shape)
    return rng.normal(0.0, 0.1, shape)


def run(model: keras.Model, image: np.ndarray) -> Arrays:
    """Call a model and fetch what it gives, the single output as ``"output"``."""
    outputs = model(image)
    named = outputs if isinstance(outputs, dict) else {"output": outputs}
    return {key: keras.ops.convert_to_numpy(value) for key, value in named.items()}


def sample(value: np.ndarray) -> np.ndarray:
    """Some hundred values, evenly taken, so that the golden file stays small."""
    flat = np.asarray(value, "float32").ravel()
    return flat[:: max(1, flat.size // 300)]


def _channels(folder: Path) -> Arrays:
    path = folder / "tiny.weights.h5"
    published = zoo.create_backbone("tiny", input_shape=(SIZE, SIZE, 3), weights=None)
    settle(published)
    published.save_weights(path)
    found: Arrays = {}
    for channels, depth in ((1, 0), (4, 0), (1, 16), (3, 16)):
        shape = ((depth,) if depth else ()) + (SIZE, SIZE, channels)
        strides = (1, 1, 2, 2) if channels == 3 else None
        model = zoo.create_backbone(
            "tiny", input_shape=shape, weights=path, dims=3 if depth else 2, depth_strides=strides
        )
        for name, value in run(model, pixels(*shape)).items():
            found[f"{channels}x{depth}_{name}"] = value
    return found


def _heads(folder: Path) -> Arrays:
    found: Arrays = {}
    for pooling in ("avg", "max", "stats", "gem", "attention"):
        model = zoo.create_model(
            "tiny", input_shape=(SIZE, SIZE, 3), classes=3, weights=None, pooling=pooling, hidden=8
        )
        settle(model)
        found[pooling] = run(model, pixels(SIZE, SIZE, 3))["output"]
    for task in ("ordinal", "regression", "embedding"):
        model = zoo.create_model(
            "tiny", input_shape=(SIZE, SIZE, 3), classes=3, weights=None, task=task
        )
        settle(model)
        found[task] = run(model, pixels(SIZE, SIZE, 3))["output"]
    return found


def _lite(folder: Path) -> Arrays:
    model = zoo.create_backbone("efficientnet_lite0", input_shape=(SIZE, SIZE, 1), weights=None)
    settle(model)
    return run(model, pixels(SIZE, SIZE, 1))


def _steps(folder: Path) -> Arrays:
    model = zoo.create_model(
        "tiny", input_shape=(SIZE, SIZE, 3), classes=2, weights=None, dropout=0.0
    )
    settle(model)
    model.compile(
        optimizer=keras.optimizers.SGD(0.01),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    image, labels = pixels(SIZE, SIZE, 3), np.array([0, 1])
    losses = [float(np.ravel(model.train_on_batch(image, labels))[0]) for _ in range(3)]
    return {"losses": np.array(losses), "logits": model.predict_on_batch(image)}


def _losses(folder: Path) -> Arrays:
    rng = np.random.default_rng(0)
    logits = rng.normal(0.0, 2.0, (2, 6, 6, 3)).astype("float32")
    classes = rng.integers(0, 3, (2, 6, 6)).astype("int32")
    labels = rng.integers(0, 2, (2, 6, 6, 3)).astype("float32")
    labels[0, :2] = np.nan
    found = {
        type(loss).__name__: loss(classes, logits)
        for loss in (Dice(), DiceCrossentropy(), Tversky(), Focal(), TopKCrossentropy())
    }
    found["masked"] = MaskedCrossentropy()(labels, logits)
    values = {name: keras.ops.convert_to_numpy(value) for name, value in found.items()}
    return {"values": np.array([float(values[name]) for name in sorted(values)])}


CASES: dict[str, Callable[[Path], Arrays]] = {
    "channels": _channels,
    "heads": _heads,
    "losses": _losses,
    "lite": _lite,
    "steps": _steps,
}
