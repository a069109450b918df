"""The stored values of a volume, unpacked under the limits its header set.

SimpleITK is not asked to unpack: it reads the first half of a truncated `.nii.gz` and the damaged
bytes of a compressed `.mha` without an error. Here the length is checked, and so is the checksum
that gzip, zlib and bzip2 keep.
"""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from data_adapters.errors import CaseError
from data_adapters.volumes.header import VolumeHeader

_CHUNK = 64 * 1024
_SPARE = 16 * 1024 * 1024


def read_values(header: VolumeHeader, case_id: str) -> NDArray[Any]:
    """The stored array, in its stored type and axes.

    Args:
        header: A checked header.
        case_id: Pseudonymous id that errors carry.

    Raises:
        CaseError: `truncated`, `corrupt`, `unreadable` or `bomb`.
    """
    try:
        flat = np.empty(header.bytes, np.uint8)
        with header.data.open("rb") as file:
            if header.encoding == "raw":
                _read_raw(file, header, flat, case_id)
            else:
                _unpack(file, header, flat, case_id)
    except MemoryError:
        raise CaseError(case_id, "bomb", "the volume does not fit into memory") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CaseError(case_id, "unreadable", f"the file cannot be read: {reason}") from None
    return flat.view(header.dtype).reshape(header.stored)


def _read_raw(file: IO[bytes], header: VolumeHeader, out: NDArray[Any], case_id: str) -> None:
    file.seek(header.offset)
    if file.readinto(out.data) != len(out):  # type: ignore[attr-defined]
        raise CaseError(case_id, "truncated", "the file ends before the volume does")


def _unpack(file: IO[bytes], header: VolumeHeader, out: NDArray[Any], case_id: str) -> None:
    """Fill `out` from a compressed stream and run to its end, where the checksum stands."""
    skip = header.offset if header.compressed else 0
    if not header.compressed:
        file.seek(header.offset)
    at, spare = -skip, 0
    try:
        for piece in _pieces(file, header.encoding):
            first = max(0, -at)
            end = min(len(piece), len(out) - at)
            if end > first:
                out[at + first : at + end] = np.frombuffer(piece, np.uint8, end - first, first)
            spare += max(0, len(piece) - max(end, 0))
            at += len(piece)
            if spare > _SPARE:
                raise CaseError(case_id, "corrupt", "far more is packed than the header declares")
    except EOFError:
        raise CaseError(case_id, "truncated", "the file ends before the volume does") from None
    except (zlib.error, ValueError, OSError):
        raise CaseError(case_id, "corrupt", "the compressed values are damaged") from None
    if at < len(out):
        raise CaseError(case_id, "truncated", "fewer values are packed than the header declares")


def _pieces(file: IO[bytes], encoding: str) -> Iterator[bytes]:
    """Unpacked pieces; `EOFError` where the file ends within a stream.

    gzip may hold several streams in a row, and zeros may follow the last one.
    """
    rest = file.read(_CHUNK)
    while rest:
        stream: Any = (
            bz2.BZ2Decompressor() if encoding == "bzip2" else zlib.decompressobj(47)
        )  # 47: gzip or zlib, by what the stream says of itself
        while not stream.eof:
            if not rest:
                raise EOFError
            if encoding == "bzip2":
                yield stream.decompress(rest, _SPARE)
                while not stream.eof and not stream.needs_input:
                    yield stream.decompress(b"", _SPARE)
            else:
                yield stream.decompress(rest)
            rest = b"" if stream.eof else file.read(_CHUNK)
        rest = (stream.unused_data.lstrip(b"\0") or file.read(_CHUNK)).lstrip(b"\0")
        if encoding != "gzip" or not rest.startswith(b"\x1f\x8b"):
            return
