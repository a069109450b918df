"""The networks of keras.applications, with their preprocessing and under stable names."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np

from zoo.architectures.rebuild import layer_plan, rebuild
from zoo.catalog.keras_applications import CONSTRUCTORS
from zoo.errors import WeightsMismatchError
from zoo.preprocessing import IMAGENET_MEAN, IMAGENET_STD, per_channel, preprocess
from zoo.spec import BackboneSpec


def plain(spec: BackboneSpec, input_tensor: keras.KerasTensor) -> keras.Model:
    """Build a network that expects preprocessed input.

    Args:
        spec: Entry of the catalogue.
        input_tensor: ``(batch, height, width, channels)``, preprocessed as ``spec.preprocessing``
            says.

    Returns:
        Model from the source inputs of ``input_tensor`` to the network's last feature map.
    """
    return rebuild(_donor(spec, input_tensor.shape[1:]), input_tensor)


def rescaled(spec: BackboneSpec, input_tensor: keras.KerasTensor) -> keras.Model:
    """Build a network that scales 0-255 to [-1, 1] itself (MobileNetV3)."""
    return _with_own_scaling(spec, input_tensor, "tf")


def rescaled128(spec: BackboneSpec, input_tensor: keras.KerasTensor) -> keras.Model:
    """Build a network that takes ``x / 128 - 1`` of 0-255 itself (EfficientNetV2-S, M and L)."""
    return _with_own_scaling(spec, input_tensor, "signed128")


def normalised(spec: BackboneSpec, input_tensor: keras.KerasTensor) -> keras.Model:
    """Build a network that normalises 0-255 by ImageNet itself (ConvNeXt, EfficientNetV2-B)."""
    return _with_own_scaling(spec, input_tensor, "torch")


def efficientnet(spec: BackboneSpec, input_tensor: keras.KerasTensor) -> keras.Model:
    """Build an EfficientNet, whose weight file holds its normalisation.

    Keras divides by the square root of the deviations a second time, in a layer that it adds only
    for ``weights="imagenet"``. Here the graph is that one whatever the weights; until a weight
    file says otherwise the normalisation is ImageNet's.
    """
    channels = input_tensor.shape[-1]
    spread = per_channel(tuple(std**-0.5 for std in IMAGENET_STD), channels)
    model = rebuild(
        _donor(spec, input_tensor.shape[1:]),
        input_tensor,
        after={"normalization": keras.layers.Rescaling(spread, name="rescaling_1")},
    )
    constants = (per_channel(values, channels) for values in (IMAGENET_MEAN, IMAGENET_STD))
    normalization = model.get_layer("normalization")
    normalization.set_weights([*(np.broadcast_to(c, (channels,)) for c in constants), np.zeros(())])
    normalization.finalize_state()
    return model


def load_legacy(model: keras.Model, spec: BackboneSpec, path: Path) -> None:
    """Load a legacy ``.h5`` file of keras.applications, as Keras itself reads it.

    Such a file is read by order, so it goes into the network exactly as Keras builds it, and from
    there by name into the rebuilt one.

    Args:
        model: What ``create_backbone`` built for ``spec``, with three-channel convolutions.
        spec: Entry of the catalogue.
        path: The file.

    Raises:
        WeightsMismatchError: When layers are missing, left over or of another shape.
    """
    height, width = model.input_shape[1:3]
    donor = _donor(spec, (height, width, 3))
    try:
        donor.load_weights(path)
    except ValueError as error:
        raise WeightsMismatchError(
            f"weight file {path.name!r} does not fit {spec.name!r}: {error}"
        ) from error
    for layer, name in layer_plan(donor):
        target = model.get_layer(name)
        values = layer.get_weights()
        target.set_weights(
            [np.reshape(v, w.shape) for v, w in zip(values, target.weights, strict=True)]
        )
        if isinstance(target, keras.layers.Normalization):
            target.finalize_state()


def _with_own_scaling(
    spec: BackboneSpec, input_tensor: keras.KerasTensor, mode: str
) -> keras.Model:
    donor = _donor(spec, input_tensor.shape[1:], include_preprocessing=False)
    return rebuild(donor, preprocess(input_tensor, mode))


def _donor(spec: BackboneSpec, shape: tuple[Any, ...], **options: Any) -> keras.Model:
    """Build the network as Keras does, with random weights and without top."""
    constructor = getattr(keras.applications, CONSTRUCTORS[spec.name])
    with warnings.catch_warnings():
        # Keras warns of sizes and channel counts other than those of its weight files.
        warnings.simplefilter("ignore", UserWarning)
        return constructor(include_top=False, weights=None, input_shape=tuple(shape), **options)
