"""The networks of keras.applications, with their preprocessing and under stable names."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np

from zoo.architectures.rebuild import layer_plan, rebuild, shape_of
from zoo.catalog.keras_applications import CONSTRUCTORS
from zoo.errors import WeightsMismatchError
from zoo.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from zoo.spec import BackboneSpec
from zoo.weights.files import LayerArrays

_NORMALIZATION = "normalization"


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


def unscaled(spec: BackboneSpec, input_tensor: keras.KerasTensor) -> keras.Model:
    """Build a network that Keras lets scale 0-255 itself, without that scaling.

    Args:
        spec: Entry of the catalogue (MobileNetV3, EfficientNetV2, ConvNeXt).
        input_tensor: As for ``plain``.

    Returns:
        As ``plain``.
    """
    donor = _donor(spec, input_tensor.shape[1:], include_preprocessing=False)
    return rebuild(donor, input_tensor)


def efficientnet(spec: BackboneSpec, input_tensor: keras.KerasTensor) -> keras.Model:
    """Build an EfficientNet, whose first layers in Keras normalise, without those.

    Args:
        spec: Entry of the catalogue.
        input_tensor: As for ``plain``.

    Returns:
        As ``plain``.
    """
    return rebuild(
        _donor(spec, input_tensor.shape[1:]), input_tensor, skip=("rescaling", _NORMALIZATION)
    )


def read_legacy(spec: BackboneSpec, path: Path) -> LayerArrays:
    """Read a legacy ``.h5`` file of keras.applications, as Keras itself reads it.

    Such a file is read by order, so it goes into the network exactly as Keras builds it.

    Args:
        spec: Entry of the catalogue.
        path: The file.

    Returns:
        Layer name -> arrays, for three input channels, under the names of the rebuilt network.

    Raises:
        WeightsMismatchError: When layers are missing, left over or of another shape, or the
            normalisation in an EfficientNet's file is not that of ImageNet.
    """
    donor = _donor(spec, (spec.min_size, spec.min_size, 3))
    try:
        donor.load_weights(path)
    except ValueError as error:
        raise WeightsMismatchError(
            f"weight file {path.name!r} does not fit {spec.name!r}: {error}"
        ) from error
    arrays: LayerArrays = {}
    for layer, name in layer_plan(donor):
        values = layer.get_weights()
        if isinstance(layer, keras.layers.Normalization):
            check_normalization(values, path)
            continue
        arrays[name] = [np.reshape(one, shape_of(layer, one)) for one in values]
    return arrays


def check_normalization(values: list[np.ndarray[Any, Any]], path: Path) -> None:
    """Compare the stored mean and "variance", which holds the deviations, with ImageNet's.

    Raises:
        WeightsMismatchError: Naming the values that differ.
    """
    for found, wanted in zip(values, (IMAGENET_MEAN, IMAGENET_STD), strict=False):
        if not np.allclose(found, wanted, atol=1e-4):
            raise WeightsMismatchError(
                f"weight file {path.name!r} normalises by {np.round(found, 4).tolist()}, "
                f"not by {list(wanted)}: not the published file"
            )


def _donor(spec: BackboneSpec, shape: tuple[Any, ...], **options: Any) -> keras.Model:
    """Build the network as Keras does, with random weights and without top."""
    constructor = getattr(keras.applications, CONSTRUCTORS[spec.name])
    with warnings.catch_warnings():
        # Keras warns of sizes and channel counts other than those of its weight files.
        warnings.simplefilter("ignore", UserWarning)
        return constructor(include_top=False, weights=None, input_shape=tuple(shape), **options)
