"""Classification heads on the backbones of the registry."""

from __future__ import annotations

from pathlib import Path

import keras

from zoo.backbones import build_pyramid, check_input, level
from zoo.errors import ZooError
from zoo.registry import get_spec
from zoo.weights.loading import apply_weights, find_weights

_POOLINGS = {
    "avg": keras.layers.GlobalAveragePooling2D,
    "max": keras.layers.GlobalMaxPooling2D,
}


def create_model(
    name: str,
    *,
    input_shape: tuple[int | None, int | None, int],
    classes: int,
    weights: str | Path | None = "imagenet",
    dropout: float = 0.2,
    input_range: tuple[float, float] = (0.0, 255.0),
    pooling: str = "avg",
) -> keras.Model:
    """Build a classifier: one flat graph of built-in layers from pixels to logits.

    Args:
        name: Registered name of the backbone.
        input_shape: ``(height, width, channels)``, as for ``create_backbone``.
        classes: Number of logits; 1 for a binary task with one logit.
        weights: Weights of the backbone, as for ``create_backbone``; the head is always new.
        dropout: Rate before the last layer, in [0, 1).
        input_range: Lower and upper bound of the input in modality units, for example
            ``(-1000.0, 1000.0)`` HU. Values are clipped to it and scaled to 0-255 inside. With
            ``(0.0, 255.0)`` the input is taken as it is.
        pooling: ``"avg"`` or ``"max"`` over the top feature map.

    Returns:
        A functional model ``<name>_classifier``: input ``image``, float32
        ``(batch, height, width, channels)``; output ``logits``, float32 ``(batch, classes)``,
        without an activation. The head's layers are ``pool``, ``dropout`` and ``logits``.

    Raises:
        ZooError: As ``create_backbone`` does, and for arguments out of range.
    """
    spec = get_spec(name)
    check_input(spec, input_shape, weights)
    _check_head(classes, dropout, input_range, pooling)
    found = find_weights(spec, weights)
    image = keras.Input(input_shape, name="image", dtype="float32")
    pyramid = build_pyramid(spec, _to_pixels(image, input_range))
    apply_weights(keras.Model(image, pyramid, name=spec.name), spec, found)
    x = pyramid[level(spec.taps[-1][0])]
    x = _POOLINGS[pooling](name="pool")(x)
    x = keras.layers.Dropout(dropout, name="dropout")(x)
    x = keras.layers.Dense(classes, dtype="float32", name="logits")(x)
    return keras.Model(image, x, name=f"{spec.name}_classifier")


def split_head(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Cut a classifier behind its pooling, so that features can be computed once and kept.

    Args:
        model: What ``create_model`` returned.

    Returns:
        Two models that share the layers (and so the weights) of ``model``: from the image to the
        pooled features ``(batch, features)``, and from those to the logits. Training the second
        trains the head of ``model``.
    """
    features = keras.Model(model.input, model.get_layer("pool").output, name="features")
    pooled = keras.Input(features.output.shape[1:], name="pooled", dtype=features.output.dtype)
    logits = model.get_layer("logits")(model.get_layer("dropout")(pooled))
    return features, keras.Model(pooled, logits, name="head")


def _to_pixels(image: keras.KerasTensor, input_range: tuple[float, float]) -> keras.KerasTensor:
    """Clip to the range and scale it to 0-255."""
    low, high = (float(bound) for bound in input_range)
    if (low, high) == (0.0, 255.0):
        return image
    scale = 255.0 / (high - low)
    x = keras.layers.Rescaling(scale, offset=-low * scale, name="input_scale")(image)
    return keras.layers.ReLU(max_value=255.0, name="input_clip")(x)


def _check_head(
    classes: int, dropout: float, input_range: tuple[float, float], pooling: str
) -> None:
    if classes < 1:
        raise ZooError(f"classes is {classes}; a classifier needs at least 1 logit")
    if not 0.0 <= dropout < 1.0:
        raise ZooError(f"dropout is {dropout}; it must lie in [0, 1)")
    if pooling not in _POOLINGS:
        raise ZooError(f"unknown pooling {pooling!r}; choose from {sorted(_POOLINGS)}")
    if not input_range[0] < input_range[1]:
        raise ZooError(f"input_range {input_range} is empty; give (lower, upper)")
