"""Keeps a live source going over as many connections as it takes; it opens no device itself.

    opening → live ⇄ stalled → reconnecting → live …        any of them → failed

Every read has a deadline. A connection whose call does not come back is left behind, one at a time:
while it blocks no other is made, and where it blocks for ``hang_s`` the source has failed.
"""

from __future__ import annotations

import logging
import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from queue import Empty

from edge.sources.base import OpenedSource, Source
from edge.sources.live.connection import Answer, Connection
from edge.sources.live.status import SignalCounts, SourceState, SourceStatus
from edge.sources.live.waits import READ_GRACE_S, Backoff
from edge.sources.options import SourceOptions
from edge.sources.timing.opening import POLL_S, late, stopped
from edge.sources.timing.pacing import SECOND_NS, Pacer
from edge.vision.types import Frame
from engines.errors import SettingsError, SourceError, SourceHungError
from engines.redact import redact

_log = logging.getLogger("edge")

STEADY_NS = 5 * SECOND_NS
"""A connection that lived for so long was a good one: the next wait is the first again."""
CLOSE_S = 2.0
"""How long closing waits for the connection's thread; a run ends before, without that thread."""

Tell = Callable[[SourceStatus], None]
Open = Callable[[SourceOptions], OpenedSource]


def _numberless(reason: str) -> str:
    """What a reason says, without its numbers: a library counts its attempts in them."""
    return re.sub(r"\d+", "", reason)


class Supervised:
    """A live source; ``read`` returns the frames of one connection after another.

    Ids go on counting, and gaps add up. Without ``options.reconnect`` the first failure is raised.

    Args:
        open_source: opens one connection, with the options as they then are; heeds ``stop``.
        text: what is opened; shown without credentials.
        stop: when set, ``read`` returns None soon.
        options: deadlines, and whether to reconnect.
        tell: hears of every change of state, on the reading thread.
        clock_ns: CLOCK_MONOTONIC.
        rng: spreads attempts in time.
    """

    live = True

    def __init__(
        self,
        open_source: Open,
        text: str,
        *,
        stop: threading.Event,
        options: SourceOptions,
        tell: Tell = lambda _: None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        rng: random.Random | None = None,
    ) -> None:
        self.name = redact(text)
        self.fps: float | None = None
        self.frame_count: int | None = None
        self._open = open_source
        self._stop = stop
        self._options = options
        self._tell = tell
        self._clock_ns = clock_ns
        self._backoff = Backoff(options.retry_s, rng or random.Random())
        self._connection: Connection | None = None
        self._source: OpenedSource | None = None
        self._pacer: Pacer | None = None
        self._left: Connection | None = None
        self._closed = threading.Event()
        self._next_id = self._first_id = 0
        self._gaps_before = 0
        self._attempts = self._reconnects = self._stalls = 0
        self._without_ns = 0
        self._live_since_ns: int | None = None
        self._opened_ns = 0
        self.progress = 0
        """Grows with every frame, every connection made, and every given up one that ended."""
        self.status = SourceStatus(self.name, "opening", clock_ns())

    @property
    def gaps(self) -> int:
        """Frames that drivers and decoders lost, over all connections."""
        source = self._source
        return self._gaps_before + (source.gaps if source is not None else 0)

    def counts(self) -> SignalCounts:
        """How it did so far."""
        status, without_ns = self.status, self._without_ns
        if status.state != "live":
            without_ns += self._clock_ns() - status.since_ns
        return SignalCounts(
            status.state, self._attempts, self._reconnects, self._stalls, without_ns / SECOND_NS
        )

    def open(self, *, within_s: float) -> Source:
        """Open the first connection: this source, or what was opened where that is not live.

        With ``options.reconnect`` it returns after ``within_s``, and ``read`` goes on.

        Raises:
            SettingsError: the text or a setting is wrong.
            SourceError: it cannot be opened and does not reconnect, or ``stop`` was set.
        """
        deadline_ns = self._clock_ns() + round(within_s * SECOND_NS)
        while self._source is None:
            if not self._connect(until_ns=deadline_ns if self._options.reconnect else None):
                break
        if self._stop.is_set():
            self.close()
            raise stopped(self.name)
        connection = self._connection
        if connection is None or self._source is None or self._source.live:
            return self
        self._connection = self._source = None
        return connection.hand_over()

    def read(self) -> Frame | None:
        """The next frame; None when stopped or closed.

        Raises:
            SourceHungError: a call did not come back within ``hang_s``: end the process.
            SourceError: it broke and does not reconnect.
        """
        while self._goes_on():
            if self._connection is None or self._source is None:
                self._connect(until_ns=None)
                continue
            frame = self._read(self._connection, self._source)
            if frame is not None:
                return frame
        return None

    def close(self) -> None:
        """Close the connection; waits a little for its thread."""
        self._closed.set()
        for connection in (self._connection, self._left):
            if connection is not None:
                connection.close()
                connection.ended(CLOSE_S)

    def _goes_on(self) -> bool:
        return not (self._stop.is_set() or self._closed.is_set())

    def _connect(self, *, until_ns: int | None) -> bool:
        """Make one attempt; False where ``until_ns`` has come first and it still runs.

        Raises:
            SourceError: it failed, and that is not to be tried again.
        """
        if self._connection is None:
            if not self._left_came_back():
                return True
            options = self._options
            self._connection = Connection(lambda: self._open(options))
            self._attempts += 1
            self._opened_ns = self._clock_ns()
        timeout_s = self._options.open_timeout_s
        deadline_ns = self._opened_ns + round(timeout_s * SECOND_NS)
        answer: Answer = late(self.name, timeout_s)
        while self._goes_on() and self._clock_ns() < deadline_ns:
            if until_ns is not None and self._clock_ns() >= until_ns:
                return False
            try:
                answer = self._connection.answer(POLL_S)
                break
            except Empty:
                continue
        if not self._goes_on():
            return False
        # What a library raises at its own deadline depends on where it stood: the clock tells.
        if isinstance(answer, SourceError) and self._clock_ns() >= deadline_ns:
            answer = late(self.name, timeout_s)
        if isinstance(answer, Exception):
            self._lose(answer)
            return until_ns is None
        assert self._connection.source is not None
        self._take_over(self._connection.source)
        return True

    def _take_over(self, source: OpenedSource) -> None:
        """Go on with a source that was opened."""
        self.progress += 1
        self._source = source
        # A file behind a URL that was found out too late: it plays as a camera would.
        self._pacer = None if source.live else Pacer(self._stop)
        self.name, self.fps = source.name, source.fps
        self._first_id = self._next_id
        if source.identity is not None and self._options.identity is None:
            self._options = replace(self._options, identity=source.identity)

    def _read(self, connection: Connection, source: OpenedSource) -> Frame | None:
        """One frame of a connection; None where there was none, and the state says why."""
        asked_ns = self._clock_ns()
        connection.ask()
        while True:
            try:
                answer = connection.answer(POLL_S)
                break
            except Empty:
                pass
            if not self._goes_on():
                return None
            waited_s = (self._clock_ns() - asked_ns) / SECOND_NS
            if self.status.state == "live" and waited_s >= self._options.stall_s:
                self._stalls += 1
                self._change("stalled", f"no frame for {self._options.stall_s:g} s")
            heard_ns = max(asked_ns, source.heard_ns)
            limit_s = self._options.read_timeout_s + READ_GRACE_S
            if (self._clock_ns() - heard_ns) / SECOND_NS >= limit_s:
                answer = SourceError(
                    f"{self.name}: a read has not come back for {limit_s:g} s (read_timeout_s), "
                    "wanted a frame; check the camera and its cable, or the sender"
                )
                break
        if isinstance(answer, Frame):
            return self._took(answer)
        if isinstance(answer, Exception):
            self._lose(answer)
        elif self._goes_on():  # its orderly end: it was not live
            self._closed.set()
        return None

    def _took(self, frame: Frame) -> Frame:
        """Count a frame that arrived; its id follows those of earlier connections."""
        if self._pacer is not None and frame.media_ns is not None:
            self._pacer.hold(frame.media_ns)
            now_ns = self._clock_ns()
            frame = replace(frame, t_capture_ns=now_ns, t_read_ns=now_ns, media_ns=None)
        self.progress += 1
        if self.status.state != "live":
            if self._live_since_ns is not None and self.status.state == "reconnecting":
                self._reconnects += 1
            self._live_since_ns = self._clock_ns()
            self._change("live")
        if self._first_id:
            frame = replace(frame, id=frame.id + self._first_id)
        self._next_id = frame.id + 1
        return frame

    def _lose(self, error: Exception) -> None:
        """Give the connection up after ``error`` and wait before the next attempt.

        Raises:
            Exception: ``error``, where it is not to be tried again.
        """
        self._gaps_before = self.gaps
        connection, self._connection, self._source = self._connection, None, None
        if connection is not None:
            connection.close()
            self._left = connection
        again = self._options.reconnect and isinstance(error, SourceError)
        if not again or isinstance(error, SettingsError):
            self._change("failed", str(error))
            raise error
        lived_ns = self._clock_ns() - (self._live_since_ns or self._clock_ns())
        if self.status.state in ("live", "stalled") and lived_ns >= STEADY_NS:
            self._backoff.reset()
        self._change("reconnecting", str(error))
        self._pause(self._backoff.wait_s())

    def _left_came_back(self) -> bool:
        """Wait for the connection that was given up; False when stopped meanwhile.

        Raises:
            SourceHungError: it did not end within ``hang_s``.
        """
        if self._left is None:
            return True
        since_ns = self._clock_ns()
        while not self._left.ended(POLL_S):
            if not self._goes_on():
                return False
            if self._clock_ns() - since_ns >= self._options.hang_s * SECOND_NS:
                error = SourceHungError(
                    f"{self.name}: a call has not come back for {self._options.hang_s:g} s "
                    "(hang_s) after it was given up; only a new process can try again"
                )
                self._change("failed", str(error))
                raise error
        self._left = None
        self.progress += 1
        return True

    def _pause(self, seconds: float) -> None:
        deadline_ns = self._clock_ns() + round(seconds * SECOND_NS)
        while self._goes_on() and (left_ns := deadline_ns - self._clock_ns()) > 0:
            self._closed.wait(min(POLL_S, left_ns / SECOND_NS))

    def _change(self, state: SourceState, reason: str = "") -> None:
        """Take a new state, log it once and tell it; the same fault again is only counted."""
        before, since_ns, reason = self.status, self._clock_ns(), redact(reason)
        if before.state == state and _numberless(before.reason) == _numberless(reason):
            return
        if before.state == state:
            since_ns = before.since_ns
        elif before.state != "live":
            self._without_ns += since_ns - before.since_ns
        self.status = SourceStatus(self.name, state, since_ns, reason)
        said = {"OUTRIDER_STATE": state, "OUTRIDER_SOURCE": self.name}
        if state == "live":
            _log.info("source live: %s", self.name, extra=said)
        elif self._options.reconnect:  # else the caller says it
            _log.warning("source %s: %s", state, reason, extra=said)
        self._tell(self.status)
