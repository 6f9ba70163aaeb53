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
    """A part of a frame's time: the step's name, what it was in words, and for whom it waited."""

    step: str
    ns: int
    words: str
    whom: str = ""


def parts_of(slow: Slow) -> list[Part]:
    """All of its time in the order in which it went by."""
    return list(_parts(slow.times, slow.before))


def _parts(t: Row, before: tuple[Row, ...]) -> Iterator[Part]:
    yield Part("capture", t.capture, "waiting for the source")
    yield Part("inbox", t.inbox, "waiting to be taken", _whom(t.read, t.begun, before))
    yield Part("letterbox", t.letterbox, "in the letterbox")
    queued = t.infer - t.engine
    if queued > 0:
        words = "waiting for the engine"
        if before:
            words += f", which still worked on frame {before[-1].id}"
        yield Part("queue", queued, words)
    yield Part("engine", t.engine, "in the engine")
    yield Part("decode", t.decode, "in decoding")
    shown = t.at - t.sinks - t.overlay
    yield Part("outbox", t.outbox, "waiting for the main thread", _whom(t.decoded, shown, before))
    yield Part("overlay", t.overlay, "in drawing")
    yield Part("sinks", t.sinks, "in the sinks")


def _whom(begin: int, end: int, before: tuple[Row, ...]) -> str:
    """Who had frames in that time that were to be done before it: ', 20.0 of it for …'.

    What ended later was not waited for. Of inference and output at once inference is told.
    """
    told = ""
    free = [(begin, end)]
    for name, spans in (
        ("inference", [(r.id, r.begun, r.decoded) for r in before]),
        ("overlay and sinks", [(r.id, r.at - r.sinks - r.overlay, r.at) for r in before]),
    ):
        waited, ids = 0, []
        for id_, first, last in spans:
            taken = sum(max(0, min(last, b) - max(first, a)) for a, b in free) if last <= end else 0
            if taken:
                waited += taken
                ids.append(str(id_))
                free = [part for a, b in free for part in ((a, min(b, first)), (max(a, last), b))]
        if waited >= _WORTH_NS:
            had = f"frame{'s' if len(ids) > 1 else ''} {' and '.join(ids)}"
            told += f", {waited / 1e6:.1f} of it for {name}, which still had {had}"
    return told


def in_words(parts: list[Part], usual_ns: Mapping[str, float]) -> str:
    """'31.0 ms, usually 12.1: 22.0 ms waiting for …; 7.5 ms in the engine (usually 7.4)'.

    ``usual_ns`` are the medians of the run by step, and of 'took'.
    """
    took = sum(part.ns for part in parts)
    told: list[str] = []
    for part in sorted(parts, key=lambda part: -part.ns):
        if part.ns < max(_WORTH_NS, _WORTH_SHARE * took) and told:
            continue
        usual = f" (usually {usual_ns[part.step] / 1e6:.1f})" if part.step in usual_ns else ""
        told.append(f"{part.ns / 1e6:.1f} ms {part.words}{usual}{part.whom}")
    whole = f"{took / 1e6:.1f} ms"
    if "took" in usual_ns:
        whole += f", usually {usual_ns['took'] / 1e6:.1f}"
    return f"{whole}: {'; '.join(told)}"


def picture(result: Result, overlay: Overlay) -> dict[str, Any]:
    """The frame with what was found on it as a data URL, and its size there."""
    import cv2

    from edge.vision.pixel_aspect import squared

    image = squared(overlay.draw(result, ()), result.frame.pixel_aspect)
    height, width = image.shape[:2]
    scale = min(1.0, _SIDE_PX / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
    done, encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert done
    text = base64.b64encode(encoded.tobytes()).decode()
    return {"src": f"data:image/jpeg;base64,{text}", "wh": list(size)}
