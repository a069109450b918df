"""Tiny networks whose signal survives, for the tests of inference."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from zoo.unets import unet


def random_image(*shape: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Standard normal values."""
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def shaken(model: keras.Model, seed: int = 1) -> keras.Model:
    """Random weights, norms included, that keep the signal's size from layer to layer."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        shape = tuple(weight.shape)
        if "moving_variance" in weight.path or "gamma" in weight.path:
            weight.assign(rng.uniform(0.5, 1.5, shape))
        elif "kernel" in weight.path:
            weight.assign(rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[:-1])))
        else:
            weight.assign(rng.normal(size=shape) * 0.3)
    return model


def tiny_unet(*shape: int, widths: tuple[int, ...] = (2, 3), **options: Any) -> keras.Model:
    """A U-Net of ``(*spatial, channels)`` with three classes."""
    return shaken(unet(input_shape=shape, classes=3, widths=widths, **options))


def apart(found: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> float:
    """Largest difference as a part of the largest wanted value."""
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())
