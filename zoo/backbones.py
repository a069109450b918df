"""From a registered name to a Keras model with a feature pyramid."""

from __future__ import annotations

import importlib
from pathlib import Path

import keras

from zoo.errors import ZooError
from zoo.preprocessing import preprocess
from zoo.registry import get_spec
from zoo.spec import BackboneSpec
from zoo.weights.loading import apply_weights, find_weights


def create_backbone(
    name: str,
    *,
    input_shape: tuple[int | None, int | None, int],
    weights: str | Path | None = "imagenet",
) -> keras.Model:
    """Build a backbone on 0-255 input, its preprocessing inside.

    Args:
        name: Registered name.
        input_shape: ``(height, width, channels)``. Three channels are RGB; one channel is
            repeated three times inside; any other count rules out published weights. Height and
            width may be None unless ``spec.static_size``.
        weights: ``"imagenet"`` or another name that the registry lists for this backbone, a path
            to a weight file (``.weights.h5``, ``.h5``, ``.keras``, ``.safetensors``), or None for
            random weights.

    Returns:
        A functional model named ``name``. Its input is ``image``, float32
        ``(batch, height, width, channels)`` in 0-255; its output a dict ``"P1"``..``"P5"`` by
        rising stride 2..32, without those the network does not have. It is made of built-in
        layers, so plain Keras opens the saved file.

    Raises:
        UnknownBackboneError: For a name that is not registered.
        WeightsNotFoundError: When the weights are neither here nor obtainable now.
        WeightsMismatchError: When a weight file does not fit.
        ZooError: For an input too small, or a channel count that the weights rule out.
    """
    spec = get_spec(name)
    check_input(spec, input_shape, weights)
    found = find_weights(spec, weights)
    image = keras.Input(input_shape, name="image", dtype="float32")
    model = keras.Model(image, build_pyramid(spec, image), name=spec.name)
    apply_weights(model, spec, found)
    return model


def build_pyramid(spec: BackboneSpec, pixels: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """Build the network of ``spec`` on a tensor of 0-255 pixels.

    Args:
        spec: The backbone.
        pixels: ``(batch, height, width, channels)``.

    Returns:
        Pyramid level (``"P1"``: stride 2, to ``"P5"``: stride 32) -> feature map.
    """
    if pixels.shape[-1] == 1:
        pixels = keras.layers.Concatenate(name="replicate")([pixels, pixels, pixels])
    module, function = spec.builder.split(":")
    builder = getattr(importlib.import_module(module), function)
    network = builder(spec, preprocess(pixels, spec.preprocessing))
    return {level(stride): network.get_layer(layer).output for stride, layer in spec.taps}


def level(stride: int) -> str:
    """Name the pyramid level of a stride: 2 is ``"P1"``, 32 is ``"P5"``."""
    return f"P{stride.bit_length() - 1}"


def check_input(
    spec: BackboneSpec,
    input_shape: tuple[int | None, int | None, int],
    weights: str | Path | None,
) -> None:
    """Refuse shapes that the backbone cannot take.

    Raises:
        ZooError: Naming the shape and what would do.
    """
    if len(input_shape) != 3 or not isinstance(input_shape[2], int) or input_shape[2] < 1:
        raise ZooError(f"input_shape {input_shape} is not (height, width, channels)")
    if spec.static_size and None in input_shape:
        raise ZooError(f"input_shape {input_shape} leaves a side open; {spec.name!r} needs both")
    small = [side for side in input_shape[:2] if side is not None and side < spec.min_size]
    if small:
        raise ZooError(
            f"input_shape {input_shape} is too small for {spec.name!r}: "
            f"at least {spec.min_size} pixels a side"
        )
    if any(weights == item.name for item in spec.weights) and input_shape[2] not in (1, 3):
        raise ZooError(
            f"pretrained weights of {spec.name!r} need 1 or 3 channels, not {input_shape[2]}; "
            "pass weights=None to train from scratch"
        )
