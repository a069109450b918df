"""Members of an npz archive, read one at a time, never unpickled, large ones kept on disk."""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import os
import struct
import tempfile
import tokenize
import weakref
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_adapters.errors import DataError, FormatError
from data_adapters.home import home
from data_adapters.locks import hold

MAX_MEMBER_BYTES = 16 * 1024**3
MEMORY_BYTES = 64 * 1024**2
FALLBACK_BYTES = 2 * 1024**3
_CHUNK = 4 * 1024**2
# What zipfile and NumPy raise on archives that are cut, damaged, encrypted or oddly packed.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    ValueError,
    RuntimeError,
    struct.error,
    LookupError,
    tokenize.TokenError,
)


@dataclass(frozen=True)
class Member:
    """One array of an archive, by its header.

    Attributes:
        name: Its key, without `.npy`.
        shape: Shape of the array.
        dtype: Type of its elements; never an object.
        size: Bytes when unpacked, header included.
        crc: CRC-32 of those bytes, as the archive's directory gives it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    size: int
    crc: int


def member_names(path: Path) -> list[str]:
    """Keys of the arrays in an archive, read from its directory alone.

    Raises:
        FormatError: The file is no zip archive, or is cut short.
    """
    return [name.removesuffix(".npy") for name in _directory(path) if name.endswith(".npy")]


def _directory(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except OSError as error:
        raise FormatError(f"{path.name} cannot be read: {error.strerror or error}") from None
    except _DAMAGE:
        raise FormatError(f"{path.name} is no npz archive, or is cut short or damaged") from None


def member(path: Path, name: str, *, max_bytes: int = MAX_MEMBER_BYTES) -> Member:
    """Look at the header of one array.

    Args:
        path: The archive.
        name: Key of the array.
        max_bytes: Most bytes that the array may declare.

    Returns:
        What the header says, checked against the archive's directory.

    Raises:
        FormatError: The array holds Python objects (it would have to be unpickled), declares too
            many bytes, or its header and the archive contradict each other.
    """
    where = f"{name!r} in {path.name}"
    try:
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo(name + ".npy")
            if info.file_size > max_bytes:
                raise FormatError(
                    f"{where} declares {info.file_size} bytes; the limit is {max_bytes} "
                    "(a decompression bomb?)"
                )
            with archive.open(info) as stream:
                shape, dtype, start = _header(stream, where)
    except FormatError:
        raise
    except (OSError, *_DAMAGE):
        raise FormatError(f"{where} is cut short or damaged") from None
    if start + math.prod(shape) * dtype.itemsize != info.file_size:
        raise FormatError(f"{where} is damaged: its header and its size contradict each other")
    return Member(name, shape, dtype, info.file_size, info.CRC)


def _header(stream: Any, where: str) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    version = np.lib.format.read_magic(stream)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise FormatError(f"{where} has array format {version}, which is not read here")
    shape, _, dtype = readers[version](stream)
    if dtype.hasobject:
        raise FormatError(f"{where} holds Python objects, which are never unpickled: save numbers")
    if min(shape, default=0) < 0:
        raise FormatError(f"{where} is damaged: its header gives the shape {shape}")
    return tuple(shape), dtype, stream.tell()


def load(path: Path, entry: Member, *, memory_bytes: int = MEMORY_BYTES) -> np.ndarray:
    """Read one array: into memory when small, else as a read-only map of an unpacked file.

    The unpacked file lies under `home()/cache/npz`, is checked by CRC-32 before each use, and is
    made anew when it is damaged. Where it cannot be written, the array comes into memory.

    Args:
        path: The archive.
        entry: Its array.
        memory_bytes: Largest array that is read into memory straight away.

    Returns:
        The array, not to be written to.

    Raises:
        FormatError: The archive is damaged.
        DataError: The array is too large for memory and the cache cannot be written.
    """
    if entry.size <= memory_bytes:
        return _load_into_memory(path, entry)
    try:
        unpacked = _unpack(path, entry)
    except OSError as error:
        if entry.size > FALLBACK_BYTES:
            raise DataError(
                f"{entry.name!r} in {path.name} needs {entry.size} bytes in the cache, which "
                f"cannot be written ({error.strerror}): set RADZOO_HOME to a folder with room"
            ) from None
        return _load_into_memory(path, entry)
    array: np.ndarray = np.load(unpacked, mmap_mode="r", allow_pickle=False)
    in_use = hold(unpacked.parent.with_suffix(".use"), shared=True)
    weakref.finalize(array, in_use.release)
    return array


def _load_into_memory(path: Path, entry: Member) -> np.ndarray:
    try:
        with zipfile.ZipFile(path) as archive:
            data = archive.read(entry.name + ".npy")
        array: np.ndarray = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except (OSError, *_DAMAGE):
        raise FormatError(f"{entry.name!r} in {path.name} is cut short or damaged") from None
    array.flags.writeable = False
    return array


def _unpack(path: Path, entry: Member) -> Path:
    """The unpacked file of an array, checked; made when it is absent or damaged."""
    key = f"{entry.name}|{entry.size}|{entry.crc}|{path.resolve()}"
    digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
    target = home() / "cache" / "npz" / digest[:32] / f"{entry.name}.npy"
    if target.is_file() and target.stat().st_size == entry.size and _crc(target) == entry.crc:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as sink, zipfile.ZipFile(path) as archive:
            with archive.open(entry.name + ".npy") as stream:
                while chunk := stream.read(_CHUNK):
                    sink.write(chunk)
            sink.flush()
            os.fsync(sink.fileno())
        Path(temporary).replace(target)
    except _DAMAGE:
        raise FormatError(f"{entry.name!r} in {path.name} is cut short or damaged") from None
    finally:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
    return target


def _crc(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            value = zlib.crc32(chunk, value)
    return value
