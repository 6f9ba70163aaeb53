"""Figures of many durations in nanoseconds: exact, from all of them; it keeps nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from edge.profile.frames import Times

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
BARS = 60
"""Of a histogram."""


def summary(ns: Times) -> dict[str, Any]:
    """``count``, ``mean``, QUANTILES and ``max`` in ms, None where there is none.

    A quantile q is the duration of rank ``ceil(q * count)``, one that was measured.
    """
    if not ns.size:
        return {"count": 0, "mean": None, **dict.fromkeys(QUANTILES), "max": None}
    ordered = np.sort(ns)
    times = {name: _ms(ordered[_rank(q, ns.size)]) for name, q in QUANTILES.items()}
    return {"count": ns.size, "mean": _ms(ns.mean()), **times, "max": _ms(ordered[-1])}


def quantile(ns: Times, q: float) -> int:
    """The duration of rank ``ceil(q * count)``."""
    return int(np.partition(ns, _rank(q, ns.size))[_rank(q, ns.size)])


def _rank(q: float, count: int) -> int:
    # 0.99 * 100 is more than 99 in binary fractions.
    return max(0, math.ceil(q * count - 1e-9) - 1)


def low_fps(intervals: Times, share: float) -> dict[str, Any]:
    """The mean rate over the slowest ``share`` of the intervals, one at least, and their number."""
    count = max(1, math.ceil(share * intervals.size - 1e-9))
    if intervals.size == 0:
        return {"fps": None, "of": 0}
    slowest = np.partition(intervals, intervals.size - count)[intervals.size - count :]
    return {"fps": _rate(count, int(slowest.sum())), "of": count}


def rates(columns: Mapping[str, Times]) -> dict[str, Any]:
    """Rates of the frames in their order, and how uneven they came.

    ``spread`` is p99 - p50 of the intervals between frames' ends. ``deviation`` is by how much
    the time from capture to the last sink changed from one frame to the next, on average (D of
    RFC 3550, 6.4.1, which smooths it by 1/16; here it is the mean of all). Both in ms.
    """
    at = columns["at"]
    intervals = np.diff(at)
    transit = columns["age"] + columns["sinks"]
    known = intervals.size > 0
    return {
        "fps": _rate(intervals.size, int(at[-1] - at[0])) if known else None,
        "seconds": int(at[-1] - at[0]) / 1e9 if known else 0.0,
        "low_1": low_fps(intervals, 0.01),
        "low_0_1": low_fps(intervals, 0.001),
        "spread": _ms(quantile(intervals, 0.99) - quantile(intervals, 0.5)) if known else None,
        "deviation": _ms(np.abs(np.diff(transit)).mean()) if known else None,
    }


def bars(ns: Times) -> dict[str, Any] | None:
    """Counts in even steps from the shortest to p99.9, and how many are longer; None of nothing."""
    if not ns.size:
        return None
    low, high = int(ns.min()), quantile(ns, 0.999)
    high = max(high, low + BARS)  # all alike: bars of a nanosecond
    counts, _ = np.histogram(ns, BARS, (low, high))
    over = int((ns > high).sum())
    return {"from": _ms(low), "to": _ms(high), "counts": counts.tolist(), "over": over}


def engine_waits(columns: Mapping[str, Times]) -> dict[str, int]:
    """Where the time between the first and the last answer of the engine went, ns.

    Until its next frame the engine waits for the ``source`` to give one, then for the ``pipeline``
    to take one (a result that is decoded, a frame that is drawn and written), then for its
    ``letterbox``; ``engine`` is its work.
    """
    read = columns["at"] - columns["end_to_end"]
    begun = read + columns["inbox"]
    submitted = begun + columns["letterbox"]
    answered = submitted + columns["infer"]
    free = answered[:-1]
    given = np.clip((read - columns["overtook"])[1:], free, None)
    taken = np.clip(begun[1:], given, None)
    started = np.clip(submitted[1:], taken, None)
    return {
        "source": int((given - free).sum()),
        "pipeline": int((taken - given).sum()),
        "letterbox": int((started - taken).sum()),
        "engine": int((answered[1:] - started).sum()),
    }


def _rate(count: int, ns: int) -> float | None:
    return round(count * 1e9 / ns, 4) if ns > 0 else None


def _ms(ns: float) -> float:
    return round(float(ns) / 1e6, 6)
