"""Tells a live source that comes in bursts, and when each packet of one is due; it holds nothing.

    due = anchor + media time        anchor: the largest recent (arrival - media time), and a tenth
    delay = anchor - base            base: the smallest, of the packet that was held up least

Of HLS with segments of 2 s the last frame of each waits for nothing and the first for 2 s: behind a
delay of 2 s all are due a frame period apart. The anchor grows at once when a packet comes late and
falls slowly, so it follows a sender's clock that drifts, too. All times are in nanoseconds.
"""

from __future__ import annotations

from collections import deque

from edge.sources.timing.pacing import SECOND_NS, Recent

BURST_NS = 2 * SECOND_NS // 5
"""Shorter bursts are jitter: nobody sees them, and a camera's frames must not wait for anything."""
_BURST_STEPS = 4
"""Nor are fewer frames a burst: two or three come together on many a network."""
_BURSTS = 4
"""So many one after the other, of one size, make a source in bursts: a segment is as long as the
next, while what a lost packet, a stalled link or a busy processor holds up is of any size."""
_ALIKE = 1.25
"""The largest of them by the smallest."""
_LEAP_NS = SECOND_NS
"""By so much more than the wall does timestamps never go on: the sender began another count."""
_HALF_WINDOW_NS = 10 * SECOND_NS
"""At least two bursts of the longest usual segments lie in the window."""
_FALL = 3
"""Percent by which frames come faster while the delay falls: nobody sees it in a moving picture."""


class Bursts:
    """The schedule of one connection.

    Frames come in bursts where bursts of one size follow each other: after a stall of a network a
    camera goes on smoothly. Until then, and for a source that never does, ``paced`` is False and
    nothing is delayed.

    Args:
        longest_ns: the most that a packet is held back.
        known: the protocol itself sends in bursts.
    """

    def __init__(self, *, longest_ns: int, known: bool = False) -> None:
        self.paced = known
        self._longest_ns = longest_ns
        self._opening = not known
        self._recent = Recent(_HALF_WINDOW_NS)
        self._anchor: int | None = None
        self._shift = 0
        self._period = SECOND_NS // 25
        self._last: tuple[int, int] | None = None  # (media time, arrival)
        self._due_media = 0
        self._run = self._smooth = 0
        self._bursts: deque[int] = deque(maxlen=_BURSTS)

    def arrived(self, media_ns: int, arrival_ns: int) -> int:
        """Take a packet in the order of decoding; returns its media time on one line without leaps.

        What comes after a leap follows the packet before it, however long the sender paused.
        """
        media_ns += self._shift
        if self._last is not None:
            step, gap = media_ns - self._last[0], arrival_ns - self._last[1]
            if 0 <= step <= gap + max(_LEAP_NS, 2 * self._period):
                self._period = step or self._period
            else:
                begins = arrival_ns - self._anchor if self._anchor is not None else 0
                continued = max(self._last[0] + self._period, begins)
                self._shift += continued - media_ns
                media_ns, step = continued, self._period
            self._judge(step, gap)
        self._last = media_ns, arrival_ns
        self._recent.add(arrival_ns - media_ns, arrival_ns)
        return media_ns

    def _judge(self, step: int, gap: int) -> None:
        """Whether this packet came right behind the last one, and what that makes of the source."""
        if gap < step / 2:
            self._run += step
            return
        if self._opening:  # what had come until then says nothing of how the others come
            self._opening, self._recent = False, Recent(_HALF_WINDOW_NS)
        if self._is_burst:
            self._bursts.append(self._run)
            self._smooth = 0
            alike = max(self._bursts) <= _ALIKE * min(self._bursts)
            self.paced = self.paced or (len(self._bursts) == _BURSTS and alike)
        else:
            self._smooth += self._run + step
            if self._smooth >= BURST_NS:
                self._bursts.clear()
        self._run = 0

    @property
    def _is_burst(self) -> bool:
        return self._run >= max(BURST_NS, _BURST_STEPS * self._period)

    def due_ns(self, media_ns: int, arrival_ns: int) -> int:
        """When a packet is due, as ``arrived`` returned its time; asked for once, in order."""
        base, spread = self._recent.smallest, self._recent.largest - self._recent.smallest
        # Without bursts any more, nothing is to be held back.
        wanted = base + spread * 11 // 10 if spread >= BURST_NS else base
        if self._anchor is None:
            self._anchor, self._due_media = self._recent.largest, media_ns
        if arrival_ns - media_ns > self._anchor:
            self._anchor = max(self._anchor, wanted)
        else:
            fall = (media_ns - self._due_media) * _FALL // 100
            self._anchor = min(self._anchor, max(wanted, self._anchor - fall))
        self._anchor = max(base, min(self._anchor, base + self._longest_ns))
        self._due_media = media_ns
        return self._anchor + media_ns

    @property
    def base_ns(self) -> int:
        """The smallest recent (arrival - media time)."""
        return self._recent.smallest

    @property
    def delay_ns(self) -> int:
        """How far what is due lags behind the packets that were held up least."""
        return 0 if self._anchor is None else max(0, self._anchor - self._recent.smallest)
