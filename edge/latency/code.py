"""A moment as 32 blocks, lit or not: milliseconds and a checksum of them; it draws nothing."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

COLUMNS, ROWS = 8, 4
TIME_BITS, CHECK_BITS = 20, 12
"""Milliseconds modulo 17 minutes, and their checksum: a picture may hold parts of two, and one in
four thousand such mixtures passes for a whole one."""
_MODULUS = 1 << TIME_BITS


def blocks_of(at_ns: int) -> NDArray[np.bool_]:
    """(ROWS, COLUMNS) which blocks are lit at a moment, to the millisecond."""
    value = at_ns // 1_000_000 % _MODULUS
    word = value << CHECK_BITS | _checksum(value)
    bits = [word >> i & 1 for i in range(COLUMNS * ROWS)]
    return np.array(bits, bool).reshape(ROWS, COLUMNS)


def moment_of(lit: NDArray[np.bool_], near_ns: int) -> int | None:
    """The moment with these blocks (ROWS, COLUMNS) that is nearest to ``near_ns``.

    None where no moment has them.
    """
    word = sum(1 << i for i in np.flatnonzero(lit).tolist())
    value, checksum = word >> CHECK_BITS, word & ((1 << CHECK_BITS) - 1)
    if checksum != _checksum(value):
        return None
    near_ms = near_ns // 1_000_000
    past = (near_ms - value + _MODULUS // 2) % _MODULUS - _MODULUS // 2
    return (near_ms - past) * 1_000_000


def _checksum(value: int) -> int:
    return zlib.crc32(value.to_bytes(4, "little")) & ((1 << CHECK_BITS) - 1)
