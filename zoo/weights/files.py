"""Read weight files into plain arrays by layer name, without running anything they hold."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import safetensors
import safetensors.numpy

from zoo.errors import WeightsMismatchError

Array = np.ndarray[Any, np.dtype[Any]]
LayerArrays = dict[str, list[Array]]

SUFFIXES = (".weights.h5", ".h5", ".keras", ".safetensors")


def read_layers(path: Path) -> LayerArrays:
    """Read a weight file of any kind in ``SUFFIXES``.

    Of a ``.keras`` archive only the weights are read; its configuration, which could name code to
    run, is not looked at.

    Args:
        path: The file.

    Returns:
        Layer name -> arrays in the order of ``keras.Layer.weights``; layers without are left out.

    Raises:
        WeightsMismatchError: When the file is damaged or of another kind.
    """
    try:
        if path.suffix == ".safetensors":
            return _from_safetensors(path)
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                stored = io.BytesIO(archive.read("model.weights.h5"))
            with h5py.File(stored, "r") as file:
                return _from_keras(file, path.name)
        with h5py.File(path, "r") as file:
            return _from_legacy(file) if is_legacy(file) else _from_keras(file, path.name)
    except (OSError, KeyError, zipfile.BadZipFile, safetensors.SafetensorError) as error:
        raise WeightsMismatchError(
            f"weight file {path.name!r} cannot be read as {path.suffix}: damaged, or another format"
        ) from error


def is_legacy(file: h5py.File) -> bool:
    """Tell a file of Keras 2 (or a whole model saved as ``.h5``) from one of Keras 3."""
    return "layer_names" in file.attrs or "model_weights" in file


def is_legacy_file(path: Path) -> bool:
    """Tell whether a path is a readable HDF5 file of the legacy kind."""
    if path.suffix != ".h5" or not h5py.is_hdf5(path):
        return False
    with h5py.File(path, "r") as file:
        return is_legacy(file)


def _from_keras(file: h5py.File, name: str) -> LayerArrays:
    """Collect the ``vars`` groups; each bears the name of its layer."""
    layers: LayerArrays = {}
    unnamed: list[str] = []

    def visit(path: str, item: Any) -> None:
        parts = path.split("/")
        if parts[-1] != "vars" or not len(item) or _foreign(parts):
            return
        if "name" not in item.attrs:
            unnamed.append(path)
            return
        layer = str(item.attrs["name"])
        if layer in layers:
            raise WeightsMismatchError(f"weight file {name!r} holds two layers named {layer!r}")
        layers[layer] = [np.asarray(item[key]) for key in sorted(item, key=int)]

    file.visititems(visit)
    if unnamed:
        raise WeightsMismatchError(
            f"weight file {name!r} holds no layer names (an early Keras 3 wrote it); "
            "load it with that version and save it anew"
        )
    return layers


def _foreign(parts: list[str]) -> bool:
    """Tell optimizer slots, metrics and random states from the weights of layers."""
    return parts[0] in ("optimizer", "metrics", "vars") or "seed_generator" in parts


def _from_legacy(file: h5py.File) -> LayerArrays:
    group = file.get("model_weights", file)
    layers: LayerArrays = {}
    for layer in _attribute(group, "layer_names"):
        weights = _attribute(group[layer], "weight_names")
        if weights:
            layers[layer] = [np.asarray(group[layer][weight]) for weight in weights]
    return layers


def _attribute(group: h5py.Group, name: str) -> list[str]:
    """Read a list of strings, which Keras cuts into ``name0, name1...`` when it is long."""
    keys = [name] if name in group.attrs else []
    while f"{name}{len(keys)}" in group.attrs:
        keys.append(f"{name}{len(keys)}")
    values = [value for key in keys for value in group.attrs[key]]
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def _from_safetensors(path: Path) -> LayerArrays:
    """Group ``<layer>/<index or variable>``; variables keep the order of the file's names."""
    layers: dict[str, dict[str, Array]] = {}
    for key, array in safetensors.numpy.load_file(path).items():
        layer, _, part = key.rpartition("/")
        layers.setdefault(layer, {})[part] = array
    return {
        layer: [parts[key] for key in sorted(parts, key=_order)] for layer, parts in layers.items()
    }


_VARIABLES = (
    "kernel",
    "depthwise_kernel",
    "pointwise_kernel",
    "bias",
    "gamma",
    "beta",
    "moving_mean",
    "moving_variance",
    "mean",
    "variance",
    "count",
)


def _order(part: str) -> int:
    """Rank an index, or a variable name as Keras orders them within a layer."""
    return int(part) if part.isdigit() else _VARIABLES.index(part)
