"""Run a checkpoint of EfficientNet or ConvNeXt through the zoo, up to its logits."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from zoo.registry import get_spec
from zoo.spec import BackboneSpec
from zoo.weights.converters import convnext, efficientnet
from zoo.weights.files import LayerArrays
from zoo.weights.loading import assign_layers

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A network of the zoo with converted weights.

    Attributes:
        spec: Its entry in the registry.
        network: From preprocessed pixels to the feature map that PyTorch's ``forward_features``
            gives: of ConvNeXt before the last normalisation.
        layers: What the converter gave.
        head: Kernel and bias of the classification layer.
    """

    spec: BackboneSpec
    network: keras.Model
    layers: LayerArrays
    head: list[Any]

    def features(self, pictures: Floats) -> Floats:
        """Give the feature map ``(count, height, width, channels)``."""
        return np.asarray(keras.ops.convert_to_numpy(self.network(pictures, training=False)))

    def logits(self, features: Floats) -> Floats:
        """Pool a feature map, normalise it (ConvNeXt) and apply the classification layer."""
        means = features.mean((1, 2))
        if self.spec.family.startswith("convnext"):
            gamma, beta = self.layers[self.spec.taps[-1][1]]
            means = means - means.mean(-1, keepdims=True)
            means = means / np.sqrt(means.var(-1, keepdims=True) + 1e-6) * gamma + beta
        kernel, bias = self.head
        return np.asarray(means @ kernel + bias, np.float32)


def converted(
    tensors: Mapping[str, Any], name: str, sides: tuple[int | None, int | None] = (None, None)
) -> Converted:
    """Build the network ``name`` and give it a checkpoint.

    Args:
        tensors: Name -> array, as a checkpoint holds them.
        name: Registered name.
        sides: Height and width; those of keras.applications pad according to them.
    """
    spec = get_spec(name)
    family = convnext if spec.family.startswith("convnext") else efficientnet
    module, function = spec.builder.split(":")
    picture = keras.Input((*sides, 3))
    network = getattr(importlib.import_module(module), function)(spec, picture)
    layers = family.convert(tensors, spec)
    assign_layers(network, layers, source="a drawn checkpoint")
    last = network.output
    if family is convnext:
        sums = [one.name for one in network.layers if _ends_block(one.name)]
        last = network.get_layer(sums[-1]).output
    network = keras.Model(picture, last)
    found = family.head(tensors)
    assert found is not None
    return Converted(spec=spec, network=network, layers=layers, head=found)


def middle_kernel(network: keras.Model) -> keras.Layer:
    """Give the convolution in the middle of the graph."""
    kernels = [one for one in network.layers if one.weights and "conv" in one.name]
    layer: keras.Layer = kernels[len(kernels) // 2]
    return layer


def _ends_block(name: str) -> bool:
    return name.endswith("_add") and "response" not in name
