"""Who looks on hears what became of each frame, with times that follow one another."""

from __future__ import annotations

import functools
import time

from edge.metrics.ledger import Outcome
from edge.metrics.metrics import Rendered
from edge.sources.live.status import SourceStatus
from edge.vision.types import Frame, Result
from tests.edge.scripted import Script, ScriptedPerception, ScriptedSink, ScriptedSource, frame


class Noted:
    """An Observer that keeps what it hears."""

    def __init__(self) -> None:
        self.frames: list[tuple[Result, Rendered]] = []
        self.lost_frames: list[tuple[int, Outcome]] = []
        self.states: list[str] = []

    def rendered(self, result: Result, times: Rendered) -> None:
        self.frames.append((result, times))

    def lost(self, frame: Frame, outcome: Outcome, at_ns: int) -> None:
        assert at_ns > 0
        self.lost_frames.append((frame.id, outcome))

    def source(self, status: SourceStatus, at_ns: int) -> None:
        self.states.append(status.state)


def test_the_spans_of_a_frame_follow_one_another() -> None:
    noted = Noted()
    source = ScriptedSource(frame(i) for i in range(20))
    takes = functools.partial(time.sleep, 0.002)  # each time, so that both slots are taken
    engine = ScriptedPerception(hooks={"prepare": takes, "wait": takes})
    script = Script(source, engine, [ScriptedSink()], slots=2, observers=[noted])
    pipeline = script.pipeline()
    pipeline.run()
    assert [result.frame.id for result, _ in noted.frames] == list(range(20))
    done_ns = answered_ns = 0
    for result, times in noted.frames:
        spent = times.stage_ns
        decoded_ns = result.t_begin_ns + spent["letterbox"] + spent["infer"] + spent["decode"]
        assert result.frame.t_read_ns <= result.t_begin_ns
        assert decoded_ns <= times.at_ns - spent["sinks"]
        assert done_ns <= times.at_ns - spent["sinks"]  # the main thread does one after another
        assert 0 <= result.engine_ns <= spent["infer"]
        assert decoded_ns - spent["decode"] - result.engine_ns >= answered_ns  # nor two at once
        done_ns, answered_ns = times.at_ns, decoded_ns - spent["decode"]
    busy_ns = sum(result.engine_ns for result, _ in noted.frames)
    assert busy_ns <= noted.frames[-1][1].at_ns - noted.frames[0][0].t_begin_ns


def test_a_wait_for_the_engine_counts_wherever_it_is_waited() -> None:
    """Some engines do the run in submit and some in wait; what is left is the host's own work."""
    for step in ("submit", "wait"):
        noted = Noted()
        source = ScriptedSource(frame(i) for i in range(5))
        slow = ScriptedPerception(hooks={step: lambda: time.sleep(0.02)})
        pipeline = Script(source, slow, sinks=[ScriptedSink()], observers=[noted]).pipeline()
        pipeline.run()
        for result, _ in noted.frames:
            assert 20_000_000 <= result.waited_ns <= result.stage_ns["infer"]


def test_every_captured_frame_is_heard_of_once() -> None:
    noted = Noted()
    source = ScriptedSource(frame(i) for i in range(1000))
    script = Script(source, sinks=[ScriptedSink()], frames=3, observers=[noted])
    pipeline = script.pipeline()
    pipeline.run()
    counts = pipeline.counts()
    assert len(noted.frames) == counts.rendered == 3
    assert len(noted.lost_frames) == counts.discarded_at_stop > 0
    ids = [result.frame.id for result, _ in noted.frames] + [i for i, _ in noted.lost_frames]
    assert sorted(ids) == list(range(counts.captured))
    assert {outcome for _, outcome in noted.lost_frames} == {"discarded_at_stop"}
