"""Traces a run while it goes on: hears of each frame and has it written; it measures nothing.

A frame's thread leaves a tuple; a thread of the trace's own formats and writes it.
"""

from __future__ import annotations

import logging
import os
import platform
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from edge.metrics.ledger import Outcome
from edge.metrics.metrics import Rendered
from edge.profile.events import Events
from edge.profile.spans import FrameTimes
from edge.profile.trace_file import TraceFile
from edge.sources.live.status import SourceStatus
from edge.telemetry.sample import Sample
from edge.telemetry.telemetry import Telemetry
from edge.vision.types import Frame, Result

log = logging.getLogger(__name__)

MAX_MB = 200
"""Of both parts together: about 80 minutes at 30 frames a second, of which the newest 40 to 80 are
kept. Perfetto's page takes some ten seconds to open 100 MB."""
PERIOD_S = 0.1
"""Between two looks for what is to be written: so much is missing after the process was killed."""
MOST_WAITING = 20_000
"""Frames and events that wait for a disk: some minutes at 30 a second, 10 MB."""
_PATIENCE_S = 5.0
"""How long the end waits for a disk."""


class _Lost(NamedTuple):
    frame_id: int
    t_read_ns: int
    outcome: Outcome
    at_ns: int


class _Told(NamedTuple):
    status: SourceStatus
    at_ns: int


class Trace:
    """An Observer that writes a Chrome/Perfetto trace to ``path``, as ``TraceFile`` says.

    Times begin when it is made: make it just before the run. ``telemetry`` gives the counters; who
    made it starts and closes it.

    Raises:
        SettingsError: ``path`` cannot be written.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_mb: float = MAX_MB,
        telemetry: Telemetry | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
        wall: Callable[[], int] = time.time_ns,
    ) -> None:
        self._telemetry = telemetry
        self._clock = clock
        self._begin_ns, self._begin_unix_ns = clock(), wall()
        self._events = Events(os.getpid(), self._begin_ns)
        self._waiting: deque[FrameTimes | _Lost | _Told] = deque()
        self._missed = 0
        self._missing = threading.Lock()
        self._parts = 1
        self._failed = False
        self._sample: Sample | None = None
        self._file = TraceFile(path, max_bytes=int(max_mb * 1e6))
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trace", daemon=True)
        self._thread.start()

    @property
    def missed(self) -> int:
        """Frames and events that are not in the trace, since it could not be written in time."""
        return self._missed

    @property
    def paths(self) -> tuple[Path, ...]:
        """Its files: the newest part, and the part before where it was too long for one."""
        return (self._file.path, self._file.before)[: self._parts]

    def rendered(self, result: Result, times: Rendered) -> None:
        """Trace a frame's stages, as ``Observer.rendered``."""
        self._put(FrameTimes.of(result, times))

    def lost(self, frame: Frame, outcome: Outcome, at_ns: int) -> None:
        """Trace a frame that is not rendered, as ``Observer.lost``."""
        self._put(_Lost(frame.id, frame.t_read_ns, outcome, at_ns))

    def source(self, status: SourceStatus, at_ns: int) -> None:
        """Trace a state of the source, as ``Observer.source``."""
        self._put(_Told(status, at_ns))

    def close(self) -> None:
        """Write what is left; safe to call twice. What could not be written is logged."""
        self._end.set()
        self._thread.join(_PATIENCE_S)
        if self._thread.is_alive():
            log.warning("trace %s: the disk does not answer; its end is missing", self._file.path)
        elif self._missed and not self._failed:
            log.warning(
                "trace %s: %d frames and events are missing, the disk was too slow",
                self._file.path,
                self._missed,
            )

    def _put(self, item: FrameTimes | _Lost | _Told) -> None:
        if len(self._waiting) < MOST_WAITING and not self._failed:
            self._waiting.append(item)
        else:
            with self._missing:
                self._missed += 1

    def _run(self) -> None:
        """Body of the trace's thread. A write lets other threads go on: each is of one frame."""
        try:
            self._file.write(self._head())
            ended = False
            while not ended:
                ended = self._end.wait(PERIOD_S)
                for lines in self._news():
                    self._file.write(lines)
                    if self._file.full():
                        self._turn()
            self._file.write(
                self._events.told("trace ends", self._clock(), missed_events=self._missed)
            )
            self._file.close()
        except OSError as exc:
            self._failed = True
            with self._missing:
                self._missed += len(self._waiting)
            self._waiting.clear()
            log.warning(
                "trace %s: cannot be written: %s; it ends here, the run goes on",
                self._file.path,
                exc.strerror,
            )

    def _news(self) -> Iterator[list[str]]:
        while self._waiting:
            item = self._waiting[0]
            if isinstance(item, FrameTimes):
                yield self._events.rendered(item)
            elif isinstance(item, _Lost):
                yield self._events.lost(*item)
            else:
                yield self._events.source(*item)
            self._waiting.popleft()  # now that it is written
        if self._telemetry is not None:
            newest = self._telemetry.newest
            if newest is not self._sample:
                self._sample = newest
                if lines := self._events.sample(newest, self._clock()):
                    yield lines

    def _turn(self) -> None:
        self._file.turn()
        self._parts = 2
        seconds = (self._clock() - self._begin_ns) / 1e9
        log.info(
            "trace %s: full after %.0f s; the newest part is kept, the one before in %s",
            self._file.path,
            seconds,
            self._file.before.name,
        )
        self._file.write(self._head())

    def _head(self) -> list[str]:
        began = datetime.fromtimestamp(self._begin_unix_ns / 1e9, timezone.utc).isoformat()
        facts = {
            "began": began,
            "began_unix_ns": self._begin_unix_ns,
            "began_monotonic_ns": self._begin_ns,
            "machine": platform.node(),
        }
        head = self._events.head(facts)
        if self._parts == 1:
            return head + self._events.told("trace begins", self._begin_ns, began=began)
        before = self._file.before.name
        return head + self._events.told("trace goes on", self._clock(), began=began, before=before)
