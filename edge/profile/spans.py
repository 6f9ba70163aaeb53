"""When each stage of a frame began and ended, and what it waited for between; it reads no clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from edge.metrics.metrics import GPU_STAGE, Rendered
from edge.vision.types import Result

Track = str
"""Where a span is shown: 'capture', 'infer' and 'main' are the threads, 'engine' is what runs the
network, whoever waits for it, 'gpu' what a GPU's own events say."""

TRACKS: Mapping[str, Track] = {
    "capture": "capture",
    "letterbox": "infer",
    "infer": "engine",
    "decode": "infer",
    "overlay": "main",
    "sinks": "main",
}
"""By stage, in the order of a frame's life."""

IN_INBOX, ENGINE_BUSY, IN_OUTBOX = "in the inbox", "engine busy", "in the outbox"
WAITS = (IN_INBOX, ENGINE_BUSY, IN_OUTBOX)
"""Between 'capture' and 'letterbox', 'letterbox' and 'infer', 'decode' and the main thread."""


class FrameTimes(NamedTuple):
    """What is kept of a rendered frame: no picture, no boxes. All on CLOCK_MONOTONIC."""

    frame_id: int
    t_read_ns: int
    t_begin_ns: int
    engine_ns: int
    stage_ns: Mapping[str, int]
    at_ns: int

    @classmethod
    def of(cls, result: Result, times: Rendered) -> FrameTimes:
        """Of a frame that an Observer hears of."""
        frame = result.frame
        return cls(
            frame.id,
            frame.t_read_ns,
            result.t_begin_ns,
            result.engine_ns,
            times.stage_ns,
            times.at_ns,
        )

    @property
    def ready_ns(self) -> int:
        """When its letterbox had ended."""
        return self.t_begin_ns + self.stage_ns["letterbox"]

    @property
    def done_ns(self) -> int:
        """When the engine had answered."""
        return self.ready_ns + self.stage_ns["infer"]

    @property
    def decoded_ns(self) -> int:
        """When its result was there."""
        return self.done_ns + self.stage_ns["decode"]

    @property
    def written_ns(self) -> int:
        """When its sinks began."""
        return self.at_ns - self.stage_ns["sinks"]

    @property
    def taken_ns(self) -> int:
        """When the main thread took its result."""
        return self.written_ns - self.stage_ns.get("overlay", 0)


class Span(NamedTuple):
    """A stage by its name in ``STAGES``, or a wait by its name in ``WAITS``."""

    name: str
    begin_ns: int
    end_ns: int


def stages_of(frame: FrameTimes, *, read_before_ns: int = 0) -> list[Span]:
    """The stages that took place, in order; 'infer' without the wait for older frames before it.

    Spans of one of ``TRACKS`` never overlap, whatever frames they are of, where ``read_before_ns``
    is ``t_read_ns`` of the frame rendered before: 'capture' lasts until ``read()`` has returned,
    some microseconds after that moment, and would begin so much too early.
    """
    spent = frame.stage_ns
    asked_ns = frame.t_read_ns - spent["capture"]
    done_ns, written_ns = frame.done_ns, frame.written_ns
    spans = [
        Span("capture", max(asked_ns, read_before_ns), frame.t_read_ns),
        Span("letterbox", frame.t_begin_ns, frame.ready_ns),
        Span("infer", done_ns - frame.engine_ns, done_ns),
        Span("decode", done_ns, frame.decoded_ns),
    ]
    if "overlay" in spent:
        spans.append(Span("overlay", frame.taken_ns, written_ns))
    spans.append(Span("sinks", written_ns, frame.at_ns))
    return spans


def waits_of(frame: FrameTimes) -> list[Span]:
    """The waits between them that took any time, in order.

    With the stages they fill 'end_to_end', but for microseconds between two readings of the clock.
    """
    waits = (
        Span(IN_INBOX, frame.t_read_ns, frame.t_begin_ns),
        Span(ENGINE_BUSY, frame.ready_ns, frame.done_ns - frame.engine_ns),
        Span(IN_OUTBOX, frame.decoded_ns, frame.taken_ns),
    )
    return [wait for wait in waits if wait.end_ns > wait.begin_ns]


def gpu_of(frame: FrameTimes) -> list[Span]:
    """What the GPU's own events timed, with the names of ``stage_ns``; [] without one.

    They tell durations alone. They follow one another in one stream, and the last ends when the
    host learns of it, so here they end with 'infer': late by as long as waking up took.
    """
    spent = frame.stage_ns
    end_ns = frame.done_ns
    spans = []
    for name in reversed([name for name in spent if name.startswith(GPU_STAGE)]):
        spans.append(Span(name, end_ns - spent[name], end_ns))
        end_ns -= spent[name]
    return spans[::-1]


def in_words(spans: list[Span]) -> Iterator[str]:
    """'infer 12.3 ms' of each."""
    for span in spans:
        yield f"{span.name} {(span.end_ns - span.begin_ns) / 1e6:.1f} ms"
