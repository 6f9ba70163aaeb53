"""Reads a trace as strictly as the Trace Event Format describes it, and as Perfetto takes it in.

Perfetto's own reader is in no package registry: PyPI's ``perfetto`` fetches it at run time. Its
rules that files break most are kept here: spans of one track lie within or beside one another after
microseconds were made nanoseconds by cutting, flows go through spans that exist, forward in time.
"""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Event = dict[str, Any]

_NEEDED = {
    "X": {"pid", "tid", "name", "cat", "ts", "dur"},
    "b": {"pid", "tid", "name", "cat", "ts", "id2"},
    "e": {"pid", "tid", "name", "cat", "ts", "id2"},
    "i": {"pid", "tid", "name", "cat", "ts", "s", "args"},
    "C": {"pid", "name", "ts", "args"},
    "M": {"pid", "tid", "name", "args"},
}
_ALLOWED = {"X": {"args", "bind_id", "flow_in", "flow_out"}, "b": {"args"}}


@dataclass(frozen=True, slots=True)
class Slice:
    """A span, in ns since the trace began."""

    name: str
    track: str
    frame: int
    begin_ns: int
    end_ns: int


@dataclass(slots=True)
class Read:
    """What a reader makes of a trace."""

    slices: list[Slice] = field(default_factory=list)
    asides: list[Slice] = field(default_factory=list)
    moments: list[tuple[str, int, Event]] = field(default_factory=list)
    counters: dict[str, list[tuple[int, float]]] = field(default_factory=lambda: defaultdict(list))
    facts: Event = field(default_factory=dict)
    flows: dict[str, list[Slice]] = field(default_factory=lambda: defaultdict(list))

    def named(self, name: str) -> list[Slice]:
        """Stages and waits of this name, in order of time."""
        found = [s for s in self.slices + self.asides if s.name == name]
        return sorted(found, key=lambda s: s.begin_ns)

    def moments_named(self, name: str) -> list[Event]:
        """Their args."""
        return [args for told, _, args in self.moments if told == name]


def events_of(text: str) -> list[Event]:
    """The events of a whole file or of one that is cut anywhere: all whole lines."""
    assert text.startswith("[\n"), text[:40]
    if text.endswith("\n]\n"):
        whole: list[Event] = json.loads(text)
        return whole
    lines = text.removeprefix("[\n").split("\n,")
    events = [json.loads(line) for line in lines[:-1]]
    with contextlib.suppress(ValueError):  # cut in its last line
        events.append(json.loads(lines[-1].removesuffix("\n")))
    return events


def read(path: Path) -> Read:
    """Check every event, and the trace as a whole."""
    made, tracks = Read(), {}
    events = events_of(path.read_text())
    open_asides: dict[tuple[str, str], list[tuple[str, int, int]]] = defaultdict(list)
    for event in events:
        phase = event["ph"]
        keys = set(event) - {"ph"}
        assert _NEEDED[phase] <= keys <= _NEEDED[phase] | _ALLOWED.get(phase, set()), event
        assert isinstance(event["pid"], int)
        assert isinstance(event["name"], str)
        assert event["name"]
        if phase == "M":
            if event["name"] == "thread_name":
                tracks[event["tid"]] = event["args"]["name"]
            elif event["name"] == "trace":
                made.facts = event["args"]
            continue
        assert isinstance(event["ts"], float)
        assert event["ts"] >= 0
        ts_ns = int(event["ts"] * 1000)
        if phase == "C":
            for series, value in event["args"].items():
                assert isinstance(value, (int, float)), event
                made.counters[f"{event['name']} {series}"].append((ts_ns, value))
            continue
        track = tracks[event["tid"]]
        if phase == "X":
            assert event["dur"] >= 0
            span = Slice(
                event["name"],
                track,
                _number(event),
                ts_ns,
                ts_ns + int(event["dur"] * 1000),
            )
            made.slices.append(span)
            _flow(made, event, span)
        elif phase == "i":
            assert event["s"] == "t"
            made.moments.append((event["name"], ts_ns, event["args"]))
        else:
            _aside(made, open_asides[event["cat"], event["id2"]["local"]], event, track, ts_ns)
    assert not any(open_asides.values()), "spans without an end"
    _check_nesting(made.slices)
    for series in made.counters.values():
        assert [ts for ts, _ in series] == sorted({ts for ts, _ in series})
    return made


def _number(event: Event) -> int:
    return int(event["args"]["frame"].removeprefix("frame "))


def _aside(
    made: Read, stack: list[tuple[str, int, int]], event: Event, track: str, ts_ns: int
) -> None:
    if event["ph"] == "b":
        assert not stack or ts_ns >= stack[-1][1]
        stack.append((event["name"], ts_ns, _number(event)))
        return
    name, begin_ns, frame = stack.pop()
    assert name == event["name"], "ends another than began last"
    assert ts_ns >= begin_ns
    made.asides.append(Slice(name, track, frame, begin_ns, ts_ns))


def _flow(made: Read, event: Event, span: Slice) -> None:
    """A flow goes out of the first span, through the next ones, into the last."""
    assert int(event["bind_id"], 16) == span.frame
    steps = made.flows[event["bind_id"]]
    assert event.get("flow_in", False) == bool(steps), event
    assert not steps or steps[-1].begin_ns <= span.begin_ns
    steps.append(span)


def _check_nesting(slices: list[Slice]) -> None:
    by_track = defaultdict(list)
    for span in slices:
        by_track[span.track].append(span)
    for track, spans in by_track.items():
        stack: list[Slice] = []
        for span in sorted(spans, key=lambda s: (s.begin_ns, -s.end_ns)):
            while stack and stack[-1].end_ns <= span.begin_ns:
                stack.pop()
            assert not stack, f"{track}: {span} while {stack[-1]}"
            stack.append(span)
