"""CRC-32C (Castagnoli, RFC 3720 B.4) and the masked form that TFRecord files hold."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

_POLYNOMIAL = 0x82F63B78
_LANE = 1024
"""Bytes of a lane; long data are worked through lane by lane side by side."""


@cache
def _table() -> NDArray[np.uint32]:
    values = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        values = np.where(values & 1, (values >> 1) ^ np.uint32(_POLYNOMIAL), values >> 1)
    return values.astype(np.uint32)


@cache
def _plain() -> tuple[int, ...]:
    return tuple(int(value) for value in _table())


@cache
def _past_a_lane() -> tuple[tuple[int, ...], ...]:
    """What each byte of a register becomes by `_LANE` zero bytes (the register is linear)."""
    bits = []
    for bit in range(32):
        register = 1 << bit
        for _ in range(_LANE):
            register = (register >> 8) ^ _plain()[register & 255]
        bits.append(register)
    tables = []
    for byte in range(4):
        row = []
        for value in range(256):
            register = 0
            for bit in range(8):
                if value >> bit & 1:
                    register ^= bits[8 * byte + bit]
            row.append(register)
        tables.append(tuple(row))
    return tuple(tables)


def crc32c(data: bytes | memoryview) -> int:
    """CRC-32C of bytes."""
    register, whole = 0xFFFFFFFF, len(data) // _LANE
    if whole > 1:
        lanes = np.frombuffer(data, np.uint8, whole * _LANE).reshape(whole, _LANE)
        remainders = _lanes(lanes)
        first, second, third, fourth = _past_a_lane()
        for remainder in remainders.tolist():
            register = (
                first[register & 255]
                ^ second[register >> 8 & 255]
                ^ third[register >> 16 & 255]
                ^ fourth[register >> 24]
                ^ remainder
            )
        data = data[whole * _LANE :]
    table = _plain()
    for byte in data:
        register = (register >> 8) ^ table[(register ^ byte) & 255]
    return register ^ 0xFFFFFFFF


def _lanes(lanes: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Register of each row, begun at 0."""
    table = _table()
    registers = np.zeros(len(lanes), np.uint32)
    for column in np.ascontiguousarray(lanes.T):
        registers = (registers >> 8) ^ table[(registers ^ column) & 255]
    return registers


def masked(crc: int) -> int:
    """The form in which TFRecord files hold a checksum (tensorflow/core/lib/hash/crc32c.h)."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
