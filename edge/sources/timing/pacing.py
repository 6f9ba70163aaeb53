"""Media time against CLOCK_MONOTONIC: plays files at their rate, dates live frames, counts losses.

It reads no frames; times are integers in nanoseconds, clocks and waits are passed in.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from statistics import median

SECOND_NS = 1_000_000_000

BROKEN_STEP_NS = 10 * SECOND_NS
"""A step between neighbouring timestamps beyond this is a fault of the stream, not a pause."""


def longest_step_ns(fps: float | None) -> int:
    """The step between timestamps beyond which they leap, by the rate that the source states.

    At a picture an hour, an hour is no leap; one leap among five frames or more stays one, even if
    the rate is their average, which it slows down.
    """
    return max(BROKEN_STEP_NS, round(2 * SECOND_NS / fps)) if fps else BROKEN_STEP_NS


class Pacer:
    """Holds each frame of a file back until its timestamp is due, seen from the first frame."""

    def __init__(
        self,
        stop: threading.Event,
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        wait: Callable[[float], bool] | None = None,
        longest_step_ns: int = BROKEN_STEP_NS,
    ) -> None:
        """``wait(seconds)`` sleeps and returns True at once when ``stop`` is set.

        A step beyond ``longest_step_ns`` counts as a leap.
        """
        self._stop = stop
        self._clock_ns = clock_ns
        self._wait = wait or stop.wait
        self.longest_step_ns = longest_step_ns
        self._anchor_ns: int | None = None
        self._last_ns = 0

    def hold(self, media_ns: int) -> bool:
        """Return when the frame is due, at once when it is late; False when ``stop`` was set.

        Timestamps that run backwards or leap start a new count: a damaged file must not stall.
        """
        now_ns = self._clock_ns()
        if self._anchor_ns is None or not 0 <= media_ns - self._last_ns <= self.longest_step_ns:
            self._anchor_ns = now_ns - media_ns
        self._last_ns = media_ns
        remaining_ns = self._anchor_ns + media_ns - now_ns
        if remaining_ns > 0:
            return not self._wait(remaining_ns / SECOND_NS)
        return not self._stop.is_set()


class Recent:
    """The smallest and the largest of the values of the last one to two half windows."""

    def __init__(self, half_window_ns: int) -> None:
        self._half_window_ns = half_window_ns
        self._since_ns = 0
        self._current: tuple[int, int] | None = None
        self._previous: tuple[int, int] | None = None

    def add(self, value: int, now_ns: int) -> None:
        """Take one more value."""
        if self._current is None or now_ns - self._since_ns > self._half_window_ns:
            self._previous, self._current, self._since_ns = self._current, (value, value), now_ns
        smallest, largest = self._current
        self._current = min(smallest, value), max(largest, value)

    @property
    def smallest(self) -> int:
        """Of at least one value."""
        return min(s for s, _ in self._halves())

    @property
    def largest(self) -> int:
        """Of at least one value."""
        return max(largest for _, largest in self._halves())

    def _halves(self) -> Iterator[tuple[int, int]]:
        return (half for half in (self._previous, self._current) if half is not None)


class StreamClock:
    """Dates the frames of a live stream: pts plus the smallest recent (arrival − pts).

    The smallest difference belongs to the frame that was held up least, so others show their own
    delay. The delay that even that one had is unknown and not in the result. The minimum is over
    the last 5 to 10 s: long enough to bridge a stall of the network, short enough to follow a
    sender whose clock drifts (100 ppm over 10 s is 1 ms).
    """

    def __init__(self, *, half_window_ns: int = 5 * SECOND_NS) -> None:
        self._half_window_ns = half_window_ns
        self._offsets = Recent(half_window_ns)
        self._last: tuple[int, int] | None = None  # (pts, arrival)

    def capture_ns(self, pts_ns: int, arrival_ns: int) -> int:
        """When the frame was captured, on the clock of ``arrival_ns`` and never after it."""
        if self._last is not None:
            step_ns = pts_ns - self._last[0]
            # Ahead of the wall by more than a second: the sender restarted its count.
            if step_ns < 0 or step_ns > arrival_ns - self._last[1] + SECOND_NS:
                self._offsets = Recent(self._half_window_ns)
        self._last = (pts_ns, arrival_ns)
        self._offsets.add(arrival_ns - pts_ns, arrival_ns)
        return pts_ns + self._offsets.smallest


class LostFrames:
    """Counts frames missing from a live stream of constant rate, by its timestamps.

    A single step of k periods between regular ones is k − 1 lost frames. Streams of variable rate
    and changes of rate (a camera in the dark) show no such pattern and count nothing.
    """

    _TOLERANCE = 0.25  # of a period: cameras stamp with some ms of jitter
    _HISTORY = 12  # regular steps before a long one means anything: half a second at 25 fps

    def __init__(self) -> None:
        self._steps: deque[int] = deque(maxlen=self._HISTORY)
        self._last_ns: int | None = None
        self._pending = 0

    def add(self, t_ns: int) -> int:
        """Take the next frame's timestamp; returns how many lost frames are now certain."""
        last_ns, self._last_ns = self._last_ns, t_ns
        if last_ns is None:
            return 0
        step_ns = t_ns - last_ns
        if not 0 < step_ns < BROKEN_STEP_NS:
            return self._irregular()
        period_ns = self._period_ns()
        if period_ns is None:
            self._steps.append(step_ns)
            return 0
        periods = round(step_ns / period_ns)
        if periods < 1 or abs(step_ns - periods * period_ns) > self._TOLERANCE * period_ns:
            return self._irregular()
        if periods == 1:
            self._steps.append(step_ns)
            lost, self._pending = self._pending, 0
            return lost
        if self._pending:  # two long steps in a row: the rate changed
            return self._irregular()
        self._pending = periods - 1
        return 0

    def _period_ns(self) -> float | None:
        """The period, once the history is full and regular."""
        if len(self._steps) < self._HISTORY:
            return None
        period_ns = median(self._steps)
        spread_ns = max(self._steps) - min(self._steps)
        return period_ns if spread_ns <= self._TOLERANCE * period_ns else None

    def _irregular(self) -> int:
        self._steps.clear()
        self._pending = 0
        return 0
