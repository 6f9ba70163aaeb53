"""What happened when in a run: windows of equal length, as few as fit a page; all clocks monotonic.

Windows begin at a second each; when there are too many, two become one. So a run of any length has
its whole course in bounded memory.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from edge.metrics.ledger import Outcome
from edge.profile.frames import Frames, Row
from edge.profile.statistics import engine_waits
from edge.sources.live.status import SourceStatus
from edge.telemetry.sample import UNITS, Kind, Sample

SECOND_NS = 1_000_000_000
MOST = 600
"""Windows: more would be narrower than a pixel of the page."""
MOST_EVENTS = 500
"""States of the source, and times of throttling; of more only the number is told."""


@dataclass(slots=True)
class Window:
    """Sums over the frames that were done in it, ns; ``waits`` are those of ``engine_waits``.

    ``readings`` are the sum and number of values.
    """

    frames: int = 0
    interval: int = 0
    longest: int = 0
    age: int = 0
    oldest: int = 0
    waits: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    readings: dict[tuple[Kind, str], tuple[float, int]] = field(default_factory=dict)
    throttled: set[str] = field(default_factory=set)

    def add(self, other: Window) -> None:
        """Take in the window after this one."""
        self.frames += other.frames
        self.interval += other.interval
        self.longest = max(self.longest, other.longest)
        self.age += other.age
        self.oldest = max(self.oldest, other.oldest)
        self.waits.update(other.waits)
        self.lost.update(other.lost)
        for key, (total, count) in other.readings.items():
            before = self.readings.get(key, (0.0, 0))
            self.readings[key] = (before[0] + total, before[1] + count)
        self.throttled |= other.throttled

    def reading(self, key: tuple[Kind, str], value: float) -> None:
        """Take one value."""
        total, count = self.readings.get(key, (0.0, 0))
        self.readings[key] = (total + value, count + 1)


@dataclass(slots=True)
class Throttled:
    """A time in which the machine said that it was slowed down, CLOCK_MONOTONIC ns."""

    begin_ns: int
    end_ns: int
    why: str


class Timeline:
    """The windows of a run; frames come from one thread, the rest from any."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._lock = threading.Lock()
        self._windows: list[Window] = []
        self._width_ns = SECOND_NS
        self._begin_ns: int | None = None
        self._last_ns: int | None = None
        self._next_ns = 0
        """A frame from here on is looked up its window."""
        self._window = Window()
        self._heard = self._fresh = 0
        """Frames, and those whose waits are not added up yet."""
        self._states: list[tuple[int, str, str]] = []
        self._throttled: list[Throttled] = []
        self._untold: Counter[str] = Counter()

    def frame(self, times: Row) -> None:
        """A frame was rendered."""
        at = times.at
        with self._lock:
            if at >= self._next_ns:
                self._add_up()
                self._window = self._at(at)
                # Each second, too: a long window's frames at once would hold up the main thread.
                self._next_ns = min(self._end_of_window_ns(at), at + SECOND_NS)
            window = self._window
            self._heard += 1
            self._fresh += 1
            window.frames += 1
            window.age += times.age
            window.oldest = max(window.oldest, times.age)
            if self._last_ns is not None:
                interval = at - self._last_ns
                window.interval += interval
                window.longest = max(window.longest, interval)
            self._last_ns = at

    def lost(self, outcome: Outcome, at_ns: int) -> None:
        """A frame was not rendered."""
        with self._lock:
            self._at(at_ns).lost[outcome] += 1

    def source(self, status: SourceStatus, at_ns: int) -> None:
        """The source has a new state."""
        with self._lock:
            self._at(at_ns)
            if len(self._states) < MOST_EVENTS:
                self._states.append((at_ns, status.state, status.reason))
            else:
                self._untold["states of the source"] += 1

    def sample(self, sample: Sample, at_ns: int) -> None:
        """The machine was looked at; what is before the first frame belongs to no window."""
        why = ", ".join(sorted(f"{t.device}: {t.reason}" for t in sample.throttles if t.active))
        with self._lock:
            if self._begin_ns is None:
                return
            window = self._at(at_ns)
            for reading in sample.readings:
                window.reading((reading.kind, reading.name), reading.value)
            if not why:
                return
            window.throttled.add(why)
            last = self._throttled[-1] if self._throttled else None
            if last and last.why == why and at_ns - last.end_ns < 2 * SECOND_NS:
                last.end_ns = at_ns
            elif len(self._throttled) < MOST_EVENTS:
                self._throttled.append(Throttled(at_ns - SECOND_NS, at_ns, why))
            else:
                self._untold["times of throttling"] += 1

    @property
    def begin_ns(self) -> int:
        """When the first was heard; 0 where nothing was."""
        return self._begin_ns or 0

    @property
    def throttled(self) -> list[Throttled]:
        """When the machine was slowed down."""
        return self._throttled

    def as_json(self) -> dict[str, Any]:
        """Columns of all windows, ``None`` where a window has no value; times in ms."""
        with self._lock:
            self._add_up()
            windows = self._windows
            keys = sorted({key for window in windows for key in window.readings})
            return {
                "window_s": self._width_ns // SECOND_NS,
                "frames": [w.frames for w in windows],
                "interval": [_mean_ms(w.interval, w.frames) for w in windows],
                "longest": [round(w.longest / 1e6, 3) if w.frames else None for w in windows],
                "age": [_mean_ms(w.age, w.frames) for w in windows],
                "oldest": [round(w.oldest / 1e6, 3) if w.frames else None for w in windows],
                "waits": [_shares(w.waits) for w in windows],
                "lost": [dict(w.lost) for w in windows],
                "throttled": [sorted(w.throttled) for w in windows],
                "readings": [
                    {
                        "kind": kind,
                        "name": name,
                        "unit": UNITS[kind],
                        "values": [_mean(*w.readings.get((kind, name), (0, 0))) for w in windows],
                    }
                    for kind, name in keys
                ],
                "states": [
                    {"s": self._second(at), "state": state, "reason": reason}
                    for at, state, reason in self._states
                ],
                "untold": dict(self._untold),
            }

    def _second(self, at_ns: int) -> float:
        return round((at_ns - self.begin_ns) / 1e9, 3)

    def _at(self, at_ns: int) -> Window:
        """The window of a moment, the first of what came before it."""
        if self._begin_ns is None:
            self._begin_ns = at_ns
        while (index := max(0, at_ns - self._begin_ns) // self._width_ns) >= MOST:
            self._halve()
        while len(self._windows) <= index:
            self._windows.append(Window())
        return self._windows[index]

    def _end_of_window_ns(self, at_ns: int) -> int:
        width_ns, since_ns = self._width_ns, max(0, at_ns - self.begin_ns)
        return self.begin_ns + (since_ns // width_ns + 1) * width_ns

    def _halve(self) -> None:
        self._add_up()
        if len(self._windows) % 2:
            self._windows.append(Window())
        pairs = list(pairwise(self._windows))[::2]
        for first, second in pairs:
            first.add(second)
        self._windows = [first for first, _ in pairs]
        self._width_ns *= 2
        self._next_ns = 0  # the window of the next frame is to be looked up

    def _add_up(self) -> None:
        """Where the time of the frames went that came since it was done before."""
        if self._fresh:
            columns = self._frames.newest(self._fresh + 1, of=self._heard)
            self._window.waits.update(engine_waits(columns))
            self._fresh = 0


def _mean(total: float, count: int) -> float | None:
    return round(total / count, 3) if count else None


def _mean_ms(total_ns: int, count: int) -> float | None:
    return round(total_ns / count / 1e6, 3) if count else None


def _shares(waits: Counter[str]) -> dict[str, float]:
    total = sum(waits.values())
    return {name: round(100 * ns / total, 1) for name, ns in waits.items()} if total else {}
