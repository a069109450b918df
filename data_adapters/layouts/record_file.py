"""TFRecord files: where each record lies, and reading one of them.

A record is its length (8 bytes, little endian), the masked CRC-32C of these, the data, and the
masked CRC-32C of the data (tensorflow/core/lib/io/record_writer.h). Files may be compressed whole
with gzip or zlib.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from data_adapters.errors import CaseError, DataError, FormatError
from data_adapters.layouts.crc32c import crc32c, masked

MOST_UNPACKED = 2 * 1024**3
MOST_RECORDS = 50_000_000
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Records:
    """The records of a file.

    Attributes:
        spans: Offset and length of each record's data, in the unpacked file.
        fault: Why the file ends before its last byte; empty where it does not.
    """

    spans: tuple[tuple[int, int], ...]
    fault: str = ""


class RecordFile:
    """One file, its records found without reading their data (unless it is compressed).

    Args:
        path: The file.

    Raises:
        FormatError: It is no TFRecord file.
        DataError: It cannot be read, or unpacks to more than can be held in memory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            status = path.stat()
            with path.open("rb") as file:
                head = file.read(12)
        except OSError as error:
            raise DataError(f"{path.name} cannot be read: {error.strerror}") from None
        self._key = (str(path), status.st_size, status.st_mtime_ns)
        self.compressed = not _is_frame(head)
        if self.compressed and not _is_packed(head):
            raise FormatError(f"{path.name} is no TFRecord file, compressed or not")
        self.records = _index(_content(*self._key, self.compressed))

    def data(self, i: int) -> memoryview:
        """Data of record `i`, not checked."""
        start, size = self.records.spans[i]
        return memoryview(_content(*self._key, self.compressed))[start : start + size]

    def checked(self, i: int, case_id: str) -> memoryview:
        """Data of record `i`, checked by their checksum.

        Raises:
            CaseError: `corrupt`: the checksum differs; `changed`, `missing` or `truncated`: it is
                another file now.
        """
        start, size = self.records.spans[i]
        try:
            status = self.path.stat()
            if (status.st_size, status.st_mtime_ns) != self._key[1:]:
                raise CaseError(case_id, "changed", "the file changed after it was opened")
            content = memoryview(_content(*self._key, self.compressed))
        except (OSError, DataError) as error:
            if isinstance(error, CaseError):
                raise
            raise CaseError(case_id, "missing", "the file of the record cannot be read") from None
        tail = content[start + size : start + size + 4]
        if len(tail) < 4:
            raise CaseError(case_id, "truncated", "the file ends before the record does")
        data = content[start : start + size]
        if struct.unpack("<I", tail)[0] != masked(crc32c(data)):
            raise CaseError(case_id, "corrupt", "the record's checksum differs from its data")
        return data


def _is_frame(head: bytes) -> bool:
    """Whether a file begins with a record's length and its checksum."""
    return len(head) == 12 and struct.unpack("<I", head[8:])[0] == masked(crc32c(head[:8]))


def _is_packed(head: bytes) -> bool:
    return head[:2] == _GZIP or (
        len(head) > 1 and head[0] & 15 == 8 and (head[0] * 256 + head[1]) % 31 == 0
    )


def _content(path: str, size: int, mtime_ns: int, compressed: bool) -> bytes | mmap.mmap:
    """The file's bytes: mapped, or unpacked; size and time are part of the caches' keys."""
    try:
        return (_unpacked if compressed else _mapped)(path, size, mtime_ns)
    except OSError as error:
        raise DataError(f"{Path(path).name} cannot be read: {error.strerror}") from None


@lru_cache(maxsize=64)
def _mapped(path: str, size: int, mtime_ns: int) -> mmap.mmap:
    del size, mtime_ns
    with Path(path).open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


@lru_cache(maxsize=2)
def _unpacked(path: str, size: int, mtime_ns: int) -> bytes:
    del size, mtime_ns
    return _unpack(Path(path).read_bytes(), Path(path).name)


def _unpack(data: bytes, name: str) -> bytes:
    """Unpack gzip (one or several members) or zlib, up to a limit."""
    parts: list[bytes] = []
    left = MOST_UNPACKED
    while data:
        stream = zlib.decompressobj(47)
        try:
            parts.append(stream.decompress(data, left))
        except zlib.error:
            if not parts:
                raise FormatError(f"{name} is damaged and cannot be unpacked") from None
            break
        left -= len(parts[-1])
        if stream.unconsumed_tail or left <= 0:
            raise DataError(
                f"{name} unpacks to more than {MOST_UNPACKED} bytes: write it uncompressed, which "
                "allows random access"
            )
        if not stream.eof:  # cut off: what was there is used, and its end is told below
            break
        data = stream.unused_data
    return b"".join(parts)


def _index(content: bytes | mmap.mmap) -> Records:
    spans: list[tuple[int, int]] = []
    at, end = 0, len(content)
    while at < end:
        head = content[at : at + 12]
        if len(head) < 12:
            return Records(tuple(spans), "the file ends within a record")
        size = struct.unpack("<Q", head[:8])[0]
        if struct.unpack("<I", head[8:])[0] != masked(crc32c(head[:8])):
            return Records(tuple(spans), "the length of a record is damaged")
        if size > end - at - 16:
            return Records(tuple(spans), "the file ends within a record")
        spans.append((at + 12, size))
        if len(spans) > MOST_RECORDS:
            raise DataError(f"a file holds more than {MOST_RECORDS} records")
        at += size + 16
    return Records(tuple(spans))


def frame(data: bytes) -> bytes:
    """A record as it stands in a file."""
    length = struct.pack("<Q", len(data))
    checks = [struct.pack("<I", masked(crc32c(part))) for part in (length, data)]
    return b"".join([length, checks[0], data, checks[1]])


def write_records(path: Path, records: Sequence[bytes]) -> None:
    """Write an uncompressed TFRecord file."""
    path.write_bytes(b"".join(map(frame, records)))
