"""Diffusion weighting of an image, also where only a vendor's private elements hold it."""

from __future__ import annotations

import math

from data_adapters.dicom.elements import Elements

# (group, owner of the block, element in it, how it is stored) of vendors' b-values.
_B_VALUES = (
    (0x0019, b"SIEMENS MR HEADER", 0x0C, "text"),
    (0x0043, b"GEMS_PARM_01", 0x39, "text"),
    (0x2001, b"Philips Imaging DD 001", 0x03, "f"),
    (0x0065, b"Image Private Header", 0x09, "d"),
)
_GRADIENTS = (
    (0x0019, b"SIEMENS MR HEADER", (0x0E,), "d"),
    (0x0019, b"GEMS_ACQU_01", (0xBB, 0xBC, 0xBD), "text"),
    (0x2005, b"Philips MR Imaging DD 001", (0xB0, 0xB1, 0xB2), "f"),
    (0x0065, b"Image Private Header", (0x37,), "d"),
)


def _private(found: Elements, group: int, owner: bytes, number: int) -> bytes | None:
    """Bytes of a private element, found through the owner of its block (PS3.5, 7.8.1)."""
    for block in range(0x10, 0x20):
        creator = found.values.get(group << 16 | block)
        if creator and creator.strip(b" \0") == owner:
            return found.values.get(group << 16 | block << 8 | number)
    return None


def _private_numbers(found: Elements, raw: bytes | None, code: str) -> list[float]:
    if not raw:
        return []
    if code != "text":
        return found.binary(raw, code)
    try:
        return [float(part) for part in raw.strip(b" \0").split(b"\\")]
    except ValueError:
        return []


def b_value(found: Elements) -> float | None:
    """Diffusion b-value in s/mm2: the standard element, else a vendor's."""
    standard = found.binary(found.values.get(0x00189087, b""), "d")
    if standard:
        return standard[0]
    for group, owner, number, code in _B_VALUES:
        values = _private_numbers(found, _private(found, group, owner, number), code)
        if values and math.isfinite(values[0]) and values[0] >= 0:
            # GE adds 1e9 to mark a value that was given per direction.
            return values[0] % 1e9 if group == 0x0043 else values[0]
    return None


def gradient(found: Elements) -> str:
    """Diffusion direction: the standard element, else a vendor's; three numbers, or empty."""
    values = found.binary(found.values.get(0x00189089, b""), "d")
    for group, owner, numbers, code in _GRADIENTS:
        if len(values) == 3:
            break
        values = []
        for number in numbers:
            values += _private_numbers(found, _private(found, group, owner, number), code)
    return " ".join(f"{value:.4f}" for value in values) if len(values) == 3 else ""
