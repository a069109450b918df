"""Precision of a network: mixed policies while it trains, float32 when it is kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

from zoo.errors import ZooError

_POLICIES = {"float32": "float32", "float16": "mixed_float16", "bfloat16": "mixed_bfloat16"}
PRECISIONS = tuple(_POLICIES)
FIRST_SCALE = 2.0**10
"""Factor on a float16 loss at first. A run here has hundreds of steps, not tens of thousands: a
larger one would lose the first of them to overflow while it is halved."""
GROWTH_STEPS = 200
"""Steps without overflow after which the factor doubles."""


@contextmanager
def building_in(precision: str) -> Iterator[None]:
    """Give the layers that are built inside a precision; the policy before is back afterwards.

    Weights are float32 under each of them; ``"float16"`` and ``"bfloat16"`` compute in that type
    (mixed precision, Micikevicius et al., arXiv:1710.03740).

    Args:
        precision: One of ``PRECISIONS``.

    Raises:
        ZooError: For another word.
    """
    if precision not in _POLICIES:
        raise ZooError(f"unknown precision {precision!r}; choose from {', '.join(PRECISIONS)}")
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(_POLICIES[precision])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def computes_in_float16(model: keras.Model) -> bool:
    """Tell whether a layer of the model, nested ones included, computes in float16."""
    return any(
        computes_in_float16(layer)
        if isinstance(layer, keras.Model)
        else getattr(layer, "compute_dtype", None) == "float16"
        for layer in model.layers
    )


def scale_loss(optimizer: keras.Optimizer, model: keras.Model) -> keras.Optimizer:
    """Wrap the optimizer of a float16 model so that small gradients do not become zero.

    Args:
        optimizer: Any optimizer.
        model: What it trains.

    Returns:
        A ``LossScaleOptimizer`` around it for a model that computes in float16, else itself.
    """
    if computes_in_float16(model):
        return keras.optimizers.LossScaleOptimizer(
            optimizer, initial_scale=FIRST_SCALE, dynamic_growth_steps=GROWTH_STEPS
        )
    return optimizer


def to_float32(model: keras.Model) -> keras.Model:
    """Rebuild a model of built-in layers with the same weights, computing in float32.

    Args:
        model: Of any precision, nested or not; left as it is.

    Returns:
        A new model, not compiled. Its variables live where the caller is now, so that a model of
        several devices becomes one of a single device.
    """
    config = _float32(keras.saving.serialize_keras_object(model))
    rebuilt: keras.Model = keras.saving.deserialize_keras_object(config, safe_mode=True)
    rebuilt.set_weights(model.get_weights())
    return rebuilt


def _float32(config: Any) -> Any:
    """The config with every mixed policy in it replaced, and without losses and optimizers."""
    if isinstance(config, list | tuple):
        return type(config)(_float32(item) for item in config)
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "DTypePolicy":
        name = config.get("config", {}).get("name")
        if name in _POLICIES.values():
            return config | {"config": config["config"] | {"name": "float32"}}
    return {key: _float32(value) for key, value in config.items() if key != "compile_config"}
