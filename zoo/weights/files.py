"""Read weight files into plain arrays by layer name, without running anything they hold."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import safetensors
import safetensors.numpy

from zoo.errors import WeightsMismatchError

Array = np.ndarray[Any, np.dtype[Any]]
LayerArrays = dict[str, list[Array]]

_MOST_COMPRESSED = 100
# What h5py, zipfile and safetensors raise on damaged files.
_DAMAGED = (
    OSError, KeyError, ValueError, TypeError, AttributeError, IndexError, OverflowError, EOFError,
    RuntimeError, MemoryError, zlib.error, struct.error, zipfile.BadZipFile,
    safetensors.SafetensorError,
)  # fmt: skip


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
            stored = _weights_member(path)
            with h5py.File(stored, "r") as file:
                return _from_keras(file, path.name)
        with h5py.File(path, "r") as file:
            return _from_legacy(file) if is_legacy(file) else _from_keras(file, path.name)
    except WeightsMismatchError:
        raise
    except _DAMAGED as error:
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


def _weights_member(path: Path) -> io.BytesIO:
    """Take the weights out of a ``.keras`` archive."""
    with zipfile.ZipFile(path) as archive:
        if archive.getinfo("model.weights.h5").file_size > _MOST_COMPRESSED * path.stat().st_size:
            raise KeyError("an archive that declares more than it stores")
        return io.BytesIO(archive.read("model.weights.h5"))


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
        layers[layer] = [_array(item, key) for key in sorted(item, key=int)]

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
    """Collect the layers in their order; a model nested in the model counts by its layers."""
    group = file.get("model_weights", file)
    layers: LayerArrays = {}
    for layer in _attribute(group, "layer_names"):
        weights = _attribute(group[layer], "weight_names")
        owners = [weight.rpartition("/")[0] for weight in weights]
        nested = len(set(owners)) > 1
        for weight, owner in zip(weights, owners, strict=True):
            name = owner.removeprefix(f"{layer}/") if nested else layer
            layers.setdefault(name, []).append(_array(group[layer], weight))
    return layers


def _array(group: h5py.Group, name: str) -> Array:
    """Read one array out of the file itself, never out of another one that it points to."""
    item: Any = group
    for part in name.split("/"):
        if part and not isinstance(item.get(part, getlink=True), h5py.HardLink):
            raise KeyError(f"{name!r} lies in another file")
        item = item[part] if part else item
    return _own(item)


def _own(item: Any) -> Array:
    """Read a dataset that is numbers, in this file, and no larger than a file can hold.

    A few bytes of HDF5 can declare terabytes of zeros, or point to any file of the machine.
    """
    if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "fiub":
        raise KeyError("an array that is none")
    if item.external is not None or item.is_virtual:
        raise KeyError("an array that lies in another file")
    if item.nbytes > _MOST_COMPRESSED * max(item.id.get_storage_size(), 1):
        raise KeyError("an array that declares more than it stores")
    return np.asarray(item)


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
    if not part.isdecimal() and part not in _VARIABLES:
        raise WeightsMismatchError(
            f"a tensor's name ends in {part!r}, no variable of a Keras layer; a file of PyTorch "
            "comes in with `radzoo weights import FILE`"
        )
    return int(part) if part.isdecimal() else _VARIABLES.index(part)
