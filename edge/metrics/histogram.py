"""Durations as counts in logarithmic buckets, of bounded size; it reads no clock.

Buckets grow by 1 %, so percentiles are right to 0.5 %; counts, means and maxima are exact.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

TIMES = ("mean_ms", "p50_ms", "p90_ms", "p99_ms", "max_ms")

_GROWTH = 1.01
_LOWEST_NS = 1_000  # 1 us: shorter stages do not matter beside a frame
_PER_LOG = 1.0 / math.log(_GROWTH)
_BUCKETS = int(math.log(1e12 / _LOWEST_NS) * _PER_LOG) + 2  # up to 1,000 s; the last takes the rest

_EMPTY = array("q", bytes(8 * _BUCKETS))


class Histogram:
    """Durations in nanoseconds as counts in logarithmic buckets."""

    __slots__ = ("_buckets", "count", "max_ns", "min_ns", "total_ns")

    def __init__(self) -> None:
        self._buckets = _EMPTY[:]
        self.count = 0
        self.total_ns = 0
        self.min_ns = 0
        self.max_ns = 0

    def record(self, ns: int) -> None:
        """Count one duration; a negative one (a clock that lags) counts as 0."""
        if ns < 0:
            ns = 0
        index = int(math.log(ns / _LOWEST_NS) * _PER_LOG) + 1 if ns > _LOWEST_NS else 0
        self._buckets[index if index < _BUCKETS else _BUCKETS - 1] += 1
        if self.count == 0 or ns < self.min_ns:
            self.min_ns = ns
        if ns > self.max_ns:
            self.max_ns = ns
        self.count += 1
        self.total_ns += ns

    def quantile_ns(self, q: float) -> float:
        """The duration of rank ``ceil(q * count)``, within 0.5 %; 0 where nothing was recorded."""
        rank = max(1, math.ceil(q * self.count))
        if rank >= self.count:
            return float(self.max_ns)
        index = int(np.searchsorted(np.cumsum(self._counts()), rank))
        # The geometric middle of bucket i, which spans growth^(i-1) to growth^i.
        middle = _edge_ns(index) / math.sqrt(_GROWTH)
        return min(max(middle, float(self.min_ns)), float(self.max_ns))

    def copy(self) -> Histogram:
        """The counts as they are now."""
        copy = Histogram()
        copy._buckets = self._buckets[:]
        copy.count, copy.total_ns = self.count, self.total_ns
        copy.min_ns, copy.max_ns = self.min_ns, self.max_ns
        return copy

    def since(self, before: Histogram) -> Histogram:
        """What was recorded after ``before``, an older copy; its extremes to the bucket."""
        newer = Histogram()
        counts = self._counts() - before._counts()
        newer._buckets = array(_EMPTY.typecode, counts.tobytes())
        newer.count, newer.total_ns = self.count - before.count, self.total_ns - before.total_ns
        used = np.flatnonzero(counts)
        if used.size:
            # An edge can lie outside of what was ever recorded.
            newer.min_ns = max(self.min_ns, int(_edge_ns(int(used[0]) - 1)))
            newer.max_ns = min(self.max_ns, int(_edge_ns(int(used[-1]))))
        return newer

    def at_most(self, bounds_ns: Sequence[float]) -> list[int]:
        """How many were no longer than each bound, to half a bucket (0.5 %).

        Bounds ascend; from 1,000 s on all are counted.
        """
        totals = np.cumsum(self._counts())
        nearest = (round(math.log(bound / _LOWEST_NS) * _PER_LOG) for bound in bounds_ns)
        return [int(totals[min(max(index, 0), _BUCKETS - 1)]) for index in nearest]

    def _counts(self) -> NDArray[np.int64]:
        """The buckets (n,) themselves."""
        return np.frombuffer(self._buckets, np.int64)

    def summary(self) -> dict[str, float | int | None]:
        """``count`` and TIMES, which are None where count is 0."""
        ns = (
            self.total_ns / max(self.count, 1),
            *(self.quantile_ns(q) for q in (0.50, 0.90, 0.99)),
            self.max_ns,
        )
        times = [round(t / 1e6, 4) if self.count else None for t in ns]
        return {"count": self.count, **dict(zip(TIMES, times, strict=True))}


def _edge_ns(index: int) -> float:
    """The upper edge of a bucket."""
    return float(_LOWEST_NS * _GROWTH**index) if index >= 0 else 0.0
