"""Put pretrained weights into a backbone: every layer of it, or a loud refusal."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.architectures.taps import tap_of
from zoo.errors import WeightsMismatchError
from zoo.spec import BackboneSpec
from zoo.weights.available import available
from zoo.weights.files import LayerArrays, is_legacy_file, read_layers
from zoo.weights.finding import FoundWeights, find_weights

if TYPE_CHECKING:
    import keras

__all__ = [
    "FoundWeights",
    "assign_layers",
    "canonical_layers",
    "check_axes",
    "find_weights",
    "load_weights",
    "source_of",
    "weighted_layers",
    "weights_available",
]

HEAD_LAYERS = ("logits",)
_VOLUME = 5
"""Axes of a kernel of volumes."""
_log = logging.getLogger(__name__)


def load_weights(model: keras.Model, spec: BackboneSpec, weights: str | Path | None) -> None:
    """Find weights and put them into the layers of a backbone that takes the published channels.

    Args:
        model: What ``create_backbone`` built for ``spec``, in 2D; changed in place.
        spec: The backbone.
        weights: As for ``create_backbone``; None changes nothing.

    Raises:
        WeightsNotFoundError: When the weights are neither here nor obtainable now.
        WeightsMismatchError: When layers are missing, left over or of another shape, or a digest
            is not the recorded one; the message names them.
        ZooError: For a file of an unknown kind.
    """
    found = find_weights(spec, weights)
    if found is not None:
        arrays = canonical_layers(spec, found, names=weighted_layers(model))
        assign_layers(model, arrays, source=source_of(spec, found))


def weights_available(spec: BackboneSpec) -> bool:
    """Tell whether any pretrained weights of a backbone load now without a download."""
    return any(available(spec.name, weight) for weight in spec.weights)


def canonical_layers(
    spec: BackboneSpec, found: FoundWeights, *, names: Iterable[str]
) -> LayerArrays:
    """Read located weights into the canonical arrays of a backbone.

    Args:
        spec: The backbone.
        found: What ``find_weights`` gave.
        names: Layers of the network that hold weights: a legacy file that holds the very same is
            one of our own and read by name, any other as Keras reads it.

    Returns:
        Layer name -> arrays of the network as registered (not inflated), its first kernel for
        ``weight.channels`` channels. A file that the caller named is given as it is: it may hold a
        kernel of another number of channels, and the layers of the zoo's head besides.

    Raises:
        WeightsMismatchError: When the file is damaged or does not hold this network.
    """
    if found.layers is not None:
        return found.layers
    if found.path is None:
        from zoo.weights.lite import lite_weights

        return lite_weights(spec.name)
    legacy = is_legacy_file(found.path) and _by_order(spec)
    if legacy and (found.weight is not None or set(read_layers(found.path)) != set(names)):
        donors = importlib.import_module("zoo.architectures.keras_applications")
        arrays: LayerArrays = donors.read_legacy(spec, found.path)
        return arrays
    return read_layers(found.path)


def weighted_layers(model: keras.Model) -> list[str]:
    """Name the layers that hold weights, in the order of the graph."""
    return [layer.name for layer in model.layers if layer.weights]


def source_of(spec: BackboneSpec, found: FoundWeights) -> str:
    """Say in a message where weights come from."""
    if found.path is not None:
        return repr(found.path.name)
    return f"the package of {spec.name!r}" if found.layers is None else "the converted file"


def assign_layers(model: keras.Model, layers: LayerArrays, *, source: str) -> None:
    """Set the weights of all layers by name.

    Args:
        model: The model; changed in place, or not at all when anything does not fit.
        layers: Layer name -> arrays in the order of ``layer.weights``. The layers of the zoo's
            classification head may be in it besides; they are left out, and logged.
        source: What to call the weights in a message.

    Raises:
        WeightsMismatchError: Naming the layers that are missing, left over or of another shape.
    """
    wanted = {layer.name: layer for layer in model.layers if layer.weights}
    missing = [name for name in wanted if name not in layers]
    extra = [name for name in layers if name not in wanted and name not in HEAD_LAYERS]
    wrong = [
        f"{name} {_shapes(layers[name])} for {_shapes(layer.weights)}"
        for name, layer in wanted.items()
        if name in layers and _shapes(layers[name]) != _shapes(layer.weights)
    ]
    faults = [
        f"{len(names)} layers {kind} ({_some(names)})"
        for kind, names in (("missing", missing), ("left over", extra), ("of another shape", wrong))
        if names
    ]
    if faults:
        raise WeightsMismatchError(
            f"weights of {source} do not fit {model.name!r}: {'; '.join(faults)}"
        )
    for name in sorted(set(layers) - set(wanted)):
        _log.info("left the head's layer %r of the weights out", name)
    for name, layer in wanted.items():
        layer.set_weights(layers[name])
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()


def check_axes(model: keras.Model, layers: LayerArrays, *, source: str) -> None:
    """Refuse kernels of volumes for a network of pictures, and the reverse where it is none.

    Args:
        model: The network that was built, not inflated.
        layers: Layer name -> arrays of a file.
        source: What to call the weights in a message.

    Raises:
        WeightsMismatchError: Naming a layer that is of another kind, and what to do.
    """
    wanted = {layer.name: len(layer.weights[0].shape) for layer in model.layers if layer.weights}
    volumes = max(wanted.values(), default=0) == _VOLUME
    for name, arrays in layers.items():
        tap = tap_of(name)
        base = name if name in wanted or tap is None else tap[0]
        if not arrays or base not in wanted:
            continue
        have, want = arrays[0].ndim, wanted[base]
        if not volumes and (base != name or have == _VOLUME or (have, want) == (2, 4)):
            raise WeightsMismatchError(
                f"weights of {source} are kernels of volumes (layer {name!r}, shape "
                f"{tuple(arrays[0].shape)}) and {model.name!r} is built for pictures here: build "
                "it with dims=3 (a 3D plan), or give weights that were trained on pictures or on "
                "the planes of volumes"
            )
        if volumes and (have, want) == (4, _VOLUME):
            raise WeightsMismatchError(
                f"weights of {source} are kernels of pictures (layer {name!r}, shape "
                f"{tuple(arrays[0].shape)}) and {model.name!r} is a network of volumes by itself, "
                "which nothing is inflated into: give weights that were trained on volumes"
            )


def _by_order(spec: BackboneSpec) -> bool:
    """Tell whether legacy files of this backbone are those of keras.applications."""
    return any(weight.source == "keras" for weight in spec.weights)


def _shapes(arrays: Iterable[Any]) -> list[tuple[int, ...]]:
    return [tuple(array.shape) for array in arrays]


def _some(names: list[str], most: int = 5) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
