"""Packets of an open container, those of a source in bursts when they are due; it decodes nothing.

A smooth source is read by whoever asks, so its packets lose no time. Once a source is found to come
in bursts a thread reads on, and packets wait here: ten seconds of them take some MB, where decoded
pictures would take gigabytes.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from edge.sources.timing.bursts import Bursts
from edge.sources.timing.opening import POLL_S
from edge.sources.timing.pacing import SECOND_NS

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.stream import VideoStream

_MOST = 3_000
"""Packets that wait: 30 s at 100 a second. The sender waits then."""


@dataclass(slots=True)
class Arrival:
    """A packet of any stream; ``media_ns`` is its decode time, None where it has none.

    ``at_ns`` is when it came, after ``waited_ns`` in which nothing did. ``base_ns`` and
    ``delay_ns`` are set for what is held back: what is added to its media time for the moment at
    which it would have come without a burst, and how much later it is due. ``late_ns`` is by how
    much later still it is given.
    """

    packet: Packet[Any]
    at_ns: int
    waited_ns: int
    media_ns: int | None = None
    line_ns: int = 0
    """Its media time on one line without leaps."""
    base_ns: int | None = None
    delay_ns: int = 0
    late_ns: int = 0


class Feed(Protocol):
    """Where packets come from: an open container, or what reads one ahead."""

    def demux(self) -> Iterator[Packet[Any]]:
        """All packets, in their order."""

    def close(self) -> None:
        """Close the container."""


class Packets:
    """Those of ``container``, in their order; ``schedule`` is None where none are held back.

    Args:
        container: is closed by ``close``.
        stream: whose packets are held back; those of others are left out once that begins.
        schedule: judges how they come.
        stop: ends a wait.
        clock_ns: CLOCK_MONOTONIC.

    Attributes:
        heard_ns: when the newest one came, 0 before.
    """

    def __init__(
        self,
        container: Feed,
        stream: VideoStream,
        *,
        schedule: Bursts | None,
        stop: threading.Event,
        clock_ns: Callable[[], int],
    ) -> None:
        self._container = container
        self._stream = stream
        self._schedule = schedule
        self._stop = stop
        self._clock_ns = clock_ns
        self.heard_ns = 0
        # All streams: the deadline is on the picture, sound alone must not hold it off.
        self._demux = container.demux()
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()
        self._room = threading.Semaphore(_MOST)
        self._came: SimpleQueue[Arrival | Exception] = SimpleQueue()
        self._waiting: deque[Arrival | Exception] = deque()

    @property
    def held_back(self) -> bool:
        """Whether a thread reads on and packets are given when they are due."""
        return self._thread is not None

    def next(self, timeout_s: float) -> Arrival | None:
        """The next packet; None when stopped.

        Raises:
            StopIteration: the container has ended.
            TimeoutError: packets are held back, and none came within ``timeout_s``.
            FFmpegError: reading failed.
        """
        if self._thread is None:
            arrival = self._read()
            if self._schedule is None or arrival.packet.stream is not self._stream:
                return arrival
            self._judge(arrival)
            if not self._schedule.paced:
                return arrival
            self._waiting.append(arrival)
            self._thread = threading.Thread(target=self._read_on, name="packets", daemon=True)
            self._thread.start()
        return self._due(timeout_s)

    def close(self) -> None:
        """Close the container when the thread is out of it; safe to call twice."""
        self._closed.set()
        self._room.release()
        if self._thread is not None:
            self._thread.join()
        self._container.close()

    def _read(self) -> Arrival:
        asked_ns = self._clock_ns()
        packet = next(self._demux)
        now_ns = self.heard_ns = self._clock_ns()
        return Arrival(packet, now_ns, now_ns - asked_ns)

    def _read_on(self) -> None:
        """Body of the thread."""
        while True:
            try:
                arrival = self._read()
            except Exception as exc:  # crosses to the thread that decodes, as StopIteration does
                self._came.put(exc)
                return
            if arrival.packet.stream is self._stream:
                self._came.put(arrival)
                self._room.acquire()
            if self._closed.is_set():
                return

    def _judge(self, arrival: Arrival) -> None:
        packet, schedule = arrival.packet, self._schedule
        assert schedule is not None
        ticks = packet.pts if packet.dts is None else packet.dts
        if ticks is not None and packet.time_base is not None:
            base = packet.time_base
            arrival.media_ns = ticks * base.numerator * SECOND_NS // base.denominator
            arrival.line_ns = schedule.arrived(arrival.media_ns, arrival.at_ns)

    def _due(self, timeout_s: float) -> Arrival | None:
        """The next packet of the stream, when it is due."""
        schedule, deadline_ns = self._schedule, self._clock_ns() + round(timeout_s * SECOND_NS)
        assert schedule is not None
        while not self._take_in(block=not self._waiting):
            if self._stop.is_set() or self._closed.is_set():
                return None
            if self._clock_ns() >= deadline_ns:
                raise TimeoutError
        arrival = self._waiting.popleft()
        if isinstance(arrival, Exception):
            self._waiting.appendleft(arrival)
            raise arrival
        self._room.release()
        if arrival.media_ns is not None:
            due_ns = schedule.due_ns(arrival.line_ns, arrival.at_ns)
            left_ns = due_ns - self._clock_ns()
            if left_ns > 0 and self._stop.wait(left_ns / SECOND_NS):
                return None
            arrival.base_ns, arrival.delay_ns = schedule.base_ns, schedule.delay_ns
            arrival.late_ns = max(0, -left_ns)
        return arrival

    def _take_in(self, *, block: bool) -> bool:
        """Judge what has come; whether there is something to give."""
        try:
            while True:
                came = self._came.get(timeout=POLL_S) if block else self._came.get_nowait()
                if isinstance(came, Arrival):
                    self._judge(came)
                self._waiting.append(came)
                block = False
        except Empty:
            return bool(self._waiting)
