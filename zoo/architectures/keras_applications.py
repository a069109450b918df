"""The networks of keras.applications, with their preprocessing and under stable names."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np

from zoo.architectures.rebuild import layer_plan, rebuild, shape_of, stable_names
from zoo.catalog.keras_applications import CONSTRUCTORS
from zoo.errors import WeightsMismatchError
from zoo.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from zoo.spec import BackboneSpec
from zoo.weights.files import LayerArrays, is_legacy_file, read_layers
from zoo.weights.keras_files import Matched, PlannedLayer, match_layers, shapes_of

_NORMALIZATION = "normalization"
_log = logging.getLogger(__name__)


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
    """Read a legacy ``.h5`` file of keras.applications; see ``read_saved``."""
    saved = read_saved(spec, path)
    for name in saved.top:
        _log.info("left the top's layer %r of %r out", name, path.name)
    return saved.layers


def read_saved(spec: BackboneSpec, path: Path) -> Matched:
    """Read a file that Keras saved of this network: bare, under a top, or nested in a model.

    Layers go by name, automatic names by their order of creation. Where a legacy file has other
    names (those of early Keras versions) its layers go by order, as Keras itself reads it.

    Args:
        spec: Entry of the catalogue.
        path: The file, of any kind that ``zoo.weights.files`` reads.

    Returns:
        The arrays for three input channels, under the names of the rebuilt network, and the names
        of the layers of a classification top, which are left out.

    Raises:
        WeightsMismatchError: When layers are missing, of another shape, or left over and no top, or
            the normalisation in an EfficientNet's file is not that of ImageNet.
    """
    donor = _donor(spec, (spec.min_size, spec.min_size, 3))
    layers = list(layer_plan(donor))
    saved = match_layers(
        read_layers(path),
        [PlannedLayer(name=name, shapes=shapes_of(layer.weights)) for layer, name in layers],
        automatic={name.rstrip("0123456789").rstrip("_") for name in stable_names(donor).values()},
        ordered=is_legacy_file(path),
        source=f"weight file {path.name!r}",
        network=spec.name,
    )
    arrays: LayerArrays = {}
    for layer, name in layers:
        values = saved.layers[name]
        if isinstance(layer, keras.layers.Normalization):
            check_normalization(values, path)
            continue
        arrays[name] = [np.reshape(one, shape_of(layer, one)) for one in values]
    return Matched(layers=arrays, top=saved.top)


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
