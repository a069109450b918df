"""What crosses between a process and its workers: plain values as JSON, arrays as raw bytes.

Nothing here can run code on reading: a message names types from a short list, arrays of plain
numbers, and dataclasses of this package by their qualified name.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data_adapters.errors import CaseError, DataError

ALIGNMENT = 64
PACKAGE = __name__.partition(".")[0]
KINDS = (
    "None, bool, int, float, str, bytes, list, tuple, set, frozenset, mapping, Path, numpy "
    "arrays and scalars, and dataclasses of data_adapters"
)


class WireError(TypeError):
    """A value cannot cross; the message holds type names only."""


class Packer:
    """Turns values into JSON, and collects the arrays beside it.

    Attributes:
        buffers: The arrays and byte strings, in the order in which they are laid out.
        size: Bytes that they take, each starting at a multiple of `ALIGNMENT`.
    """

    def __init__(self) -> None:
        self.buffers: list[tuple[int, memoryview]] = []
        self.size = 0

    def value(self, value: Any) -> Any:
        """The JSON form of a value; see `KINDS`."""
        kind = type(value)
        if value is None or kind in (bool, int, float, str):
            return value
        if kind is list:
            return [self.value(item) for item in value]
        return {_tag(value): self._other(value)}

    def _other(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return self._array(value)
        if isinstance(value, np.generic):
            return self._array(np.asarray(value))
        if isinstance(value, bytes | bytearray):
            return [self._store(memoryview(bytes(value))), len(value)]
        if isinstance(value, tuple | set | frozenset):
            return [self.value(item) for item in value]
        if isinstance(value, Mapping):
            return [[self.value(key), self.value(item)] for key, item in value.items()]
        if isinstance(value, Path):
            return str(value)
        names = [field.name for field in dataclasses.fields(value)]
        name = f"{type(value).__module__}:{type(value).__qualname__}"
        return [name, [[each, self.value(getattr(value, each))] for each in names]]

    def _array(self, array: np.ndarray) -> list[Any]:
        if array.dtype.kind not in "biufcSU":
            raise WireError(f"an array of {array.dtype} cannot cross to another process")
        flat = np.ascontiguousarray(array).reshape(-1)
        return [self._store(flat.view(np.uint8).data), array.dtype.str, list(array.shape)]

    def _store(self, data: memoryview) -> int:
        start = -(-self.size // ALIGNMENT) * ALIGNMENT
        if data.nbytes:
            self.buffers.append((start, data))
            self.size = start + data.nbytes
        return start


def _tag(value: Any) -> str:
    """One letter for the type of a value that JSON does not know."""
    tags: dict[type, str] = {tuple: "t", set: "s", frozenset: "z", bytes: "b", bytearray: "b"}
    if type(value) in tags:
        return tags[type(value)]
    for kind, tag in ((np.ndarray, "a"), (np.generic, "n"), (Mapping, "d"), (Path, "p")):
        if isinstance(value, kind):
            return tag
    inside = type(value).__module__.partition(".")[0] == PACKAGE
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and inside:
        return "c"
    raise WireError(f"a {type(value).__name__} cannot cross to another process; what can: {KINDS}")


def encode(value: Any, packer: Packer) -> bytes:
    """The JSON text of a value, its arrays going to the packer."""
    return json.dumps(packer.value(value), separators=(",", ":")).encode("ascii")


def decode(text: bytes, data: memoryview) -> Any:
    """Rebuild a value.

    Args:
        text: JSON from `encode`.
        data: The laid-out arrays; large arrays are views of it, small ones copies.

    Raises:
        ValueError: The message is malformed.
    """
    return _value(json.loads(text), data)


def _value(value: Any, data: memoryview) -> Any:
    if isinstance(value, list):
        return [_value(item, data) for item in value]
    if not isinstance(value, dict):
        return value
    [(tag, body)] = value.items()
    if tag == "t":
        return tuple(_value(item, data) for item in body)
    if tag == "d":
        return {_value(key, data): _value(item, data) for key, item in body}
    if tag in "sz":
        return (set if tag == "s" else frozenset)(_value(item, data) for item in body)
    if tag == "b":
        return bytes(data[body[0] : body[0] + body[1]])
    if tag == "p":
        return Path(body)
    if tag == "c":
        return _dataclass(body[0], {name: _value(item, data) for name, item in body[1]})
    array = _array(body[0], np.dtype(body[1]), tuple(body[2]), data)
    return array if tag == "a" else array[()]


SMALL = 1 << 16


def _array(start: int, dtype: np.dtype, shape: tuple[int, ...], data: memoryview) -> np.ndarray:
    """A view where the array is large, so that nothing is copied; a copy where it is small."""
    if dtype.hasobject or min(shape, default=1) < 0:
        raise ValueError("a malformed array")
    count = 1
    for length in shape:
        count *= length
    if not count or not dtype.itemsize:
        return np.zeros(shape, dtype)
    flat = np.frombuffer(data, dtype, count, start)
    if flat.nbytes <= SMALL or not flat.flags.writeable:
        flat = flat.copy()
    return flat.reshape(shape)


def _dataclass(name: str, fields: dict[str, Any]) -> Any:
    kind = resolve(name)
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        raise ValueError("a message names something that is no dataclass")
    if set(fields) != {field.name for field in dataclasses.fields(kind)}:
        raise ValueError("a message holds other fields than its dataclass")
    made = object.__new__(kind)
    for key, value in fields.items():
        object.__setattr__(made, key, value)
    return made


def resolve(name: str) -> Any:
    """What `module:name` of this package is.

    Raises:
        ValueError: The module is not of this package, or what it holds under the name was made
            elsewhere.
    """
    module, _, qualified = name.partition(":")
    if module.partition(".")[0] != PACKAGE:
        raise ValueError(f"only what belongs to {PACKAGE} can be named")
    found: Any = importlib.import_module(module)
    for part in qualified.split("."):
        found = getattr(found, part)
    if getattr(found, "__module__", "").partition(".")[0] != PACKAGE or not callable(found):
        raise ValueError(f"only functions and classes of {PACKAGE} can be named")
    return found


def error_parts(error: DataError) -> list[Any]:
    """What an error of this package is made of: its class and its arguments."""
    kind = type(error)
    parts = [error.case_id, error.kind, error.message] if isinstance(error, CaseError) else None
    arguments = [str(each) for each in error.args] if parts is None else parts
    return [f"{kind.__module__}:{kind.__qualname__}", arguments]


def rebuild_error(name: str, arguments: list[str]) -> DataError:
    """The error again.

    Raises:
        ValueError: The name is not that of an error of this package.
    """
    kind = resolve(name)
    if not (isinstance(kind, type) and issubclass(kind, DataError)):
        raise ValueError("a message names something that is no error")
    return kind(*arguments)
