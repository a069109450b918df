"""`tf.train.Example` and `SequenceExample` read without TensorFlow (protobuf wire format).

Example: `features = 1`; Features: `map<string, Feature> feature = 1`; Feature: `bytes_list = 1`,
`float_list = 2`, `int64_list = 3`, each with repeated `value = 1`. SequenceExample: `context = 1`
(Features), `feature_lists = 2`: `map<string, FeatureList> feature_list = 1`, whose
`feature = 1` repeats (tensorflow/core/example/{example,feature}.proto).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from data_adapters.errors import FormatError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_KINDS = {1: "bytes", 2: "float", 3: "int64"}


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature, its values not looked at yet.

    Attributes:
        kind: `bytes`, `float`, `int64`, or empty where it holds nothing.
        data: The encoded list.
    """

    kind: str
    data: memoryview

    def texts(self) -> list[bytes]:
        """Values of a list of bytes.

        Raises:
            FormatError: It holds something else, or is damaged.
        """
        self._require("bytes")
        return [bytes(part) for part in self.views()]

    def views(self) -> list[memoryview]:
        """Values of a list of bytes, not copied."""
        self._require("bytes")
        return [_view(value) for number, value in fields(self.data) if number == 1]

    def numbers(self) -> NDArray[np.float32] | NDArray[np.int64]:
        """Values of a list of floats or whole numbers.

        Raises:
            FormatError: It holds bytes, or is damaged.
        """
        if self.kind == "float":
            parts = [_floats(value) for number, value in fields(self.data) if number == 1]
            return np.concatenate(parts) if parts else np.zeros(0, np.float32)
        self._require("int64")
        found: list[int] = []
        for number, value in fields(self.data):
            if number == 1:
                found += [value] if isinstance(value, int) else _varints(value)
        signed = np.array(found, np.uint64).astype(np.int64)
        return signed

    def _require(self, kind: str) -> None:
        if self.kind != kind:
            raise FormatError(f"a feature holds {self.kind or 'nothing'} where {kind} is wanted")


@dataclass(frozen=True, slots=True)
class Example:
    """The features of a record by name; `lists` are those of a SequenceExample, step by step."""

    features: dict[str, Feature] = field(default_factory=dict)
    lists: dict[str, list[Feature]] = field(default_factory=dict)


def parse_example(data: bytes | memoryview) -> Example:
    """Parse a record as an Example or a SequenceExample; both begin with their features.

    Raises:
        FormatError: It is no such message.
    """
    example = Example()
    for number, value in fields(memoryview(data)):
        if number == 1:
            for name, entry in _entries(_view(value)):
                example.features[name] = _feature(entry)
        elif number == 2:
            for name, entry in _entries(_view(value)):
                steps = [_feature(_view(v)) for n, v in fields(entry) if n == 1]
                example.lists[name] = steps
    return example


def _entries(features: memoryview) -> Iterator[tuple[str, memoryview]]:
    for number, value in fields(features):
        if number != 1:
            continue
        name, content = "", memoryview(b"")
        for n, part in fields(_view(value)):
            if n == 1:
                name = _text(_view(part))
            elif n == 2:
                content = _view(part)
        yield name, content


def _text(data: memoryview) -> str:
    try:
        return bytes(data).decode()
    except UnicodeDecodeError:
        raise FormatError("a feature has a name that is no UTF-8") from None


def _feature(data: memoryview) -> Feature:
    kind, content = "", memoryview(b"")
    for number, value in fields(data):
        if number in _KINDS:
            kind, content = _KINDS[number], _view(value)
    return Feature(kind, content)


def fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Fields of a message: number, and value (varint and fixed ones as whole numbers).

    Raises:
        FormatError: The message is damaged.
    """
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise FormatError("a message has a field number 0")
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise FormatError(f"a message has a field of wire type {kind}")
        if size > end - at:
            raise FormatError("a message is cut off")
        yield number, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (2**64 - 1), at
        shift += 7
    raise FormatError("a message is cut off within a number")


def _varints(data: memoryview) -> list[int]:
    found, at = [], 0
    while at < len(data):
        value, at = _varint(data, at)
        found.append(value)
    return found


def _floats(value: int | memoryview) -> NDArray[np.float32]:
    data = _view(value)
    if len(data) % 4:
        raise FormatError("a list of floats is cut off")
    return np.frombuffer(data, "<f4").astype(np.float32)


def _view(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise FormatError("a message holds a number where a list or text is wanted")
    return value
