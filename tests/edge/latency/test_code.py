"""The blocks of a moment, and which blocks are of none."""

from __future__ import annotations

import numpy as np

from edge.latency.code import TIME_BITS, blocks_of, moment_of

T = 1_234_567_000_000
WRAP = (1 << TIME_BITS) * 1_000_000
"""17 minutes, ns."""


def test_a_moment_is_read_to_the_millisecond_whenever_it_is_read() -> None:
    for at_ns in (0, 1_000_000, T, T + 999_999, 3 * WRAP - 1, 3 * WRAP):
        for late_ns in (0, 5_000_000_000, WRAP // 2 - 2_000_000):
            got = moment_of(blocks_of(at_ns), at_ns + late_ns)
            assert got == at_ns // 1_000_000 * 1_000_000


def test_every_single_wrong_block_is_noticed() -> None:
    blocks = blocks_of(T)
    for place in np.ndindex(blocks.shape):
        wrong = blocks.copy()
        wrong[place] = not wrong[place]
        assert moment_of(wrong, T) is None
