"""The slowest frames of a run, what each waited for, and their pictures; bounded to a few."""

from __future__ import annotations

import base64
import heapq
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edge.profile.frames import Row
from edge.vision.types import Result

if TYPE_CHECKING:  # it imports OpenCV
    from edge.sinks.overlay.overlay import Overlay

MOST = 10
_BEFORE = 4
"""Frames before it that it may have waited for: two in the engine, one drawn, one between."""
_AT_ONCE_NS = 1_000_000
"""A thread that is done wakes the next one within this time."""
_ENGINE_HAD = "waiting for the engine, which still worked on"
_SINKS_HAD = "waiting for overlay and sinks, which still had"
_WORTH_NS = 1_000_000
_WORTH_SHARE = 0.05
"""What takes less of a slow frame is not told in words."""
_SIDE_PX = 960
_QUALITY = 80
"""Of a picture: about 100 kB."""


@dataclass(frozen=True, slots=True, order=True)
class Slow:
    """One frame with the times of those before it."""

    took_ns: int
    id: int
    times: Row = field(compare=False)
    before: tuple[Row, ...] = field(compare=False)
    result: Result = field(compare=False)


class Slowest:
    """The frames that took longest from asking the source for them to their last sink.

    Their pictures are kept as they are, in memory of their own, and encoded at the end.
    """

    def __init__(self) -> None:
        self._heap: list[Slow] = []
        self._before: deque[Row] = deque(maxlen=_BEFORE)

    def look(self, times: Row, result: Result) -> None:
        """Keep a frame if it is one of the slowest so far."""
        took = times.took
        if len(self._heap) < MOST or took > self._heap[0].took_ns:
            slow = Slow(took, times.id, times, tuple(self._before), result)
            if len(self._heap) < MOST:
                heapq.heappush(self._heap, slow)
            else:
                heapq.heapreplace(self._heap, slow)
        self._before.append(times)

    def frames(self) -> list[Slow]:
        """The slowest first."""
        return sorted(self._heap, reverse=True)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a frame's time: the step's name, and what it was in words."""

    step: str
    ns: int
    words: str


def parts_of(slow: Slow) -> list[Part]:
    """All of its time in the order in which it went by."""
    return list(_parts(slow.times, slow.before))


def _parts(t: Row, before: tuple[Row, ...]) -> Iterator[Part]:
    yield Part("capture", t.capture, "waiting for the source")
    yield Part("inbox", t.inbox, _taken_late(t, before))
    yield Part("letterbox", t.letterbox, "in the letterbox")
    queued = t.infer - t.engine
    if queued > 0:
        words = f"{_ENGINE_HAD} frame {before[-1].id}" if before else "waiting for the engine"
        yield Part("queue", queued, words)
    yield Part("engine", t.engine, "in the engine")
    yield Part("decode", t.decode, "in decoding")
    words = "between the threads"
    if before and before[-1].at > t.decoded:
        words = f"{_SINKS_HAD} frame {before[-1].id}"
    yield Part("outbox", t.outbox, words)
    yield Part("overlay", t.overlay, "in drawing")
    yield Part("sinks", t.sinks, "in the sinks")


def _taken_late(t: Row, before: tuple[Row, ...]) -> str:
    """What kept the thread that letterboxes from taking the frame: what ended when it was taken.

    That thread decodes an older frame's answer first, or it waits for the sinks to be free.
    """
    ended = [(r.decoded, f"{_ENGINE_HAD} frame {r.id}") for r in before]
    ended += [(r.at, f"{_SINKS_HAD} frame {r.id}") for r in before]
    soon = t.begun + _AT_ONCE_NS
    near = [(abs(t.begun - at), words) for at, words in ended if t.read < at < soon]
    return min(near)[1] if near else "waiting to be taken"


def in_words(parts: list[Part], usual_ns: Mapping[str, float]) -> str:
    """'31.0 ms, usually 12.1: 22.0 ms waiting for …, 7.5 ms in the engine (usually 7.4)'.

    ``usual_ns`` are the medians of the run by step, and of 'took'.
    """
    took = sum(part.ns for part in parts)
    told: list[str] = []
    for part in sorted(parts, key=lambda part: -part.ns):
        if part.ns < max(_WORTH_NS, _WORTH_SHARE * took) and told:
            continue
        usual = f" (usually {usual_ns[part.step] / 1e6:.1f})" if part.step in usual_ns else ""
        told.append(f"{part.ns / 1e6:.1f} ms {part.words}{usual}")
    whole = f"{took / 1e6:.1f} ms"
    if "took" in usual_ns:
        whole += f", usually {usual_ns['took'] / 1e6:.1f}"
    return f"{whole}: {'; '.join(told)}"


def picture(result: Result, overlay: Overlay) -> dict[str, Any]:
    """The frame with what was found on it as a data URL, and its size there."""
    import cv2

    image = overlay.draw(result, ())
    height, width = image.shape[:2]
    scale = min(1.0, _SIDE_PX / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
    done, encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert done
    text = base64.b64encode(encoded.tobytes()).decode()
    return {"src": f"data:image/jpeg;base64,{text}", "wh": list(size)}
