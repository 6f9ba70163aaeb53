"""Decides when systemd hears READY, WATCHDOG and STATUS of a run; it sends through the notifier.

The watchdog is fed by what has been done, never by a timer: the source gave a frame or finished an
attempt, the engine has not kept a frame, and a picture was shown since the last feeding.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from edge.metrics.ledger import Counts
from edge.run.renderer import Renderer
from edge.service.notify import Notifier
from edge.sources.base import Source
from edge.sources.live.supervisor import Supervised

STATUS_NS = 2_000_000_000
"""Between two lines of STATUS."""
EXTEND_S = 30.0
"""How much more time is asked for while a model loads or is adopted, every third of it."""
EXTENDED_AT_MOST_S = 1800.0
"""A start that takes longer is stuck: an adoption takes minutes on the slowest machine."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Counters that only grow.

    ``source`` counts frames and finished attempts, ``rendered`` frames that went through the
    engine, ``shown`` those and views of no signal. ``in_flight`` frames are on their way now.
    ``words`` are for whoever looks at the service.
    """

    source: int
    rendered: int
    shown: int
    in_flight: int
    words: str = ""


def progress_of(source: Source, counts: Counts, renderer: Renderer) -> Progress:
    """What a run has done so far."""
    words = f"{renderer.status()}, dropped {counts.dropped}"
    done = counts.captured
    if isinstance(source, Supervised):
        words, done = f"{source.status.state}, {words}", source.progress
    return Progress(done, counts.rendered, renderer.shown, counts.in_flight, words)


class Heartbeat:
    """Called often from the main thread: its own silence starves the watchdog."""

    def __init__(self, notifier: Notifier, *, began_ns: int) -> None:
        self._notifier = notifier
        self._began_ns = began_ns
        self._ready = False
        self._fed = Progress(-1, -1, -1, 0)
        self._fed_ns = self._extended_ns = self._status_ns = began_ns
        # Less than half of what systemd allows (sd_watchdog_enabled(3)).
        self._period_ns = round((notifier.watchdog_s or 0.0) * 1e9 / 4)

    def loading(self, now_ns: int) -> None:
        """The models are not open yet: ask systemd for time."""
        waited_s = (now_ns - self._began_ns) / 1e9
        due = now_ns - self._extended_ns >= EXTEND_S / 3 * 1e9
        if due and waited_s + EXTEND_S <= EXTENDED_AT_MOST_S:
            self._extended_ns = now_ns
            self._notifier.extend(EXTEND_S)
            self._notifier.status(f"opening the model for {waited_s:.0f} s")

    def reloading(self) -> None:
        """Settings are about to be read again; before READY systemd would not understand."""
        if self._ready:
            self._notifier.reloading(time.monotonic_ns() // 1000)

    def reloaded(self) -> None:
        """Settings were read again, whatever became of them."""
        if self._ready:
            self._notifier.ready()

    def beat(self, now_ns: int, progress: Progress) -> None:
        """Say what is due."""
        status = progress.words
        if not self._ready and progress.shown > 0:
            self._ready, self._status_ns = True, now_ns
            self._notifier.ready(status)
        elif now_ns - self._status_ns >= STATUS_NS:
            self._status_ns = now_ns
            self._notifier.status(status)
        watched = self._ready and self._notifier.watchdog_s is not None
        if not watched or now_ns - self._fed_ns < self._period_ns:
            return
        fed = self._fed
        engine = progress.rendered > fed.rendered or progress.in_flight == 0
        if engine and progress.source > fed.source and progress.shown > fed.shown:
            self._fed, self._fed_ns = progress, now_ns
            self._notifier.watchdog()
