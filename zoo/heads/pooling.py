"""From a feature map in the plane or in space to one vector per case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import layers, ops

from zoo.errors import ZooError
from zoo.naming import named

GEM_EXPONENT = 3.0
"""Where the learned exponent starts (Radenović et al., arXiv:1711.02512)."""
GEM_FLOOR = 1e-6
ATTENTION_UNITS = 128
"""Width of the two branches (Ilse et al., arXiv:1802.04712)."""

_AVERAGE = {4: layers.GlobalAveragePooling2D, 5: layers.GlobalAveragePooling3D}
_MAXIMUM = {4: layers.GlobalMaxPooling2D, 5: layers.GlobalMaxPooling3D}
_CONVOLUTION = {4: layers.Conv2D, 5: layers.Conv3D}
_PLAIN = {"avg": _AVERAGE, "max": _MAXIMUM}
LEARNED = ("gem", "attention")
"""Poolings with weights of their own: they train with the map before them, not behind it."""


def pool_maps(maps: Sequence[tuple[str, keras.KerasTensor]], pooling: str) -> keras.KerasTensor:
    """Pool every map to a vector and join the vectors.

    All poolings compute in float32, whatever the policy: sums over a large map and squares of
    large features leave the range of float16.

    Args:
        maps: ``(name, (batch, [depth,] height, width, channels))``, in the order of the result.
        pooling: One of ``POOLINGS``: ``"avg"``, ``"max"``; ``"stats"``, mean and standard
            deviation; ``"gem"``, the generalised mean with one learned exponent a map
            (arXiv:1711.02512), features at or below 0 counting as 1e-6; ``"attention"``, a mean
            weighted by gated attention (arXiv:1802.04712).

    Returns:
        ``(batch, features)``, from the layer ``pool``.
    """
    check_pooling(pooling)
    alone = len(maps) == 1
    if alone and pooling in _PLAIN:
        x = maps[0][1]
        return _PLAIN[pooling][len(x.shape)](dtype="float32", name="pool")(x)
    parts = []
    for name, x in maps:
        parts += _POOLERS[pooling](x, "" if alone and pooling in LEARNED else f"_{name}")
    if len(parts) == 1:
        return layers.Activation("linear", dtype="float32", name="pool")(parts[0])
    return layers.Concatenate(dtype="float32", name="pool")(parts)


def check_pooling(pooling: str) -> None:
    """Refuse a pooling that does not exist.

    Raises:
        ZooError: Naming the choices.
    """
    if pooling not in POOLINGS:
        raise ZooError(f"unknown pooling {pooling!r}; choose from {sorted(POOLINGS)}")


def attention_map(model: keras.Model, *, level: str | None = None) -> keras.Model:
    """Give the model that shows where attention pooling looks.

    Args:
        model: What ``create_model`` returned with ``pooling="attention"``.
        level: The pyramid level, where several are pooled.

    Returns:
        A model from the input of ``model``, sharing its layers, to float32 weights
        ``(batch, [depth,] height, width)`` on the grid of the pooled map; they sum to 1.

    Raises:
        ZooError: When the model has no such layer.
    """
    there = [layer.name for layer in model.layers if layer.name.split("_P")[0] == "attention"]
    wanted = "attention" if level is None else f"attention_{level}"
    if level is not None and there == ["attention"]:
        wanted = "attention"
    if wanted not in there:
        choices = ", ".join(there) or "none; build it with pooling='attention'"
        raise ZooError(f"model {model.name!r} has no attention map {wanted!r}; it has {choices}")
    weights = model.get_layer(wanted).output
    shown = named(ops.squeeze(weights, axis=-1), "attention_map")
    return keras.Model(model.input, shown, name="attention_map")


def gem_exponents(model: keras.Model) -> dict[str, float]:
    """Read the learned exponents of generalised-mean pooling.

    Returns:
        Name of the layer (``gem_exponent``, or ``gem_exponent_P4`` with several levels) -> p;
        1 is the mean, infinity the maximum. Empty without such pooling.
    """
    return {
        layer.name: GEM_EXPONENT * float(ops.exp(layer.kernel[0, 0]))
        for layer in model.layers
        if layer.name.startswith("gem_exponent") and layer.weights
    }


def _plain(pooling: str) -> Callable[[keras.KerasTensor, str], list[keras.KerasTensor]]:
    def pool(x: keras.KerasTensor, suffix: str) -> list[keras.KerasTensor]:
        return [_PLAIN[pooling][len(x.shape)](dtype="float32", name=f"pool{suffix}")(x)]

    return pool


def _stats(x: keras.KerasTensor, suffix: str) -> list[keras.KerasTensor]:
    average = _AVERAGE[len(x.shape)]
    mean = average(dtype="float32", name=f"mean{suffix}")(x)
    squares = layers.Multiply(dtype="float32", name=f"squares{suffix}")([x, x])
    power = average(dtype="float32", name=f"power{suffix}")(squares)
    squared = named(ops.square(mean), f"mean_square{suffix}")
    variance = named(ops.subtract(power, squared), f"variance{suffix}")
    # The floor keeps the gradient of the root finite where a channel is flat.
    variance = named(ops.maximum(variance, 1e-5), f"variance_floor{suffix}")
    return [mean, named(ops.sqrt(variance), f"deviation{suffix}")]


def _gem(x: keras.KerasTensor, suffix: str) -> list[keras.KerasTensor]:
    """Mean of powers of the share of the maximum: neither overflows nor divides by 0."""
    axes = tuple(range(1, len(x.shape) - 1))
    x = layers.Activation("linear", dtype="float32", name=f"gem_input{suffix}")(x)
    x = named(ops.maximum(x, GEM_FLOOR), f"gem_floor{suffix}")
    peak = named(ops.max(x, axis=axes, keepdims=True), f"gem_peak{suffix}")
    share = named(ops.divide(x, peak), f"gem_share{suffix}")
    one = constant_one(peak, f"gem_one{suffix}")
    growth = learned(1, "exponential", f"gem_exponent{suffix}")(one)
    exponent = named(ops.multiply(growth, GEM_EXPONENT), f"gem_p{suffix}")
    powers = named(ops.power(share, exponent), f"gem_power{suffix}")
    mean = _AVERAGE[len(x.shape)](keepdims=True, dtype="float32", name=f"gem_mean{suffix}")(powers)
    inverse = named(ops.reciprocal(exponent), f"gem_inverse{suffix}")
    root = named(ops.power(mean, inverse), f"gem_root{suffix}")
    pooled = layers.Multiply(dtype="float32", name=f"gem_mean_of_powers{suffix}")([peak, root])
    return [layers.Flatten(dtype="float32", name=f"gem{suffix}")(pooled)]


def _attention(x: keras.KerasTensor, suffix: str) -> list[keras.KerasTensor]:
    axes = tuple(range(1, len(x.shape) - 1))
    convolution = _CONVOLUTION[len(x.shape)]

    def branch(kind: str, activation: str) -> Any:
        name = f"attention_{kind}{suffix}"
        return convolution(ATTENTION_UNITS, 1, activation=activation, name=name)(x)

    gated = layers.Multiply(name=f"attention_gated{suffix}")(
        [branch("value", "tanh"), branch("gate", "sigmoid")]
    )
    # A bias would cancel in the softmax.
    score = convolution(1, 1, use_bias=False, dtype="float32", name=f"attention_score{suffix}")
    weights = layers.Softmax(axis=axes, dtype="float32", name=f"attention{suffix}")(score(gated))
    shared = layers.Multiply(dtype="float32", name=f"attention_share{suffix}")([x, weights])
    return [named(ops.sum(shared, axis=axes), f"attention_sum{suffix}")]


def constant_one(like: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """A 1 per case, ``(batch, 1, ..)`` with as many axes as ``like``."""
    axes = tuple(range(1, len(like.shape)))
    one_each = named(ops.max(like, axis=axes, keepdims=True), f"{name}_of")
    return named(ops.ones_like(one_each), name)


def learned(count: int, activation: str, name: str) -> keras.layers.Dense:
    """A layer whose output on a constant 1 is ``count`` learned numbers, at first those of 0.

    Weight decay draws the numbers to where they start, not to 0.
    """
    return layers.Dense(
        count,
        use_bias=False,
        activation=activation,
        kernel_initializer="zeros",
        dtype="float32",
        name=name,
    )


_POOLERS: dict[str, Callable[[keras.KerasTensor, str], list[keras.KerasTensor]]] = {
    "avg": _plain("avg"),
    "max": _plain("max"),
    "stats": _stats,
    "gem": _gem,
    "attention": _attention,
}
POOLINGS = tuple(_POOLERS)
