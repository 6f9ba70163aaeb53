"""Shows patterns, reads them from a live source and measures how late they came."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from edge.latency.pattern import Reading, draw, read
from edge.run.mailbox import Inbox, InboxClosedError
from edge.sources.base import Source
from edge.vision.types import Frame, Image
from engines.errors import SourceError

REFRESH_S = 1 / 60
"""Of a usual screen; a pattern stays so long, unless the camera exposes longer."""
LONGEST_S = 8 * REFRESH_S
"""For exposures of a tenth of a second, at night."""
LOOK_S = 1.0
"""Between two looks at how well patterns are read."""
SETTLE_S = 1.0
"""After the first pattern was read: what lay in the camera's queue until then is old."""
PATIENCE_S = 15.0
"""Without any pattern read."""
LATEST_S = 60.0
"""What is later is misread."""
EARLIEST_S = -0.1
"""So much the clock of another machine's screen may be ahead."""
JOIN_S = 1.0
"""For a camera's read to come back at the end."""


class Screen(Protocol):
    """What shows the pattern of now, again and again; ``name`` says what it is.

    ``clock_ms`` is by how much its clock may differ from the app's.
    """

    name: str

    @property
    def clock_ms(self) -> float: ...  # noqa: D102

    def refresh(self, hold_s: float) -> bool:
        """Show what is due, where each pattern stays ``hold_s``; False when the user has enough."""

    def close(self) -> None:
        """Show nothing more."""


class Window:
    """A screen of this machine, by a function that shows a picture and says whether to go on."""

    def __init__(
        self,
        show: Callable[[Image], bool],
        close: Callable[[], None] = lambda: None,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.name = "window"
        self.clock_ms = 0.0
        self.close = close
        self._show = show
        self._clock = clock
        self._image: Image | None = None
        self._since_ns = 0

    def refresh(self, hold_s: float) -> bool:
        """Show the pattern of now where the one before has stayed long enough, else that again."""
        now_ns = self._clock()
        # Half a refresh early is on time: turns of the loop are not exact.
        if self._image is None or now_ns - self._since_ns > (hold_s - REFRESH_S / 2) * 1e9:
            self._image, self._since_ns = draw(now_ns), now_ns
        return self._show(self._image)


@dataclass(frozen=True, slots=True)
class Latency:
    """What was measured; times in ms.

    ``total`` is from handing a pattern to the screen until the frame was read, ``before_capture``
    the part of it that lies before the frame's ``t_capture_ns``: what no frame age can tell. Both
    have one value a pattern. ``frames`` were looked at, on ``mixed`` several patterns were seen at
    once and on ``without`` none. ``clock_ms`` is by how much the screen's clock may be wrong.
    """

    total: tuple[float, ...]
    before_capture: tuple[float, ...]
    clock: str
    frames: int
    mixed: int
    without: int
    camera_ms: float
    pattern_ms: float
    clock_ms: float

    @property
    def too_long_ms(self) -> float:
        """How much longer than the truth a single value may be.

        A pattern is seen when the camera next exposes, at most a frame after it came, or it is seen
        at the end of its stay, whichever is sooner.
        """
        return min(self.camera_ms, self.pattern_ms)

    def as_json(self) -> dict[str, Any]:
        """All of it, without single values."""
        return {
            "total": _summary(self.total),
            "before_capture": _summary(self.before_capture),
            "clock": self.clock,
            "samples": len(self.total),
            "frames": {"seen": self.frames, "mixed": self.mixed, "without_pattern": self.without},
            "camera_period_ms": round(self.camera_ms, 3),
            "pattern_period_ms": round(self.pattern_ms, 3),
            "too_long_by_up_to_ms": round(self.too_long_ms, 3),
            "screen_clock_within_ms": round(self.clock_ms, 3),
        }


class Measurement:
    """One measurement; ``run`` is called once, on the thread that may show windows."""

    def __init__(
        self,
        source: Source,
        screen: Screen,
        *,
        seconds: float,
        tell: Callable[[str], None],
        stop: threading.Event,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """``tell`` hears what the user may do better; ``stop`` is what the source stops for."""
        self._source, self._screen, self._clock = source, screen, clock
        self._seconds, self._tell, self._stop = seconds, tell, stop
        self._inbox: Inbox[Frame] = Inbox(newest_wins=True)
        self._hold_s = self._pattern_s = REFRESH_S
        self._error: Exception | None = None
        self._seen: set[int] = set()
        self._samples: list[tuple[float, float]] = []
        self._reading = Reading(why="the camera gave no picture yet")
        self._frames = self._mixed = self._without = 0
        self._first_read_ns: int | None = None
        self._first: Frame | None = None
        self._last: Frame | None = None

    def run(self) -> Latency:
        """Show patterns until the time is up or the user has enough.

        Raises:
            SourceError: the source broke, or no pattern was read.
            SinkError: the window broke.
        """
        threads = [
            threading.Thread(target=self._capture, name="capture", daemon=True),
            threading.Thread(target=self._look, name="look"),
        ]
        for thread in threads:
            thread.start()
        try:
            self._show()
        except KeyboardInterrupt:  # what there is is told
            if not self._samples:
                raise
        finally:
            self._stop.set()
            self._inbox.close()
            self._screen.close()
            for thread in threads:
                thread.join(JOIN_S)
        if not self._samples:
            if self._error is not None:
                raise self._error
            raise SourceError(
                f"{self._source.name}: no pattern was read on {self._frames} pictures: "
                f"{self._reading.why or 'it was seen too briefly'}"
            )
        if self._error is not None:
            self._tell(f"ended early: {self._error}")
        first, last = self._first, self._last
        assert first is not None
        assert last is not None
        span_ms = (last.t_read_ns - first.t_read_ns) / 1e6
        return Latency(
            total=tuple(total for total, _ in self._samples),
            before_capture=tuple(before for _, before in self._samples),
            clock=last.clock,
            frames=self._frames,
            mixed=self._mixed,
            without=self._without,
            camera_ms=span_ms / max(1, last.id - first.id),
            pattern_ms=self._pattern_s * 1e3,
            clock_ms=self._screen.clock_ms,
        )

    def _show(self) -> None:
        """Show patterns, each for longer where pictures show several."""
        told, found = "", False
        began_ns = looked_ns = self._clock()
        seen = mixed = turns = 0
        while self._error is None and self._screen.refresh(self._hold_s):
            now_ns = self._clock()
            since_ns = self._first_read_ns
            if since_ns is None and now_ns - began_ns > PATIENCE_S * 1e9:
                break
            if since_ns is not None and not found:
                found = True
                self._tell(f"the pattern is seen, and measured for {self._seconds:g} s")
            if since_ns is not None and now_ns - since_ns > (SETTLE_S + self._seconds) * 1e9:
                break
            turns += 1
            if now_ns - looked_ns > LOOK_S * 1e9:
                self._pattern_s = max(self._hold_s, (now_ns - looked_ns) / 1e9 / turns)
                looked_ns, turns = now_ns, 0
                most = self._mixed - mixed > (self._frames - seen) / 2
                if most and self._hold_s < LONGEST_S:
                    self._hold_s *= 2
                    self._tell(
                        "pictures show several patterns at once, as the camera exposes for long: "
                        f"each now stays {self._hold_s * 1e3:.0f} ms"
                    )
                elif self._reading.why not in ("", told) and not self._reading.mixed:
                    told = self._reading.why
                    self._tell(told)
                seen, mixed = self._frames, self._mixed
            self._stop.wait(max(0.0, REFRESH_S - (self._clock() - now_ns) / 1e9))

    def _capture(self) -> None:
        """Body of the thread that does nothing but read, so that no frame waits to be read."""
        try:
            while not self._stop.is_set():
                frame = self._source.read()
                if frame is None:
                    raise SourceError(f"{self._source.name}: it ended; wanted a live source")
                self._inbox.put(frame)
        except InboxClosedError:
            pass
        except Exception as exc:
            self._error = None if self._stop.is_set() else exc
            self._inbox.end()

    def _look(self) -> None:
        """Body of the thread that reads patterns."""
        while (frame := self._inbox.take()) is not None:
            try:
                self._take(frame, read(frame.image, frame.t_read_ns))
            except Exception as exc:
                self._error = exc
                return

    def _take(self, frame: Frame, reading: Reading) -> None:
        self._frames += 1
        self._first, self._last = self._first or frame, frame
        shown_ns = reading.shown_ns
        late_s = 0.0 if shown_ns is None else (frame.t_read_ns - shown_ns) / 1e9
        if not EARLIEST_S < late_s < LATEST_S:
            shown_ns, reading = None, Reading(why="the pattern is of another time", mixed=True)
        self._reading = reading
        if shown_ns is None:
            self._mixed += reading.mixed
            self._without += not reading.mixed
            return
        if self._first_read_ns is None:
            self._first_read_ns = self._clock()
        # Of several pictures of a pattern the first is the one that waited for nothing but itself.
        if shown_ns in self._seen:
            return
        self._seen.add(shown_ns)
        if self._clock() - self._first_read_ns > SETTLE_S * 1e9:
            times = ((t - shown_ns) / 1e6 for t in (frame.t_read_ns, frame.t_capture_ns))
            self._samples.append((next(times), next(times)))


def _summary(values: tuple[float, ...]) -> dict[str, float]:
    p50, p90 = np.percentile(values, (50, 90))
    named = {"min_ms": min(values), "p50_ms": p50, "p90_ms": p90, "max_ms": max(values)}
    return {name: round(float(value), 2) for name, value in named.items()}
