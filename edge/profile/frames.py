"""The times of each rendered frame, exact and in bounded memory; it judges none of them."""

from __future__ import annotations

import struct
from collections import deque
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge.metrics.metrics import Rendered
from edge.profile.spans import FrameTimes
from edge.vision.types import Frame, Result

Times = NDArray[np.int64]

MOST = 500_000
"""Frames whose times are kept, 60 MB: 4.6 h at 30 a second. Of a longer run they are the newest."""


class Row(NamedTuple):
    """One frame: ``at`` is CLOCK_MONOTONIC when its last sink was done, the rest are durations, ns.

    From asking the source for it to the last sink one follows the other: 'capture', 'inbox' (taken
    by nobody), 'letterbox', 'infer' (of it 'engine' on this frame), 'decode', 'outbox' (the result
    is taken by nobody), 'overlay', 'sinks'; all together it ``took``, and without 'capture'
    ``end_to_end``. ``age`` is from the capture to the overlay's end, of it ``delay`` by which a
    source in bursts is held back, and ``overtook`` how long before it the first frame came that it
    overwrote.
    """

    id: int
    at: int
    age: int
    capture: int
    inbox: int
    letterbox: int
    infer: int
    engine: int
    decode: int
    outbox: int
    overlay: int
    sinks: int
    end_to_end: int
    took: int
    overtook: int
    delay: int = 0

    @property
    def read(self) -> int:
        """When the source gave it."""
        return self.at - self.end_to_end

    @property
    def begun(self) -> int:
        """When its letterbox began."""
        return self.read + self.inbox

    @property
    def decoded(self) -> int:
        """When its result was there."""
        return self.begun + self.letterbox + self.infer + self.decode


STEPS = ("capture", "inbox", "letterbox", "infer", "decode", "outbox", "overlay", "sinks")
"""What a frame goes through, one after the other."""
_OVERTAKEN = 10_000
"""Of frames without a picture between them only the first matter."""
_ROW = struct.Struct(f"={len(Row._fields)}q")


class Frames:
    """The newest ``MOST`` frames."""

    def __init__(self, most: int = MOST) -> None:
        # Pages of zeros take memory only when they are written to.
        self._rows = np.zeros((most, len(Row._fields)), np.int64)
        self._bytes = self._rows.view(np.uint8).data
        self._most = most
        self._overtaken: deque[tuple[int, int]] = deque()
        self.count = 0
        """All frames that were rendered."""

    def overwritten(self, frame: Frame) -> None:
        """A frame that a newer one replaced before anybody took it; on any thread."""
        if len(self._overtaken) < _OVERTAKEN:
            self._overtaken.append((frame.id, frame.t_read_ns))

    def add(self, result: Result, rendered: Rendered) -> Row:
        """Keep the times of one frame."""
        spent, frame, at = rendered.stage_ns, result.frame, FrameTimes.of(result, rendered)
        times = Row(
            frame.id,
            rendered.at_ns,
            rendered.frame_age_ns,
            spent["capture"],
            at.t_begin_ns - at.t_read_ns,
            spent["letterbox"],
            spent["infer"],
            result.engine_ns,
            spent["decode"],
            at.taken_ns - at.decoded_ns,
            spent.get("overlay", 0),
            spent["sinks"],
            spent["end_to_end"],
            spent["capture"] + spent["end_to_end"],
            frame.t_read_ns - self._first_overtaken_ns(frame) if self._overtaken else 0,
            frame.delay_ns,
        )
        _ROW.pack_into(self._bytes, self.count % self._most * _ROW.size, *times)
        self.count += 1
        return times

    def _first_overtaken_ns(self, frame: Frame) -> int:
        first_ns = frame.t_read_ns
        while self._overtaken and self._overtaken[0][0] < frame.id:
            first_ns = min(first_ns, self._overtaken.popleft()[1])
        return first_ns

    def newest(self, count: int = MOST, *, of: int | None = None) -> dict[str, Times]:
        """Columns (n,) of the newest ``count`` of those kept, the oldest first.

        ``of`` are the first so many of all frames, None: all.
        """
        of = self.count if of is None else of
        wanted = max(0, min(count, self._most - (self.count - of), of))
        end = of % self._most
        if wanted <= end:
            rows = self._rows[end - wanted : end]
        else:
            rows = np.concatenate((self._rows[self._most - wanted + end :], self._rows[:end]))
        return dict(zip(Row._fields, rows.T, strict=True))
