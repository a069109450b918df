"""The top-level elements of a DICOM header, straight from a file's first bytes (PS3.5, 7.1).

Most files are explicit or implicit VR little endian with a preamble, and of those only a few
elements are wanted: they are picked here without making objects of the others. Whatever is not
exactly as expected is left to pydicom.
"""

from __future__ import annotations

import math
import os
import struct
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

FIRST_READ = 1 << 14
LARGEST_HEADER = 1 << 24
"""Bytes before the pixels that are walked here; a longer header is pydicom's."""
STOP = 0x52009229
"""Shared functional groups: whatever is wanted comes before them, overlays and pixels after."""
MEDIA_CLASS = 0x00020002
TEXT_VRS = frozenset({b"LO", b"LT", b"PN", b"SH", b"ST", b"UC", b"UT"})

_IMPLICIT = "1.2.840.10008.1.2"
_EXPLICIT = "1.2.840.10008.1.2.1"
_NOT_HERE = frozenset({"1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95"})
_SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_BLANK = " \0\t\r\n"
_TEXT, _WIDE = 1, 2
_KINDS = {vr: (vr in TEXT_VRS) * _TEXT + (vr in _LONG) * _WIDE for vr in _SHORT | _LONG}
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_DEEPEST = 24
_PRIVATE = frozenset({0x0019, 0x0043, 0x0065, 0x2001, 0x2005})
_LONGEST_PRIVATE = 256

_explicit_head = struct.Struct("<HH2sH").unpack_from
_implicit_head = struct.Struct("<HHL").unpack_from
_long = struct.Struct("<L").unpack_from


@dataclass(slots=True)
class Elements:
    """Raw values of a header's top level.

    Attributes:
        values: Bytes of the wanted elements, of all text elements, and of small private ones, by
            tag.
        texts: Tags of text elements, in the file's order.
        sequences: Bytes inside the sequences, by tag.
        syntax: Transfer Syntax UID; empty where unknown.
        order: Byte order of binary values: `<` or `>`.
        grouped: The object has functional groups (an enhanced multi-frame one).
    """

    values: dict[int, bytes] = field(default_factory=dict)
    texts: list[int] = field(default_factory=list)
    sequences: dict[int, bytes] = field(default_factory=dict)
    syntax: str = ""
    order: str = "<"
    grouped: bool = False

    def text(self, tag: int) -> str:
        """Text of an element, decoded with the header's character set; empty where absent."""
        raw = self.values.get(tag)
        if not raw:
            return ""
        plain = _plain_text(raw)
        return self._decoded(raw).strip(_BLANK) if plain is None else plain

    def _decoded(self, raw: bytes) -> str:
        from pydicom.charset import convert_encodings, decode_bytes

        charset = self.values.get(0x00080005, b"").decode("ascii", "replace")
        names = [part.strip(" \0") for part in charset.split("\\")]
        return str(decode_bytes(raw, convert_encodings(names), {ord("\\")}))

    def parts(self, tag: int) -> tuple[str, ...]:
        """The values of a text element."""
        text = self.text(tag)
        return tuple(part.strip(" \0") for part in text.split("\\")) if text else ()

    def numbers(self, tag: int, count: int) -> tuple[float, ...] | None:
        """Exactly so many finite numbers of a decimal string; None where they are not there."""
        raw = self.values.get(tag)
        values = _plain_numbers(raw) if raw else ()
        return values if len(values) == count else None

    def number(self, tag: int) -> float | None:
        """The one number of a decimal string."""
        values = self.numbers(tag, 1)
        return values[0] if values else None

    def integer(self, tag: int) -> int | None:
        """The one whole number of an integer string."""
        value = self.number(tag)
        return int(value) if value is not None and value == int(value) else None

    def short(self, tag: int, code: str = "H") -> int | None:
        """One binary 16-bit value; `code` is `H` or `h`."""
        raw = self.values.get(tag)
        return struct.unpack(self.order + code, raw)[0] if raw and len(raw) == 2 else None

    def binary(self, raw: bytes, code: str) -> list[float]:
        """Finite numbers stored as `f` or `d`."""
        width = struct.calcsize(code)
        if not raw or len(raw) % width:
            return []
        values = struct.unpack(f"{self.order}{len(raw) // width}{code}", raw)
        return [value for value in values if math.isfinite(value)]


@lru_cache(maxsize=4096)
def _plain_text(raw: bytes) -> str | None:
    """Text of the default repertoire; None where a character set is needed."""
    try:
        text = raw.decode("ascii")
    except UnicodeDecodeError:
        return None
    return None if "\x1b" in text else text.strip(_BLANK)


@lru_cache(maxsize=4096)
def _plain_numbers(raw: bytes) -> tuple[float, ...]:
    """Numbers of a decimal string; none where one of them is no finite number."""
    if b"_" in raw:
        return ()
    try:
        values = tuple(float(part) for part in raw.strip(b" \0").split(b"\\"))
    except ValueError:
        return ()
    return values if all(map(math.isfinite, values)) else ()


class Unusual(Exception):
    """The file is not in the plain form that is read here.

    Attributes:
        cut: An element goes on behind the end of the file.
    """

    def __init__(self, *, cut: bool = False) -> None:
        super().__init__()
        self.cut = cut


def read_elements(path: str | Path, wanted: frozenset[int]) -> Elements:
    """Pick elements from a file's header.

    Args:
        path: The file.
        wanted: Tags to keep, beside text elements and private creators and values.

    Raises:
        Unusual: Another encoding, or anything out of the ordinary: ask pydicom.
        OSError: The file cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        size = os.fstat(handle).st_size
        data = os.read(handle, FIRST_READ)
        while True:
            try:
                return parse(data, wanted, whole=len(data) >= size)
            except _Short as short:
                if short.wanted > min(size, LARGEST_HEADER):
                    raise Unusual(cut=short.wanted > size) from None
                more = os.read(handle, max(short.wanted - len(data), 3 * len(data)))
                if not more:
                    raise Unusual from None
                data += more
    finally:
        os.close(handle)


class _Short(Exception):
    """The bytes end before an element does; the file may go on."""

    def __init__(self, wanted: int) -> None:
        super().__init__()
        self.wanted = wanted


def parse(data: bytes, wanted: frozenset[int], *, whole: bool) -> Elements:
    """Pick elements from the first bytes of a file, or from all where `whole`."""
    if data[128:132] != b"DICM":
        raise Unusual
    found = Elements()
    start = _file_meta(data, found)
    if found.syntax in _NOT_HERE or not found.syntax.startswith(_IMPLICIT):
        raise Unusual
    explicit = data[start + 4 : start + 6] in _KINDS
    if len(data) < start + 8:
        raise _Short(start + 8)
    if explicit == (found.syntax == _IMPLICIT):
        raise Unusual
    walk = _walk_explicit if explicit else _walk_implicit
    end = walk(data, start, wanted, found)
    if end is not None and not (whole and end == len(data)):
        raise _Short(end + 8)
    return found


def _file_meta(data: bytes, found: Elements) -> int:
    """Read group 2 (always explicit little endian, PS3.10, 7.1); returns where it ends."""
    at = 132
    while True:
        if len(data) < at + 8:
            raise _Short(at + 8)
        group, number, vr, length = _explicit_head(data, at)
        if group != 2:
            break
        start = at + 8
        if vr in _LONG:
            if len(data) < at + 12:
                raise _Short(at + 12)
            (length,) = _long(data, start)
            start += 4
        elif vr not in _SHORT:
            raise Unusual
        at = start + length
        if length == _UNDEFINED or at > LARGEST_HEADER:
            raise Unusual
        if number in (0x0002, 0x0010) and len(data) < at:
            raise _Short(at)
        if number == 0x0002:
            found.values[MEDIA_CLASS] = data[start:at]
        elif number == 0x0010:
            found.syntax = data[start:at].decode("ascii", "replace").strip(" \0")
    return at


def _walk_explicit(data: bytes, at: int, wanted: frozenset[int], found: Elements) -> int | None:
    """Pick elements; where the bytes ran out, None where the last wanted one was passed."""
    end, last = len(data), 0
    values, texts, head, kinds = found.values, found.texts, _explicit_head, _KINDS
    while at + 8 <= end:
        group, number, vr, length = head(data, at)
        tag = group << 16 | number
        if tag <= last:
            raise Unusual
        if tag >= STOP:
            found.grouped = group == 0x5200
            return None
        last, start, kind = tag, at + 8, kinds.get(vr)
        if kind is None:
            raise Unusual
        if kind >= _WIDE:
            if at + 12 > end:
                raise _Short(at + 12)
            (length,) = _long(data, start)
            start += 4
            if length == _UNDEFINED:
                at = _undefined_end(data, start, vr)
                found.sequences[tag] = data[start:at]
                continue
        at = start + length
        if at > end:
            raise _Short(at)
        if kind & _TEXT or (vr == b"UN" and vr_of(tag) in TEXT_VRS):
            texts.append(tag)
            values[tag] = data[start:at]
        elif tag in wanted or (group in _PRIVATE and length <= _LONGEST_PRIVATE and vr != b"SQ"):
            values[tag] = data[start:at]
        elif vr == b"SQ" or (vr == b"UN" and vr_of(tag) == b"SQ"):
            found.sequences[tag] = data[start:at]
    return at


def _undefined_end(data: bytes, start: int, vr: bytes) -> int:
    """Where an element of undefined length ends; inside UN all is implicit (PS3.5, 6.2.2)."""
    if vr not in (b"SQ", b"UN"):
        raise Unusual
    return _sequence_end(data, start, vr == b"SQ", 0)


def _walk_implicit(data: bytes, at: int, wanted: frozenset[int], found: Elements) -> int | None:
    """As `_walk_explicit`; the value representations come from the dictionary."""
    end, last = len(data), 0
    values = found.values
    while at + 8 <= end:
        group, number, length = _implicit_head(data, at)
        tag = group << 16 | number
        if tag <= last:
            raise Unusual
        if tag >= STOP:
            found.grouped = group == 0x5200
            return None
        last, start = tag, at + 8
        if length == _UNDEFINED:
            at = _sequence_end(data, start, False, 0)
            found.sequences[tag] = data[start:at]
            continue
        at = start + length
        if at > end:
            raise _Short(at)
        vr = vr_of(tag)
        if vr in TEXT_VRS:
            found.texts.append(tag)
            values[tag] = data[start:at]
        elif vr == b"SQ":
            found.sequences[tag] = data[start:at]
        elif tag in wanted or (group in _PRIVATE and length <= _LONGEST_PRIVATE):
            values[tag] = data[start:at]
    return at


def _sequence_end(data: bytes, at: int, explicit: bool, depth: int) -> int:
    """Where a sequence of undefined length ends, behind its delimiter."""
    if depth > _DEEPEST:
        raise Unusual
    while True:
        if at + 8 > len(data):
            raise _Short(at + 8)
        group, number, length = _implicit_head(data, at)
        tag = group << 16 | number
        at += 8
        if tag == _SEQUENCE_END:
            return at
        if tag != _ITEM:
            raise Unusual
        at = _item_end(data, at, explicit, depth) if length == _UNDEFINED else at + length


def _item_end(data: bytes, at: int, explicit: bool, depth: int) -> int:
    """Where an item of undefined length ends, behind its delimiter."""
    while True:
        if at + 12 > len(data):
            raise _Short(at + 12)
        group, number, length = _implicit_head(data, at)
        if group == 0xFFFE:
            if number != 0xE00D:
                raise Unusual
            return at + 8
        nested_explicit = explicit
        at += 8
        if explicit:
            vr = data[at - 4 : at - 2]
            if vr in _SHORT:
                at += length >> 16
                continue
            if vr not in _LONG:
                raise Unusual
            (length,) = _long(data, at)
            at += 4
            nested_explicit = vr == b"SQ"
        if length == _UNDEFINED:
            at = _sequence_end(data, at, nested_explicit, depth + 1)
        else:
            at += length


@lru_cache(maxsize=4096)
def vr_of(tag: int) -> bytes:
    """Value representation of a standard element; `LO` of a private creator; else `UN`."""
    from pydicom.datadict import dictionary_VR

    if tag >> 16 & 1:
        return b"LO" if 0x10 <= tag & 0xFFFF <= 0xFF else b"UN"
    try:
        return dictionary_VR(tag).encode()[:2]
    except KeyError:
        return b"UN"
