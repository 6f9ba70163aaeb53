"""Reads packets before they are asked for, to see whether a stream is live; it decodes none."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from edge.sources.timing.pacing import SECOND_NS

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream

    from edge.sources.video.body import Body


_LOOK_NS = SECOND_NS // 2
_LIVE_SPEED = 2.0
"""A live stream brings a second of video a second; its server may begin with some that it kept."""
_STORED_S = 30.0
"""No server of a live stream keeps so much; longer than any interval of key frames."""
_STORED_BYTES = 64 << 20
_LEAP_S = 1.0
"""A longer step between two packets is no video that was sent."""
_UNTIMED_S = 1 / 120
"""What a packet counts where a format has no times: twice as many a second still are a camera's."""


class Ahead:
    """The packets of a container, in order; a failure comes where it came.

    ``body``, closed with the container, is what it reads from and may have ended by a failure.
    """

    def __init__(
        self,
        container: InputContainer,
        *,
        body: Body | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._coming = container.demux()
        self._clock_ns = clock_ns
        self._ahead: deque[Packet[Stream]] = deque()
        self._failure: Exception | None = None
        self._ended = False
        self._container = container
        self._body = body

    def demux(self) -> Iterator[Packet[Stream]]:
        """All packets, those that were read ahead first."""
        while self._ahead or self._fetch():
            yield self._ahead.popleft()
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Close the container."""
        self._container.close()
        if self._body is not None:
            self._body.close()

    def _fetch(self) -> bool:
        """Read one more ahead; False where there is none: the end, or a failure that will come."""
        if not self._ended:
            try:
                self._ahead.append(next(self._coming))
            except StopIteration:
                self._ended = True
                self._failure = self._body.failure if self._body is not None else None
            except Exception as exc:
                self._ended, self._failure = True, exc
        return not self._ended

    def begins(self) -> bool:
        """Whether there is a first packet."""
        return bool(self._ahead) or self._fetch()

    def is_live(self, *, timed: bool) -> bool:
        """Whether packets come at the pace at which they are shown, found by reading some ahead.

        They do not if they end meanwhile, if more is there than the server of a live stream keeps,
        or while they come faster. ``timed``: they have times.
        """
        since_ns, last_s, gained_s, stored_s, size = self._clock_ns(), None, 0.0, 0.0, 0
        while self._fetch():
            packet = self._ahead[-1]
            size += packet.size
            if packet.stream.type == "video":
                time_s = _time_s(packet) if timed else None
                step_s = _UNTIMED_S if time_s is None else time_s - (last_s or time_s)
                last_s = time_s
                gained_s += step_s if 0 < step_s <= _LEAP_S else 0.0
            if stored_s + gained_s >= _STORED_S or size >= _STORED_BYTES:
                return False
            look_ns = self._clock_ns() - since_ns
            if look_ns >= _LOOK_NS:
                if gained_s < _LIVE_SPEED * look_ns / SECOND_NS:
                    return True
                since_ns, stored_s, gained_s = self._clock_ns(), stored_s + gained_s, 0.0
        return self._failure is not None

    def keep_newest(self) -> None:
        """Forget all that was read ahead but the last, where pictures stand alone."""
        while len(self._ahead) > 1:
            self._ahead.popleft()


def _time_s(packet: Packet[Stream]) -> float | None:
    """When it is to be decoded or shown; None where its format has no times."""
    time = packet.dts if packet.dts is not None else packet.pts
    return float(time * packet.time_base) if time is not None and packet.time_base else None
