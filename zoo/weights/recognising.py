"""Tell what a weight file is, from digest, names, shapes and number of parameters, and read it."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zoo.catalog.keras_applications import CONSTRUCTORS
from zoo.errors import WeightsMismatchError
from zoo.registry import get_spec, list_backbones
from zoo.spec import BackboneSpec, WeightSpec
from zoo.weights.download import check_digest
from zoo.weights.files import LayerArrays, read_layers
from zoo.weights.keras_files import Matched, PlannedLayer, is_dense, match_layers, shapes_of
from zoo.weights.sets import sha256_of

_KERAS = (".h5", ".keras")


@dataclass(frozen=True, kw_only=True)
class Recognised:
    """A file that was read.

    Attributes:
        spec: The network that takes it.
        layers: Layer name -> arrays of that network.
        top: What was left out.
        publisher: Whose layout it has.
        converter: ``"module:function"``, or ``"keras"``.
        channels: Input channels of the first kernel; None: as the catalogue says.
        preprocessing: Usual for the layout; None: as the backbone.
    """

    spec: BackboneSpec
    layers: LayerArrays
    top: tuple[str, ...]
    publisher: str
    converter: str
    channels: int | None = None
    preprocessing: str | None = None


def published(
    path: Path, spec: BackboneSpec | None, name: str | None
) -> tuple[BackboneSpec, WeightSpec] | None:
    """Find a file in the catalogue, by its digest, or by its name where no digest is stated.

    Args:
        path: The file.
        spec: Only weights of this backbone.
        name: Only weights of this name; None: any.

    Raises:
        WeightsMismatchError: When the file bears a published name, or is to get one, but has
            another digest.
    """
    sha256, md5 = sha256_of(path), _md5(path)
    backbones = [spec] if spec is not None else [get_spec(one) for one in list_backbones()]
    entries = [(one, weight) for one in backbones for weight in one.weights]
    if name is not None:
        entries = [(one, weight) for one, weight in entries if weight.name == name]
    for one, weight in entries:
        prefix = weight.sha256_prefix
        if sha256 == weight.sha256 or md5 == weight.md5 or (prefix and sha256.startswith(prefix)):
            return one, weight
    for one, weight in entries:
        if weight.file == path.name:
            try:
                check_digest(weight, path, place="the place it was given")
            except WeightsMismatchError as error:
                raise WeightsMismatchError(
                    f"{error}; or give --name to import it as weights of your own"
                ) from error
            return one, weight
    return None


def read_file(spec: BackboneSpec, weight: WeightSpec, path: Path) -> Recognised:
    """Read a file of the catalogue.

    Raises:
        WeightsMismatchError: When it holds something else.
        ZooError: When it cannot be read.
    """
    if weight.source == "package":
        from zoo.weights.lite import convert_lite

        layers = convert_lite(spec.name, path)
        return Recognised(
            spec=spec,
            layers=layers,
            top=(),
            publisher=str(weight.package),
            converter="zoo.weights.lite",
        )
    if weight.converter is not None:
        from zoo.weights.unpickle import read_checkpoint

        tensors = read_checkpoint(path)
        return Recognised(
            spec=spec,
            layers=_run(weight.converter, tensors, spec),
            top=(),
            publisher=_publisher(tensors),
            converter=weight.converter,
        )
    return _fit_keras(path, read_layers(path), spec, weight.channels)


def recognise(path: Path, spec: BackboneSpec | None, *, channels: int | None) -> Recognised:
    """Read a file that the catalogue does not know.

    Args:
        path: The file.
        spec: The backbone, where the caller named one.
        channels: Input channels of its first kernel, where the caller says so.

    Raises:
        WeightsMismatchError: When no registered network takes it, or not the one named, or more
            than one does; the message names the candidates.
        ZooError: When it cannot be read.
    """
    if path.name.lower().endswith(_KERAS):
        return _recognise_keras(path, read_layers(path), spec, channels)
    from zoo.weights.unpickle import read_checkpoint

    tensors = read_checkpoint(path)
    if path.suffix == ".safetensors" and tensors and all("/" in name for name in tensors):
        return _recognise_keras(path, read_layers(path), spec, channels)
    return _recognise_pytorch(path, tensors, spec)


def _recognise_pytorch(
    path: Path, tensors: Mapping[str, Any], spec: BackboneSpec | None
) -> Recognised:
    from zoo.weights.converters import detect

    try:
        layout = detect(tensors)
    except WeightsMismatchError as error:
        raise WeightsMismatchError(f"{path.name!r}: {error}") from error
    candidates = (layout.backbone, *layout.alternatives)
    if spec is None and layout.alternatives:
        raise WeightsMismatchError(
            f"{path.name!r} may belong to {' or '.join(candidates)}, whose checkpoints look the "
            "same: give --backbone"
        )
    if spec is not None and spec.name not in candidates:
        raise WeightsMismatchError(
            f"{path.name!r} holds weights of {' or '.join(candidates)}, not of {spec.name}"
        )
    spec = spec or get_spec(layout.backbone)
    top = () if layout.classes is None else (f"classification layer of {layout.classes} outputs",)
    return Recognised(
        spec=spec,
        layers=_run(layout.converter, tensors, spec),
        top=top,
        publisher=layout.publisher,
        converter=layout.converter,
        channels=layout.channels,
        preprocessing=layout.preprocessing,
    )


def _recognise_keras(
    path: Path, stored: LayerArrays, spec: BackboneSpec | None, channels: int | None
) -> Recognised:
    specs = [spec] if spec is not None else _by_count(path, stored)
    fitting, errors = [], []
    for one in specs:
        try:
            fitting.append(_fit_keras(path, stored, one, channels))
        except WeightsMismatchError as error:
            errors.append(error)
    if len(fitting) > 1:
        names = " or ".join(found.spec.name for found in fitting)
        raise WeightsMismatchError(f"{path.name!r} may belong to {names}: give --backbone")
    if not fitting:
        raise errors[0]
    return fitting[0]


def _by_count(path: Path, stored: LayerArrays) -> list[BackboneSpec]:
    """Choose backbones by their number of parameters, with or without the file's dense layers."""
    total = _count(stored)
    bare = total - _count({name: one for name, one in stored.items() if is_dense(one)})
    everything = [get_spec(name) for name in list_backbones()]
    chosen = [spec for spec in everything if spec.params in (total, bare)]
    if chosen:
        return chosen
    nearest = sorted(everything, key=lambda spec: abs(spec.params - bare))[:3]
    listed = ", ".join(f"{spec.name} ({spec.params:,})" for spec in nearest)
    raise WeightsMismatchError(
        f"cannot tell the network of {path.name!r}: it holds {bare:,} parameters in {len(stored)} "
        f"layers; nearest are {listed}: give --backbone"
    )


def _fit_keras(
    path: Path, stored: LayerArrays, spec: BackboneSpec, channels: int | None
) -> Recognised:
    """Match a Keras file to a backbone: as Keras saves its own, else by the names of ours."""
    base = channels or (spec.weights[0].channels if spec.weights else 3)
    saved, misfit = None, None
    if spec.name in CONSTRUCTORS and base == 3:
        from zoo.architectures import keras_applications

        try:
            saved = keras_applications.read_saved(spec, path)
        except WeightsMismatchError as error:
            misfit = error
    if saved is None:
        saved = _match_ours(path, stored, spec, base, misfit)
    return Recognised(
        spec=spec,
        layers=saved.layers,
        top=saved.top,
        publisher="Keras",
        converter="keras",
        channels=base,
    )


def _match_ours(
    path: Path, stored: LayerArrays, spec: BackboneSpec, base: int, misfit: Exception | None
) -> Matched:
    """Match a file of a network that radzoo built.

    Args:
        path: The file.
        stored: What it holds.
        spec: The backbone.
        base: Input channels.
        misfit: What to raise when it holds no such network at all.
    """
    import keras

    from zoo.backbones import stem_layer
    from zoo.weights.reference import SIDES

    module, function = spec.builder.split(":")
    builder = getattr(importlib.import_module(module), function)
    network = builder(spec, keras.Input((*SIDES[spec.dims], base)))
    plan = [
        PlannedLayer(name=layer.name, shapes=shapes_of(layer.weights))
        for layer in network.layers
        if layer.weights
    ]
    if misfit is not None and not all(layer.name in stored for layer in plan):
        raise misfit
    stem = stored.get(stem_layer(network), [np.zeros(())])[0]
    if stem.ndim >= 4 and stem.shape[-2] != base:
        raise WeightsMismatchError(
            f"the first kernel of {path.name!r} takes {stem.shape[-2]} channels, not {base}: "
            f"give --channels {stem.shape[-2]} if the network was trained on as many, "
            "preprocessed alike and without a channel of ones"
        )
    return match_layers(
        stored, plan, ordered=False, source=f"weight file {path.name!r}", network=spec.name
    )


def _publisher(tensors: Mapping[str, Any]) -> str:
    """Name whose layout a checkpoint of the catalogue has, where its layout alone tells."""
    from zoo.weights.converters import detect

    try:
        return detect(tensors).publisher
    except WeightsMismatchError:
        return "not told"


def _run(converter: str, tensors: Mapping[str, Any], spec: BackboneSpec) -> LayerArrays:
    module, function = converter.split(":")
    layers: LayerArrays = getattr(importlib.import_module(module), function)(tensors, spec)
    return layers


def _count(stored: LayerArrays) -> int:
    """Count numbers; what an EfficientNet of Keras normalises by is no parameter here."""
    return sum(
        array.size
        for arrays in stored.values()
        if shapes_of(arrays) != ((3,), (3,), ())
        for array in arrays
    )


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
