"""Writes what happened as lines of the Trace Event Format, which Perfetto and Chromium read.

One event a line; times in microseconds since the trace began. Frames are named in text, since
Perfetto's search looks into no numbers. It keeps no file and no clock.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edge.metrics.ledger import Outcome
from edge.profile.slow import Slow
from edge.profile.spans import (
    ENGINE_BUSY,
    IN_INBOX,
    IN_OUTBOX,
    TRACKS,
    FrameTimes,
    Track,
    gpu_of,
    in_words,
    stages_of,
    waits_of,
)
from edge.sources.live.status import SourceStatus
from edge.telemetry.sample import UNITS, Sample

EVENTS: Track = "events"
"""The track of what happens at one moment: lost frames, states of the source, slow frames."""
_TIDS: Mapping[Track, int] = {
    track: tid for tid, track in enumerate(("capture", "infer", "engine", "main", EVENTS), start=1)
}
_NAMES = {
    "capture": "capture thread",
    "infer": "infer thread",
    "engine": "engine",
    "main": "main thread",
}
_BESIDE: Mapping[str, Track] = {
    IN_INBOX: "infer",
    ENGINE_BUSY: "engine",
    IN_OUTBOX: "main",
    "gpu": "engine",
}
"""The track beside which spans of such a category are shown."""
_WAITED_IN_INBOX = ("dropped_overwritten", "dropped_stale")


class Events:
    """Formats the events of one process, from ``begin_ns`` on CLOCK_MONOTONIC."""

    def __init__(self, pid: int, begin_ns: int) -> None:
        self._pid = pid
        self._begin_ns = begin_ns
        self._slow = Slow()
        self._throttled: set[str] = set()
        self._read_ns = begin_ns

    def head(self, facts: Mapping[str, Any]) -> list[str]:
        """Names of the tracks, and what is to be known of the trace; first in each file."""
        named = [self._named("process_name", 0, name="outrider")]
        for track, tid in _TIDS.items():
            named.append(self._named("thread_name", tid, name=_NAMES.get(track, track)))
            named.append(self._named("thread_sort_index", tid, sort_index=tid))
        return [*named, self._named("trace", 0, **facts)]

    def rendered(self, frame: FrameTimes) -> list[str]:
        """Its stages, joined by a flow from track to track; its waits; whether it was slow."""
        number, pid = frame.frame_id, self._pid
        stages = stages_of(frame, read_before_ns=self._read_ns)
        self._read_ns = frame.t_read_ns
        lines = []
        for span in stages:
            flow = "" if span is stages[0] else ',"flow_in":true'
            flow += "" if span is stages[-1] else ',"flow_out":true'
            lines.append(
                f'{{"ph":"X","pid":{pid},"tid":{_TIDS[TRACKS[span.name]]},"name":"{span.name}",'
                f'"cat":"stage","ts":{self._us(span.begin_ns)},'
                f'"dur":{_duration(span.end_ns - span.begin_ns)},'
                f'"bind_id":"0x{number:x}"{flow},"args":{{"frame":"frame {number}"}}}}'
            )
        waits = waits_of(frame)
        for wait in waits:
            lines += self._aside(wait.name, wait.name, number, wait.begin_ns, wait.end_ns)
        gpu = gpu_of(frame)
        if gpu:
            lines.append(self._edge("b", "gpu", "GPU", number, gpu[0].begin_ns))
            for span in gpu:
                lines += self._aside("gpu", span.name, number, span.begin_ns, span.end_ns)
            lines.append(self._edge("e", "gpu", "GPU", number, gpu[-1].end_ns))
        median_ns = self._slow.than(frame.stage_ns["end_to_end"])
        if median_ns is not None:
            longest = sorted([*stages[1:], *waits], key=lambda s: s.begin_ns - s.end_ns)[:3]
            lines.append(
                self._moment(
                    "slow frame",
                    frame.at_ns,
                    frame=f"frame {number}",
                    end_to_end_ms=frame.stage_ns["end_to_end"] / 1e6,
                    median_ms=median_ns / 1e6,
                    longest=", ".join(in_words(longest)),
                )
            )
        return lines

    def lost(self, frame_id: int, t_read_ns: int, outcome: Outcome, at_ns: int) -> list[str]:
        """A frame that is not rendered, and where that is known, how long it lay in the inbox."""
        waited = outcome in _WAITED_IN_INBOX and at_ns > t_read_ns
        lines = self._aside(IN_INBOX, IN_INBOX, frame_id, t_read_ns, at_ns) if waited else []
        return [
            *lines,
            self._moment(
                outcome,
                at_ns,
                frame=f"frame {frame_id}",
                after_read_ms=(at_ns - t_read_ns) / 1e6,
            ),
        ]

    def source(self, status: SourceStatus, at_ns: int) -> list[str]:
        """A new state of a live source."""
        told = {"reason": status.reason} if status.reason else {}
        return [self._moment(f"source {status.state}", at_ns, source=status.source, **told)]

    def sample(self, sample: Sample, at_ns: int) -> list[str]:
        """What the machine tells, as counters, and what began or ceased to slow it down."""
        if not (sample.readings or sample.throttles):
            return []  # it is not known, which is no end of anything
        ts, pid = self._us(at_ns), self._pid
        lines = [
            f'{{"ph":"C","pid":{pid},"ts":{ts},"name":{_json(f"{r.kind} {r.name}")},'
            f'"args":{{{_json(UNITS[r.kind] or "count")}:{round(r.value, 3)}}}}}'
            for r in sample.readings
        ]
        active = {f"{t.device} {t.reason}" for t in sample.throttles if t.active}
        for name in sorted(active - self._throttled):
            lines.append(self._moment(f"throttled: {name}", at_ns))
        for name in sorted(self._throttled - active):
            lines.append(self._moment(f"throttled no more: {name}", at_ns))
        self._throttled = active
        return lines

    def told(self, name: str, at_ns: int, /, **args: Any) -> list[str]:
        """Something of the trace itself."""
        return [self._moment(name, at_ns, **args)]

    def _moment(self, name: str, at_ns: int, /, **args: Any) -> str:
        return (
            f'{{"ph":"i","s":"t","pid":{self._pid},"tid":{_TIDS[EVENTS]},"ts":{self._us(at_ns)},'
            f'"name":{_json(name)},"cat":"event","args":{_json(args)}}}'
        )

    def _aside(self, cat: str, name: str, number: int, begin_ns: int, end_ns: int) -> list[str]:
        """A span that others of its kind may overlap; viewers lay them beside one another."""
        return [
            self._edge("b", cat, name, number, begin_ns),
            self._edge("e", cat, name, number, end_ns),
        ]

    def _edge(self, phase: str, cat: str, name: str, number: int, at_ns: int) -> str:
        args = f',"args":{{"frame":"frame {number}"}}' if phase == "b" else ""
        return (
            f'{{"ph":"{phase}","pid":{self._pid},"tid":{_TIDS[_BESIDE[cat]]},'
            f'"ts":{self._us(at_ns)},"name":"{name}","cat":"{cat}",'
            f'"id2":{{"local":"0x{number:x}"}}{args}}}'
        )

    def _named(self, name: str, tid: int, /, **args: Any) -> str:
        return f'{{"ph":"M","pid":{self._pid},"tid":{tid},"name":"{name}","args":{_json(args)}}}'

    def _us(self, at_ns: int) -> str:
        """A tenth of a nanosecond more, since readers multiply by 1000 in floating point and cut.

        Of two spans that touch, the second would seem to begin before the first has ended, and
        Perfetto drops such a span.
        """
        us, ns = divmod(max(0, at_ns - self._begin_ns), 1000)
        return f"{us}.{ns:03d}1"


def _duration(ns: int) -> str:
    us, rest = divmod(ns, 1000)
    return f"{us}.{rest:03d}"


def _json(value: Any) -> str:
    """Text as it is: of a counter's unit Perfetto shows what JSON escapes as it is written."""
    return json.dumps(value, ensure_ascii=False)
