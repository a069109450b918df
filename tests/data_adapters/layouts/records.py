"""TFRecord files made without TensorFlow, for the tests of their reader."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_adapters.layouts.record_file import write_records

Value = Any


def varint(value: int) -> bytes:
    value &= 2**64 - 1
    out = bytearray()
    while True:
        out.append((value & 127) | (128 if value > 127 else 0))
        value >>= 7
        if not value:
            return bytes(out)


def message(number: int, data: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def feature(value: Value) -> bytes:
    """A Feature of bytes, text, whole numbers or floats."""
    values = value if isinstance(value, list) else [value]
    if not values:
        return message(3, b"")
    if isinstance(values[0], str | bytes):
        encoded = [v.encode() if isinstance(v, str) else v for v in values]
        return message(1, b"".join(message(1, v) for v in encoded))
    if isinstance(values[0], float):
        return message(2, message(1, struct.pack(f"<{len(values)}f", *values)))
    return message(3, message(1, b"".join(varint(v) for v in values)))


def features(values: dict[str, Value]) -> bytes:
    return b"".join(
        message(1, message(1, name.encode()) + message(2, feature(value)))
        for name, value in values.items()
    )


def example(values: dict[str, Value]) -> bytes:
    return message(1, features(values))


def sequence_example(values: dict[str, Value], lists: dict[str, list[Value]]) -> bytes:
    steps = b"".join(
        message(1, message(1, name.encode())
                + message(2, b"".join(message(1, feature(v)) for v in several)))
        for name, several in lists.items()
    )  # fmt: skip
    return message(1, features(values)) + message(2, steps)


def png(seed: int, shape: tuple[int, ...] = (20, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels(seed, shape)).save(buffer, "PNG")
    return buffer.getvalue()


def pixels(seed: int, shape: tuple[int, ...] = (20, 30)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def tfrecords(root: Path) -> None:
    """Two parts with encoded pictures, and their feature map."""
    for part, seeds in (("train", (0, 1)), ("val", (2,))):
        write_records(
            root / f"{part}.tfrecord",
            [
                example({"pic": png(i), "class": i % 2, "name": f"scan {i}", "who": "ab"[i % 2]})
                for i in seeds
            ],
        )
    (root / "features.yaml").write_text("image: pic\nlabel: class\nid: name\npatient: who\n")
