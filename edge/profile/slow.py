"""Tells which frames took unusually long, by the frames before them; nothing else."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque

SLOW = 2.0
"""A frame is slow that takes longer than so many times the running median."""
WINDOW = 121
"""Frames of that median: some seconds of a camera, so that a run that slows down as a whole is soon
the new measure, and a hitch never is."""
FEWEST = 15
"""Before so many, nothing is called slow: the first frames are."""


class Slow:
    """The running median of the time from end to end, and who is far above it."""

    def __init__(self) -> None:
        self._recent: deque[int] = deque()
        self._sorted: list[int] = []

    def than(self, end_to_end_ns: int) -> int | None:
        """The median of the frames before, where this one took over ``SLOW`` times that."""
        ordered, recent = self._sorted, self._recent
        median_ns = ordered[len(ordered) // 2] if len(ordered) >= FEWEST else None
        if len(recent) == WINDOW:
            del ordered[bisect_left(ordered, recent.popleft())]
        recent.append(end_to_end_ns)
        insort(ordered, end_to_end_ns)
        slow = median_ns is not None and end_to_end_ns > SLOW * median_ns
        return median_ns if slow else None
