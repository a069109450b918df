"""Small 2D networks to inflate."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from zoo.architectures.inflate import Inflated, inflate


def inflated(
    layer: keras.Layer | list[keras.Layer], shape: tuple[int | None, ...], **options: Any
) -> tuple[keras.Model, Inflated, keras.Model]:
    """Put layers into a 2D network and inflate it: (2D network, inflated, model on the volume)."""
    image = keras.Input(shape[1:])
    flat = keras.Model(image, chained(layer, image))
    volume = keras.Input(shape, name="volume")
    result = inflate(flat, volume, **options)
    return flat, result, result.model


def chained(chain: keras.Layer | list[keras.Layer], x: Any) -> Any:
    for layer in chain if isinstance(chain, list) else [chain]:
        x = layer(x)
    return x


def draw(model: keras.Model, rng: np.random.Generator) -> None:
    for layer in model.layers:
        layer.set_weights(
            [rng.normal(0, np.prod(one.shape[:-1]) ** -0.5, one.shape) for one in layer.weights]
        )


def random_volume(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(0, 1, shape).astype("float32")


def taps(model: keras.Model, name: str, count: int) -> np.ndarray:
    """Collect the taps of a convolution: ``(depth, height, width, channels, filters)``."""
    names = [name] if count == 1 else [f"{name}_tap{tap}" for tap in range(count)]
    return np.stack([model.get_layer(one).get_weights()[0] for one in names])
