"""Read the tensors of a PyTorch checkpoint with numpy alone, and run no code of the file.

Two containers are read: the legacy stream (magic number, header, pickle, raw storages) and the
uncompressed zip archive that replaced it in PyTorch 1.6. Their pickles are interpreted by
``zoo.weights.pickle_machine``, which knows no function to call; every count, size, stride and
offset is checked against the bytes that are there.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors

from zoo.errors import ZooError
from zoo.weights.pickle_machine import RefusedError, Storage, Tensor, run
from zoo.weights.state_dicts import state_dict, without_prefix

_LEGACY_MAGIC: Final = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL: Final = 1001
_BFLOAT16: Final = "bfloat16"
_SAFETENSORS: Final = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": _BFLOAT16, "I64": "<i8", "I32": "<i4",
    "I16": "<i2", "I8": "|i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
# What zipfile raises on damaged archives.
_DAMAGED: Final = (
    zipfile.BadZipFile, EOFError, IndexError, OSError, RuntimeError, ValueError, struct.error,
)  # fmt: skip

Array = np.ndarray[Any, np.dtype[Any]]
_ReadStorage = Callable[[Storage], Array]


def read_checkpoint(path: Path) -> dict[str, Array]:
    """Read a published PyTorch checkpoint, whatever container it comes in.

    Args:
        path: A file of ``torch.save`` (``.pth``, ``.pt``, ``.bin``, ``.ckpt``, ``.tar``), or a
            ``.safetensors`` file.

    Returns:
        Name of the tensor, in PyTorch's naming -> array.

    Raises:
        ZooError: When the file is damaged or holds something else; see ``read_torch_pickle``.
        OSError: When the file cannot be read.
    """
    if path.suffix == ".safetensors":
        return without_prefix(_read_safetensors(path))
    return read_torch_pickle(path)


def read_torch_pickle(path: Path) -> dict[str, Array]:
    """Read the state dict of a network that ``torch.save`` wrote.

    Args:
        path: The checkpoint, legacy or zip format: a state dict, a mapping that holds one among
            other things (epoch, optimizer...), or a whole network. Of the latter two only the
            tensors are kept; classes are not imported.

    Returns:
        Name -> read-only array with the tensor's shape and type (float16/32/64, int8/16/32/64,
        uint8 or bool; bfloat16 becomes float32), a view into one copy of the file.

    Raises:
        ZooError: When the file calls anything but what rebuilds tensors and parameters, names
            something of Python's standard library, is truncated or malformed, or holds no tensors.
            The message names the file and the reason.
        OSError: When the file cannot be read.
    """
    data = path.read_bytes()
    try:
        opened = _open_zip(data) if data.startswith(b"PK") else _open_legacy(data)
        return _arrays(*opened)
    except RefusedError as error:
        raise ZooError(f"'{path.name}' is not a checkpoint that radzoo reads: {error}") from error


def _read_safetensors(path: Path) -> dict[str, Array]:
    """Read all tensors; bfloat16, which numpy lacks, becomes float32."""
    try:
        stored = safetensors.deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        raise ZooError(f"'{path.name}' is damaged, or no safetensors file: {error}") from error
    arrays: dict[str, Array] = {}
    for name, item in stored:
        kind = _SAFETENSORS.get(item["dtype"])
        if kind is None:
            raise ZooError(
                f"'{path.name}' holds {name[:80]!r} as {item['dtype']}, which radzoo does not "
                f"read; known are {', '.join(_SAFETENSORS)}"
            )
        numbers = _numbers(kind, np.frombuffer(item["data"], "<u2" if kind == _BFLOAT16 else kind))
        arrays[name] = numbers.reshape(item["shape"])
    return arrays


def _open_legacy(data: bytes) -> tuple[dict[str, Tensor], _ReadStorage]:
    """Read the five pickles at the head and find the raw storages after them."""
    stream = io.BytesIO(data)
    if run(stream).value != _LEGACY_MAGIC or run(stream).value != _LEGACY_PROTOCOL:
        raise RefusedError("it lacks PyTorch's magic number")
    header = run(stream).value
    if not isinstance(header, dict) or header.get("little_endian") is not True:
        raise RefusedError("it was not written by a little-endian machine")
    pickled = run(stream)
    tensors = state_dict(pickled)
    keys = run(stream).value
    if not isinstance(keys, list):
        raise RefusedError("its list of storages is malformed")
    places = _places(data, stream.tell(), keys, pickled.storages)

    def read(storage: Storage) -> Array:
        if storage not in places:
            raise RefusedError(f"storage {storage.key[:40]!r} is missing")
        return np.frombuffer(data, storage.stored, storage.count, places[storage])

    return tensors, read


def _places(
    data: bytes, position: int, keys: list[Any], storages: dict[str, Storage]
) -> dict[Storage, int]:
    """Map each storage to the offset of its first number; its count stands before it."""
    places: dict[Storage, int] = {}
    for key in keys:
        storage = storages.get(key) if isinstance(key, str) else None
        if storage is None:
            raise RefusedError("it lists a storage that belongs to no tensor")
        count = int.from_bytes(data[position : position + 8], "little", signed=True)
        places[storage] = position + 8
        position += 8 + storage.count * np.dtype(storage.stored).itemsize
        if position > len(data):
            raise RefusedError(f"it is truncated at storage {key[:40]!r}")
        if count != storage.count:
            raise RefusedError(f"storage {key[:40]!r} holds {count} numbers, not {storage.count}")
    return places


def _open_zip(data: bytes) -> tuple[dict[str, Tensor], _ReadStorage]:
    """Read ``<root>/data.pkl``; storages are ``<root>/data/<key>``."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except _DAMAGED as error:
        raise RefusedError("its zip archive is truncated or damaged") from error
    if sum(info.file_size for info in archive.infolist()) > len(data):
        raise RefusedError("its zip archive declares more bytes than it has")
    pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise RefusedError("its zip archive has no single data.pkl")
    root = pickles[0].removesuffix("data.pkl")
    order = f"{root}byteorder"
    if order in archive.namelist() and _member(archive, order) != b"little":
        raise RefusedError("it was not written by a little-endian machine")

    def read(storage: Storage) -> Array:
        raw = _member(archive, f"{root}data/{storage.key}")
        if len(raw) != storage.count * np.dtype(storage.stored).itemsize:
            raise RefusedError(
                f"storage {storage.key[:40]!r} has {len(raw)} bytes, not as declared"
            )
        return np.frombuffer(raw, storage.stored)

    return state_dict(run(io.BytesIO(_member(archive, pickles[0])))), read


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Read one member, checksum verified; a compressed one is refused, so no bomb unfolds."""
    try:
        if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
            raise RefusedError(f"member {name[-60:]!r} is compressed, which PyTorch never does")
        return archive.read(name)
    except KeyError as error:
        raise RefusedError(f"member {name[-60:]!r} is missing") from error
    except _DAMAGED as error:
        raise RefusedError(f"member {name[-60:]!r} is damaged") from error


def _arrays(tensors: dict[str, Tensor], read: _ReadStorage) -> dict[str, Array]:
    """Lay the views, whose bounds are known to hold, over the storages."""
    raw = {
        storage: _numbers(storage.dtype, read(storage))
        for storage in {item.storage for item in tensors.values()}
    }
    return {name: _view(raw[tensor.storage], tensor) for name, tensor in tensors.items()}


def _numbers(dtype: str, stored: Array) -> Array:
    """Turn what lies in the file into numbers that numpy computes with."""
    if dtype != _BFLOAT16:
        return stored
    return (stored.astype("<u4") << 16).view("<f4")


def _view(numbers: Array, tensor: Tensor) -> Array:
    if 0 in tensor.shape:
        return np.empty(tensor.shape, numbers.dtype)
    strides = tuple(
        step * numbers.itemsize if size > 1 else numbers.itemsize
        for size, step in zip(tensor.shape, tensor.strides, strict=True)
    )
    return np.lib.stride_tricks.as_strided(
        numbers[tensor.offset :], tensor.shape, strides, writeable=False
    )
