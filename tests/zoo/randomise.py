"""Random weights through which a signal survives, and errors relative to the maximum."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from zoo.preprocessing import IMAGENET_MEAN, IMAGENET_STD


def randomise(model: keras.Model, images: np.ndarray, rng: np.random.Generator) -> None:
    """Draw weights so that the signal survives to the top and every constant matters."""
    layers: list[keras.Layer] = []
    for layer in model.layers:
        layers += layer.layers if isinstance(layer, keras.Sequential) else [layer]
    norms = [one for one in layers if isinstance(one, keras.layers.BatchNormalization)]
    for one in layers:
        if isinstance(one, keras.layers.Normalization) and one.weights:
            # as a published file has them
            one.set_weights([np.array(IMAGENET_MEAN), np.array(IMAGENET_STD), np.zeros(())])
            one.finalize_state()
        else:
            one.set_weights([_draw(one, weight, rng) for weight in one.weights])
    # One training pass sets the statistics to those of a batch, so that each norm normalises;
    # the floor keeps channels that hardly vary from being blown up.
    with pytest.MonkeyPatch.context() as patch:
        for one in layers:
            if isinstance(one, keras.layers.Dropout):
                patch.setattr(one, "rate", 0.0)
        for one in norms:
            patch.setattr(one, "momentum", 0.0)
        model(np.concatenate([images, images[:, ::-1], images[:, :, ::-1]]), training=True)
    for one in norms:
        variance = one.moving_variance.numpy()
        noise = rng.uniform(0.8, 1.2, variance.shape)
        one.moving_variance.assign(noise * variance + 0.3 * variance.mean())


def _draw(layer: keras.Layer, weight: Any, rng: np.random.Generator) -> np.ndarray:
    shape = tuple(weight.shape)
    if "kernel" in weight.name:
        depthwise = weight.name == "depthwise_kernel" or getattr(layer, "groups", 1) > 1
        fan_in = np.prod(shape[:2] if depthwise else shape[:-1])
        return rng.normal(0.0, np.sqrt(2.0 / fan_in), shape)
    if weight.name in ("bias", "beta", "moving_mean"):
        return rng.normal(0.0, 0.1, shape)
    return rng.uniform(0.5, 1.5, shape)


def error(found: np.ndarray, wanted: np.ndarray) -> float:
    """Largest deviation relative to the largest value."""
    assert np.isfinite(wanted).all()
    assert np.ptp(wanted) > 0
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())
