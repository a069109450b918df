"""The pixels of a plainly encoded single-frame file: a quick walk over its bytes to them.

Whole series come as implicit or explicit little endian; parsing each slice with pydicom would take
longer than reading its pixels. Whatever is not exactly as expected is left to pydicom.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from data_adapters.dicom.values import Units, with_sign

_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_DEEPEST = 24
_IMPLICIT, _EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
_SYNTAX, _PIXEL_DATA = 0x00020010, 0x7FE00010
_ELSEWHERE = frozenset((0x00283000, 0x3004000E, 0x7FE00008, 0x7FE00009, 0x52009229, 0x52009230))
"""Modality LUT, Dose Grid Scaling, floating-point pixels, functional groups."""
_head, _long = struct.Struct("<HHI").unpack_from, struct.Struct("<I").unpack_from
_explicit_head = struct.Struct("<HH2sH").unpack_from


class UnusualError(ValueError):
    """The file is not in the plain form that is read here: ask pydicom."""


@dataclass(frozen=True, slots=True)
class Plane:
    """The pixel description of one file.

    Attributes:
        shape: Rows and columns.
        bits: Bits Allocated.
        stored: Bits Stored.
        high: High Bit.
        units: How stored values become values in modality units.
        start: Where the pixel bytes begin.
        plain: The pixels are uncompressed.
    """

    shape: tuple[int, int]
    bits: int
    stored: int
    high: int
    units: Units
    start: int
    plain: bool


def read_plane(data: bytes | memoryview, *, ct: bool) -> Plane:
    """Find the pixels and what is needed to read them.

    Args:
        data: A file from its first byte, at least up to its pixels.
        ct: Values are HU.

    Raises:
        UnusualError: Any encoding but the plain ones, several frames or samples, a Modality LUT, or
            bytes that end or break before the pixels.
    """
    try:
        return _plane(data, *_places(data), ct=ct)
    except (struct.error, ArithmeticError, ValueError) as error:
        raise UnusualError("not the plain form") from error


def _places(data: bytes | memoryview) -> tuple[dict[int, tuple[int, int]], str]:
    """(start, length) of the top-level values by tag, and the transfer syntax."""
    if bytes(data[128:132]) != b"DICM":
        raise UnusualError("no file meta information")
    places: dict[int, tuple[int, int]] = {}
    position = _walk(data, 132, True, places, meta=True)
    start, length = places.get(_SYNTAX, (0, 0))
    syntax = str(data[start : start + length], "ascii").strip(" \0")
    encapsulated = syntax.startswith("1.2.840.10008.1.2.4.") or syntax == "1.2.840.10008.1.2.5"
    if syntax not in (_IMPLICIT, _EXPLICIT) and not encapsulated:
        raise UnusualError("another encoding")
    _walk(data, position, syntax != _IMPLICIT, places, meta=False)
    return places, syntax


def _walk(
    data: bytes | memoryview,
    at: int,
    explicit: bool,
    places: dict[int, tuple[int, int]],
    *,
    meta: bool,
) -> int:
    """Note elements from `at` on: those of group 2, or the others up to the pixels."""
    last = 0
    while True:
        if explicit:
            group, number, vr, length = _explicit_head(data, at)
            start = at + 8
            if meta and group != 2:
                return at
            if vr in _LONG:
                (length,) = _long(data, start)
                start += 4
            elif vr not in _SHORT:
                raise UnusualError("no value representation")
        else:
            group, number, length = _head(data, at)
            start, vr = at + 8, b""
        tag = group << 16 | number
        if tag <= last or tag in _ELSEWHERE:
            raise UnusualError("an element out of place")
        last = tag
        places[tag] = (start, length)
        if tag == _PIXEL_DATA:
            return start
        if length == _UNDEFINED:
            if vr == b"UN":
                raise UnusualError("unknown value of undefined length")
            at = _sequence_end(data, start, explicit, 0)
        else:
            at = start + length


def _sequence_end(data: bytes | memoryview, at: int, explicit: bool, depth: int) -> int:
    """Where a sequence of undefined length ends."""
    if depth > _DEEPEST:
        raise UnusualError("sequences too deep")
    while True:
        group, number, length = _head(data, at)
        at, tag = at + 8, group << 16 | number
        if tag == _SEQUENCE_END:
            return at
        if tag != _ITEM:
            raise UnusualError("no item in a sequence")
        at = _item_end(data, at, explicit, depth) if length == _UNDEFINED else at + length


def _item_end(data: bytes | memoryview, at: int, explicit: bool, depth: int) -> int:
    """Where an item of undefined length ends."""
    while True:
        group, number, length = _head(data, at)
        at += 8
        if group << 16 | number == _ITEM_END:
            return at
        if explicit:
            vr = bytes(data[at - 4 : at - 2])
            length >>= 16
            if vr in _LONG:
                (length,) = _long(data, at)
                at += 4
            elif vr not in _SHORT:
                raise UnusualError("no value representation")
            if vr == b"UN" and length == _UNDEFINED:
                raise UnusualError("unknown value of undefined length")
        at = _sequence_end(data, at, explicit, depth + 1) if length == _UNDEFINED else at + length


def _plane(
    data: bytes | memoryview, places: dict[int, tuple[int, int]], syntax: str, *, ct: bool
) -> Plane:
    def integer(tag: int, default: int | None = None) -> int:
        start, length = places.get(tag, (0, 0))
        if length == 2:
            return int.from_bytes(data[start : start + 2], "little")
        if length or default is None:
            raise UnusualError("a missing or unusual number")
        return default

    def decimal(tag: int, default: float) -> float:
        start, length = places.get(tag, (0, 0))
        text = str(data[start : start + length], "ascii").strip(" \0")
        return float(text) if text else default

    bits, sign = integer(0x00280100), integer(0x00280103)
    photometric, stored = _text(data, places, 0x00280004), integer(0x00280101)
    if photometric not in ("MONOCHROME1", "MONOCHROME2") or integer(0x00280002, 1) != 1:
        raise UnusualError("no grey pixels")
    if decimal(0x00280008, 1) != 1 or bits not in (8, 16, 32) or not 0 < stored <= bits:
        raise UnusualError("several frames, or pixels of an unusual width")
    slope, intercept = decimal(0x00281053, 1.0), decimal(0x00281052, 0.0)
    if slope == 0 or not abs(slope) < 1e30 or not abs(intercept) < 1e30:
        raise UnusualError("an impossible rescale")
    padding = None
    if 0x00280120 in places and places[0x00280120][1]:
        first = integer(0x00280120)
        last = integer(0x00280121, first)
        width = stored if sign == 1 else bits
        ends = [with_sign(end, min(width, 16), signed=sign == 1) for end in (first, last)]
        padding = (min(ends), max(ends))
    rows, columns = integer(0x00280010), integer(0x00280011)
    start, length = places[_PIXEL_DATA]
    plain = syntax in (_IMPLICIT, _EXPLICIT)
    if rows < 1 or columns < 1 or (plain and length < rows * columns * bits // 8):
        raise UnusualError("no pixels, or fewer than declared")
    units = Units(slope, intercept, None, padding, ct, stored, sign == 1)
    return Plane((rows, columns), bits, stored, integer(0x00280102), units, start, plain)


def _text(data: bytes | memoryview, places: dict[int, tuple[int, int]], tag: int) -> str:
    start, length = places.get(tag, (0, 0))
    return str(data[start : start + length], "ascii").strip(" \0")
