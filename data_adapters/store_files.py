"""One preprocessed case on disk: a header and raw arrays in bricks, read in part or whole.

A file begins with eight bytes of magic, the length and CRC-32 of the header (little-endian uint32
each) and the header as JSON; each array lies at a multiple of 4096 bytes, uncompressed and
little-endian. An array is cut into bricks of at most 32 voxels a side (pictures: 256) that follow
each other in C order, so that a patch touches few places of the file; a small array is one brick,
and then lies there in its plain C order. The last bricks of an axis are filled up with zeros.
"""

from __future__ import annotations

import json
import math
import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from data_adapters.digest import narrowest_code
from data_adapters.errors import DataError

Array = NDArray[Any]
Triple = tuple[int, int, int]

FORMAT = 1
MAGIC = b"radzoo-1"
ALIGN = 4096
SIDE_3D, SIDE_2D = 32, 256
ONE_BRICK = 256 * 1024
"""Bytes up to which an array is a single brick."""
LARGEST_HEADER = 64 * 2**20
_PREFIX = struct.Struct("<8sII")


class DamagedError(DataError):
    """A stored case does not read back as it was written."""


@dataclass(frozen=True)
class Layout:
    """How one array lies in its file.

    Attributes:
        shape: Shape of the array as it was given.
        dtype: Its type, to which values are turned back.
        stored: Type on disk, which holds every value exactly.
        grid: Voxels along (slice, row, column); a picture has one slice.
        channels: Values per voxel.
        brick: Voxels of a brick along the same axes.
        offset: First byte.
        low: Lowest value.
        high: Highest value.
        crc: CRC-32 of the bytes, eight hex digits.
    """

    shape: tuple[int, ...]
    dtype: str
    stored: str
    grid: Triple
    channels: int
    brick: Triple
    offset: int
    low: float
    high: float
    crc: str = "0" * 8

    @property
    def counts(self) -> Triple:
        """Bricks along (slice, row, column)."""
        z, y, x = (-(-n // b) for n, b in zip(self.grid, self.brick, strict=True))
        return z, y, x

    @property
    def brick_bytes(self) -> int:
        """Bytes of one brick."""
        return math.prod(self.brick) * self.channels * np.dtype(self.stored).itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all bricks."""
        return math.prod(self.counts) * self.brick_bytes


def write_case(path: Path, facts: Mapping[str, Any], arrays: Mapping[str, Array]) -> int:
    """Write a case's file and bring it to the disk.

    Args:
        path: File to write; whoever wants all or nothing moves it into place afterwards.
        facts: JSON-able facts, kept in the header under `facts`.
        arrays: Name -> array; `mask` and `padding` have no channel axis, all others end in one.

    Returns:
        Size of the file.

    Raises:
        DataError: An array is empty or of a type that is not stored.
        OSError: The disk does not take it.
    """
    layouts = {name: _plan(name, array) for name, array in arrays.items()}
    end = _PREFIX.size + len(_header(facts, layouts)) + 32 * len(layouts)
    for name, layout in layouts.items():
        place = -(-end // ALIGN) * ALIGN
        layouts[name] = replace(layout, offset=place)
        end = place + layout.nbytes
    with path.open("wb") as handle:
        for name, array in arrays.items():
            handle.seek(layouts[name].offset)
            crc = 0
            for piece in _bricked(array, layouts[name]):
                handle.write(piece)
                crc = zlib.crc32(piece, crc)
            layouts[name] = replace(layouts[name], crc=f"{crc:08x}")
        header = _header(facts, layouts)
        handle.seek(0)
        handle.write(_PREFIX.pack(MAGIC, len(header), zlib.crc32(header)) + header)
        handle.flush()
        os.fsync(handle.fileno())
    return end


def read_header(handle: BinaryIO | FileIO) -> tuple[dict[str, Any], dict[str, Layout]]:
    """The facts and the arrays' layouts of an open file.

    Raises:
        DamagedError: It is no such file, was cut short or does not fit its checksum.
    """
    size = os.fstat(handle.fileno()).st_size
    prefix = os.pread(handle.fileno(), _PREFIX.size, 0)
    if len(prefix) < _PREFIX.size:
        raise DamagedError("the stored case is cut short")
    magic, length, crc = _PREFIX.unpack(prefix)
    if magic != MAGIC or length > min(LARGEST_HEADER, size):
        raise DamagedError("the stored case has no valid header")
    header = os.pread(handle.fileno(), length, _PREFIX.size)
    if zlib.crc32(header) != crc:
        raise DamagedError("the header of the stored case does not fit its checksum")
    content = json.loads(header)
    layouts = {name: _layout(entry) for name, entry in content["arrays"].items()}
    if any(layout.offset + layout.nbytes > size for layout in layouts.values()):
        raise DamagedError("the stored case is cut short")
    return content["facts"], layouts


def read_region(fd: int, layout: Layout, start: Triple, size: Triple) -> Array:
    """Read a box of voxels that lies inside the grid, touching only its bricks.

    Args:
        fd: Descriptor of the file, open for reading.
        layout: The array.
        start: First voxel along (slice, row, column).
        size: Voxels along the same axes.

    Returns:
        Array of shape `size + (channels,)` in the array's own type.

    Raises:
        DamagedError: The file ends before the box does.
    """
    stored, channels = np.dtype(layout.stored), layout.channels
    _, rows, columns = layout.counts
    bz, by, bx = layout.brick
    out = np.empty((size[0], size[1], size[2] * channels), stored)
    first, last = start[2] // bx, (start[2] + size[2] - 1) // bx
    run = np.empty((last - first + 1, bz, by, bx * channels), stored)
    brick_bytes = layout.brick_bytes
    along_y = list(_spans(start[1], size[1], by))
    along_x = list(_spans(start[2], size[2], bx, channels))
    for z, in_z, to_z in _spans(start[0], size[0], bz):
        for y, in_y, to_y in along_y:
            number = (z * rows + y) * columns + first
            _fill(fd, run, layout.offset + number * brick_bytes)
            for x, in_x, to_x in along_x:
                out[to_z, to_y, to_x] = run[x - first, in_z, in_y, in_x]
    return out.reshape(*size, channels).astype(layout.dtype, copy=False)


def intact(fd: int, layout: Layout) -> bool:
    """Whether all bytes of an array fit its checksum."""
    crc, place, end = 0, layout.offset, layout.offset + layout.nbytes
    while place < end:
        piece = os.pread(fd, min(1 << 22, end - place), place)
        if not piece:
            return False
        crc, place = zlib.crc32(piece, crc), place + len(piece)
    return f"{crc:08x}" == layout.crc


def brick_map(path: Path, layout: Layout) -> np.memmap[Any, Any]:
    """Read-only memory map of the bricks as they lie there.

    Axes: (brick along slice, row, column; slice, row, column within the brick; channel).
    """
    shape = (*layout.counts, *layout.brick, layout.channels)
    return np.memmap(path, np.dtype(layout.stored), "r", layout.offset, shape)


def _spans(
    start: int, size: int, brick: int, channels: int = 1
) -> Iterator[tuple[int, slice, slice]]:
    """Bricks that a range meets: number, the part within the brick, the part of the range."""
    for number in range(start // brick, (start + size - 1) // brick + 1):
        edge = number * brick
        low, high = max(start, edge), min(start + size, edge + brick)
        yield (
            number,
            slice((low - edge) * channels, (high - edge) * channels),
            slice((low - start) * channels, (high - start) * channels),
        )


def _fill(fd: int, target: Array, place: int) -> None:
    """Fill a contiguous array with the bytes of a file from `place` on."""
    view = target.data.cast("B")
    done = 0
    while done < len(view):
        got = os.preadv(fd, [view[done:]], place + done)
        if got == 0:
            raise DamagedError("the stored case is cut short")
        done += got


def _plan(name: str, array: Array) -> Layout:
    """How an array will lie, but for its place."""
    plain = name in ("mask", "padding")
    if array.size == 0 or array.dtype.kind not in "buif":
        raise DataError(f"{name} of shape {array.shape} and type {array.dtype} cannot be stored")
    shape = array.shape if plain else array.shape[:-1]
    if len(shape) not in (2, 3):
        raise DataError(f"{name} of shape {array.shape} is neither a picture nor a volume")
    grid = (1, shape[0], shape[1]) if len(shape) == 2 else (shape[0], shape[1], shape[2])
    channels = 1 if plain else array.shape[-1]
    stored = _stored_type(array)
    side = SIDE_3D if len(shape) == 3 else SIDE_2D
    if array.size * stored.itemsize <= ONE_BRICK:
        side = max(grid)
    z, y, x = (-(-n // -(-n // side)) for n in grid)
    low, high = float(array.min()), float(array.max())
    return Layout(
        array.shape, array.dtype.name, stored.str, grid, channels, (z, y, x), 0, low, high
    )


def _stored_type(array: Array) -> np.dtype[Any]:
    """The narrowest type that gives every value back; floats become integers of two bytes or less.

    Raises:
        DataError: Only more than 32 bits would do.
    """
    if array.dtype.kind == "b":
        return np.dtype("u1")
    code = narrowest_code(array)
    narrow = np.dtype(code).newbyteorder("<")
    if array.dtype.kind != "f":
        return narrow if code != "f8" else array.dtype.newbyteorder("<")
    return narrow if narrow.itemsize <= 2 else array.dtype.newbyteorder("<")


def _bricked(array: Array, layout: Layout) -> Iterator[bytes]:
    """The bytes of an array brick by brick, one layer of bricks along the first axis at a time."""
    _, rows, columns = layout.counts
    bz, by, bx = layout.brick
    volume = array.reshape(*layout.grid, layout.channels)
    for low in range(0, layout.grid[0], bz):
        slab = volume[low : low + bz]
        full = np.zeros((bz, rows * by, columns * bx, layout.channels), np.dtype(layout.stored))
        full[: len(slab), : layout.grid[1], : layout.grid[2]] = slab
        parts = full.reshape(bz, rows, by, columns, bx, layout.channels)
        yield parts.transpose(1, 3, 0, 2, 4, 5).tobytes()


def _header(facts: Mapping[str, Any], layouts: Mapping[str, Layout]) -> bytes:
    arrays = {name: asdict(layout) for name, layout in layouts.items()}
    return json.dumps({"format": FORMAT, "facts": facts, "arrays": arrays}).encode()


def _layout(entry: Mapping[str, Any]) -> Layout:
    lists: dict[str, Any] = {
        key: tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
        for key, value in entry.items()
    }
    return Layout(**lists)
