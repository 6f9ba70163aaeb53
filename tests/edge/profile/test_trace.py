"""A trace holds what the run did, whole wherever it is cut, bounded, and never in its way."""

from __future__ import annotations

import itertools
import json
import logging
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.metrics.metrics import STAGES
from edge.profile import trace as traces
from edge.profile.events import Events
from edge.profile.spans import TRACKS, WAITS
from edge.profile.trace import Trace
from edge.sources.live.status import SourceStatus
from edge.telemetry.sample import Fact, Reading, Sample, Throttle
from edge.telemetry.telemetry import Telemetry
from engines.errors import SettingsError
from tests.edge.profile.frames import MS, told
from tests.edge.profile.trace_format import Read, events_of, read
from tests.edge.run.test_observers import Noted
from tests.edge.scripted import Script, ScriptedPerception, ScriptedSink, ScriptedSource, frame


def fed(path: Path, feed: Callable[[Trace], None], **how: object) -> Read:
    trace = Trace(path, clock=lambda: 1_000, wall=lambda: 1_800_000_000_000_000_000, **how)  # type: ignore[arg-type]
    feed(trace)
    trace.close()
    return read(path)


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_a_run_is_in_its_trace_to_the_nanosecond(tmp_path: Path, slots: int) -> None:
    noted, trace = Noted(), Trace(tmp_path / "trace.json")
    source = ScriptedSource(frame(i) for i in range(50))
    pipeline = Script(
        source, sinks=[ScriptedSink(wants_image=True)], slots=slots, observers=[noted, trace]
    ).pipeline()
    pipeline.run()
    trace.close()
    made = read(tmp_path / "trace.json")
    begun = made.facts["began_monotonic_ns"]
    assert len(made.flows) == 50
    for result, times in noted.frames:
        steps = made.flows[hex(result.frame.id)]
        assert [s.name for s in steps] == [s for s in STAGES if s != "end_to_end"]
        waits = {s.name: s for s in made.asides if s.frame == result.frame.id}
        for step in steps:
            took = step.end_ns - step.begin_ns
            if step.name == "infer" and "engine busy" in waits:
                took += waits["engine busy"].end_ns - waits["engine busy"].begin_ns
            assert took == pytest.approx(times.stage_ns[step.name], abs=1)
            assert step.track.split()[0] == TRACKS[step.name]
        assert steps[0].end_ns == pytest.approx(result.frame.t_read_ns - begun, abs=1)
        assert steps[-1].end_ns == pytest.approx(times.at_ns - begun, abs=1)
        filled = sum(s.end_ns - s.begin_ns for s in [*steps[1:], *waits.values()])
        assert filled == pytest.approx(times.stage_ns["end_to_end"], abs=10)


def test_the_waits_of_a_frame_are_shown_with_their_reason(tmp_path: Path) -> None:
    def feed(trace: Trace) -> None:
        result, times = told(7, begin_ns=10 * MS, infer=12)  # the engine's own 8: it waited 4
        trace.rendered(result, times)

    made = fed(tmp_path / "t.json", feed)
    # Read at 10, letterbox 11 to 13, infer 17 to 25, decode to 28, sinks 29 to 30.
    waited = [(s.name, s.begin_ns + 1000, s.end_ns + 1000) for s in made.asides]
    assert waited == [
        (WAITS[0], 10 * MS, 11 * MS),
        (WAITS[1], 13 * MS, 17 * MS),
        (WAITS[2], 28 * MS, 29 * MS),
    ]


def test_spans_that_touch_do_not_overlap_for_a_reader_that_cuts(tmp_path: Path) -> None:
    def feed(trace: Trace) -> None:
        for number in range(300):  # each read is timed until it had returned, 0.1 ms too long
            trace.rendered(*told(number, begin_ns=10 * MS + number * 30_000_007, capture=30.1))

    captures = fed(tmp_path / "t.json", feed).named("capture")
    for before, after in itertools.pairwise(captures):
        assert after.begin_ns - before.end_ns in (0, 1)


def test_a_gpus_own_times_end_with_the_run_that_they_are_of(tmp_path: Path) -> None:
    def feed(trace: Trace) -> None:
        gpu = {"gpu_upload": 1, "gpu_infer": 5, "gpu_download": 0.5}
        for number in range(2):
            trace.rendered(*told(number, begin_ns=(10 + 30 * number) * MS, **gpu))

    made = fed(tmp_path / "t.json", feed)
    of_gpu = [s for s in made.asides if s.frame == 0 and s.name.lower().startswith("gpu")]
    # Infer ends at 21.
    assert [(s.name, s.begin_ns + 1000, s.end_ns + 1000) for s in of_gpu] == [
        ("gpu_upload", 14.5 * MS, 15.5 * MS),
        ("gpu_infer", 15.5 * MS, 20.5 * MS),
        ("gpu_download", 20.5 * MS, 21 * MS),
        ("GPU", 14.5 * MS, 21 * MS),
    ]


def test_lost_frames_states_and_slow_frames_are_moments(tmp_path: Path) -> None:
    def feed(trace: Trace) -> None:
        trace.source(SourceStatus("cam\udcff", "reconnecting", 0, 'it said "no"'), 5 * MS)
        trace.lost(frame(3, 6 * MS), "dropped_overwritten", 9 * MS)
        trace.lost(frame(4, 6 * MS), "failed", 9 * MS)
        for number in range(10, 40):
            trace.rendered(*told(number, begin_ns=50 * number * MS))
        trace.rendered(*told(40, begin_ns=2000 * MS, took_ms=40))  # twice as long is not over twice
        trace.rendered(*told(41, begin_ns=2100 * MS, took_ms=41))

    made = fed(tmp_path / "t.json", feed)
    assert made.moments_named("source reconnecting") == [
        {"source": "cam?", "reason": 'it said "no"'}
    ]
    assert made.moments_named("dropped_overwritten") == [{"frame": "frame 3", "after_read_ms": 3}]
    assert made.moments_named("failed") == [{"frame": "frame 4", "after_read_ms": 3}]
    assert [s.frame for s in made.named("in the inbox") if s.end_ns < 10 * MS] == [3]
    [slow] = made.moments_named("slow frame")
    assert (slow["frame"], slow["end_to_end_ms"], slow["median_ms"]) == ("frame 41", 41, 20)
    # 41 = 1 + 2 + 8 + 3 + 26 in the outbox + 1
    assert slow["longest"] == "in the outbox 26.0 ms, infer 8.0 ms, decode 3.0 ms"


class _Machine:
    """A reader whose processor is throttled in the second sample alone."""

    def __init__(self) -> None:
        self.samples = 0
        self.third = threading.Event()

    def read(self) -> list[Fact]:
        self.samples += 1
        if self.samples >= 4:
            self.third.set()
        hot = self.samples == 2
        return [
            Reading("temperature", 'zone "0"', 40 + self.samples),
            Reading("clock", "CPU fastest", 3000.5),
            Throttle("CPU", "heat", hot),
        ]


def test_the_machine_is_in_counters_and_throttling_in_moments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "PERIOD_S", 0.001)
    machine = _Machine()
    telemetry = Telemetry(tmp_path, open_readers=lambda _: [machine], period_s=0.05)  # type: ignore[list-item]
    trace = Trace(tmp_path / "t.json", telemetry=telemetry)
    telemetry.start()
    assert machine.third.wait(30)
    telemetry.close()
    trace.close()
    made = read(tmp_path / "t.json")
    warm = [value for _, value in made.counters['temperature zone "0" °C']]
    assert warm[:3] == [41, 42, 43]
    assert {value for _, value in made.counters["clock CPU fastest MHz"]} == {3000.5}
    assert len(made.moments_named("throttled: CPU heat")) == 1
    assert len(made.moments_named("throttled no more: CPU heat")) == 1


def test_a_trace_without_a_frame_and_without_sensors_is_whole(tmp_path: Path) -> None:
    telemetry = Telemetry(tmp_path, open_readers=lambda _: [])
    made = fed(tmp_path / "t.json", lambda trace: None, telemetry=telemetry)
    assert [name for name, _, _ in made.moments] == ["trace begins", "trace ends"]
    assert made.facts["began"] == "2027-01-15T08:00:00+00:00"
    assert made.facts["began_unix_ns"] == 1_800_000_000_000_000_000
    assert not made.slices
    assert not made.counters


def test_the_newest_part_is_kept_and_it_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "t.json"
    (tmp_path / "t.before.json").write_text("of an earlier trace")

    def feed(trace: Trace) -> None:
        for number in range(300):
            trace.rendered(*told(number, begin_ns=50 * (number + 1) * MS))

    newest = fed(path, feed, max_mb=0.1)
    before = read(tmp_path / "t.before.json")
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 110_000
    assert len(list(tmp_path.iterdir())) == 2
    frames = [s.frame for s in before.named("capture")] + [s.frame for s in newest.named("capture")]
    assert 0 not in frames
    assert frames == list(range(frames[0], 300))
    assert before.named("capture")[0].begin_ns == (50 * (frames[0] + 1) - 4) * MS - 1000  # one zero
    assert newest.moments_named("trace goes on")[0]["before"] == "t.before.json"
    assert "the newest part is kept, the one before in t.before.json" in caplog.text


_KILLED = """
import sys, time
from pathlib import Path
from edge.profile.trace import Trace
from tests.edge.profile.frames import MS, told
trace, number, begun = Trace(Path(sys.argv[1])), 0, time.monotonic_ns()
while True:
    for _ in range(20):
        trace.rendered(*told(number, begin_ns=begun + 50 * number * MS))
        number += 1
    print(number, flush=True)
    time.sleep(0.005)
"""


def test_a_trace_of_a_killed_process_is_read_up_to_its_last_frames(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    with subprocess.Popen(
        [sys.executable, "-c", _KILLED, path], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        while int(process.stdout.readline()) < 2000:
            pass
        process.send_signal(signal.SIGKILL)
    text = path.read_text()
    assert not text.endswith("]\n")
    assert text.endswith("}"), "a line was cut"
    made = read(path)
    # All but what was told within the last tenth of a second.
    assert len(made.named("sinks")) > 1000
    for cut in (len(text) - 1, len(text) - 40, len(text) // 2):
        assert len(events_of(text[:cut])) > 100


def test_a_machine_that_tells_nothing_for_once_is_not_said_to_have_cooled_down() -> None:
    events = Events(1, 0)
    (begins,) = events.sample(Sample(throttles=(Throttle("CPU", "heat", True),)), 10)
    assert "throttled: CPU heat" in begins
    assert events.sample(Sample(), 20) == []
    (ends,) = events.sample(Sample(throttles=(Throttle("CPU", "heat", False),)), 30)
    assert "throttled no more: CPU heat" in ends


def test_a_disk_that_is_full_ends_the_trace_and_not_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, told_frames = tmp_path / "t.json", 1000
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_001, hard))  # Python ignores its signal
    try:
        trace = Trace(path, clock=lambda: 0)
        for number in range(told_frames):
            trace.rendered(*told(number, begin_ns=50 * (number + 1) * MS))
        trace.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "cannot be written: File too large; it ends here, the run goes on" in caplog.text
    assert 50_001 - 2500 < path.stat().st_size <= 50_001
    json.loads(path.read_text().splitlines()[-1].lstrip(","))  # no half line
    made = read(path)
    assert len(made.named("sinks")) + trace.missed == told_frames


def test_what_a_slow_disk_cannot_take_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(traces, "PERIOD_S", 60.0)
    monkeypatch.setattr(traces, "MOST_WAITING", 5)

    def feed(trace: Trace) -> None:
        for number in range(8):
            trace.rendered(*told(number, begin_ns=50 * (number + 1) * MS))
        assert trace.missed == 3

    made = fed(tmp_path / "t.json", feed)
    assert len(made.named("sinks")) == 5
    assert made.moments_named("trace ends") == [{"missed_events": 3}]
    assert "3 frames and events are missing" in caplog.text


@pytest.mark.parametrize("name", ["no folder/t.json", "", "a" * 300])
def test_a_place_that_takes_no_file_is_refused_before_the_run(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=r"cannot be written: .*; choose another path"):
        Trace(tmp_path / name)


def test_a_run_that_fails_has_its_frames_in_the_trace(tmp_path: Path) -> None:
    trace = Trace(tmp_path / "t.json")
    calls = iter(range(100))

    def fail_at_the_third() -> None:
        if next(calls) == 2:
            raise RuntimeError("the engine broke")

    perception = ScriptedPerception(hooks={"wait": fail_at_the_third})
    source = ScriptedSource(frame(i) for i in range(10))
    pipeline = Script(source, perception, observers=[trace]).pipeline()
    assert pipeline.run().error is not None
    trace.close()
    made = read(tmp_path / "t.json")
    assert len(made.moments_named("failed")) == 1
    counts = pipeline.counts()
    assert len(made.named("sinks")) == counts.rendered
    assert len(made.moments_named("discarded_at_stop")) == counts.discarded_at_stop
