"""The pipeline's threads: what is dropped, how it ends, what an error leaves behind."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

import edge.run.pipeline
from edge.metrics.ledger import LedgerError
from edge.run.mailbox import Inbox
from edge.run.parts import Ending
from edge.run.pipeline import Pipeline
from edge.run.workers import Shared
from edge.vision.types import Frame, Result
from engines.errors import SourceError
from tests.edge.scripted import (
    Script,
    ScriptedOverlay,
    ScriptedPerception,
    ScriptedSink,
    ScriptedSource,
    frame,
)

MS = 1_000_000


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) == before


def run(script: Script) -> tuple[Ending, Pipeline]:
    """Run to the end; whatever happened, the ledger balances and nothing is in flight."""
    pipeline = script.pipeline()
    ending = pipeline.run()
    if not isinstance(ending.error, LedgerError):
        counts = pipeline.counts()
        assert counts.captured == counts.settled
        assert counts.in_flight == 0
    return ending, pipeline


def waiting(n: int) -> ScriptedSource:
    return ScriptedSource(frame(i) for i in range(n))


def passed(event: threading.Event) -> None:
    assert event.wait(10), "the pipeline did not get there"


# ---- order and ends


@pytest.mark.parametrize("slots", [1, 2, 3])
@pytest.mark.parametrize("n", [0, 1, 50])
def test_waiting_renders_every_frame_in_order(n: int, slots: int) -> None:
    sink = ScriptedSink()
    ending, pipeline = run(Script(waiting(n), sinks=[sink], slots=slots))
    assert (ending.reason, ending.error, ending.abandoned) == ("end of source", None, ())
    assert sink.ids == list(range(n))
    assert sink.dropped == [0] * n
    assert (pipeline.counts().captured, pipeline.counts().rendered) == (n, n)
    assert sink.closed == 1


def test_each_part_is_opened_and_closed_on_the_thread_that_uses_it() -> None:
    script = Script(waiting(3), sinks=[ScriptedSink(wants_image=True)])
    run(script)
    main = threading.current_thread().name
    assert script.opened_on == {
        "network": "infer",
        "source": "capture",
        "sinks": main,
        "overlay": main,
    }
    assert list(script.opened_on) == ["network", "source", "sinks", "overlay"]
    assert script.perception.closed_on == "infer"
    assert script.source.closed_on == "capture"


def test_it_stops_after_the_rendered_frames_that_were_asked_for() -> None:
    sink = ScriptedSink()
    ending, pipeline = run(Script(waiting(1000), sinks=[sink], frames=3))
    assert (ending.reason, sink.ids) == ("frames", [0, 1, 2])
    counts = pipeline.counts()
    assert counts.rendered == 3
    assert counts.discarded_at_stop == counts.captured - 3


def test_seconds_count_from_the_first_capture_even_when_no_frame_follows() -> None:
    more = threading.Event()
    source = ScriptedSource(iter([frame(0)]))
    first = [True]

    def second_read_blocks() -> None:
        if not first:
            more.wait(10)
        first.clear()

    source.on_read = second_read_blocks
    sink = ScriptedSink()
    script = Script(source, sinks=[sink], seconds=0.05)
    sink.on_write = lambda _: True
    pipeline = script.pipeline()

    def read_on_after_the_stop() -> None:
        pipeline._shared.stop.wait(10)
        more.set()

    stop = threading.Thread(target=read_on_after_the_stop)
    stop.start()
    t_start = time.monotonic()
    ending = pipeline.run()
    stop.join()
    assert ending.reason == "seconds"
    assert time.monotonic() - t_start >= 0.05
    assert pipeline.counts().in_flight == 0


def test_a_sink_that_returns_false_ends_the_run_after_all_sinks_got_the_frame() -> None:
    window = ScriptedSink(on_write=lambda result: result.frame.id < 1)
    file = ScriptedSink()
    ending, _ = run(Script(waiting(100), sinks=[window, file]))
    assert ending.error is None
    assert (window.ids, file.ids) == ([0, 1], [0, 1])


def test_no_overlay_is_drawn_when_no_sink_wants_an_image() -> None:
    sink = ScriptedSink()
    script = Script(waiting(2), sinks=[sink])
    _, pipeline = run(script)
    assert "overlay" not in script.opened_on
    assert sink.images == [None, None]
    assert pipeline.report(model="m")["stages"]["overlay"]["count"] == 0


def test_an_overlay_is_drawn_for_the_pictures_that_a_sink_wants() -> None:
    sink = ScriptedSink(wants_image=False)

    def every_other(_: Result) -> bool:
        sink.wants_image = not sink.wants_image
        return True

    sink.on_write = every_other
    script = Script(waiting(4), sinks=[sink])
    _, pipeline = run(script)
    assert [image is not None for image in sink.images] == [False, True, False, True]
    assert pipeline.report(model="m")["stages"]["overlay"]["count"] == 2


def test_the_overlay_gets_a_readout_once_there_is_a_rate() -> None:
    overlay = ScriptedOverlay()
    sink = ScriptedSink(wants_image=True)
    run(Script(waiting(4), sinks=[sink, ScriptedSink()], overlay=overlay))
    assert overlay.readouts[:2] == [(), ()]
    words = [text.split()[-1] if "fps" in text else text.split()[0] for text in overlay.readouts[3]]
    assert words == ["fps", "age", "infer", "dropped"]
    assert all(image is not None for image in sink.images)


def test_the_delay_of_a_source_in_bursts_stands_beside_the_age() -> None:
    overlay, sink = ScriptedOverlay(), ScriptedSink(wants_image=True)
    frames = [replace(frame(i), delay_ns=2000 * MS) for i in range(4)]
    _, pipeline = run(Script(ScriptedSource(frames), sinks=[sink], overlay=overlay))
    assert overlay.readouts[3][2] == "source delay 2000 ms"
    assert pipeline.renderer.status().endswith(" ms, source delay 2000 ms")
    assert pipeline.report(model="m")["source_delay_ms"]["max_ms"] == 2000


def test_the_report_tells_how_long_the_models_took_to_open() -> None:
    now = [0]

    def open_slowly() -> None:
        now[0] += 1500 * MS

    source = ScriptedSource(iter([frame(0)]))
    script = Script(source, on_open={"network": open_slowly}, clock=lambda: now[0])
    _, pipeline = run(script)
    assert pipeline.report(model="m")["opened_s"] == 1.5


def test_the_report_times_every_stage_of_every_rendered_frame() -> None:
    now = [0]

    def tick(ms: int) -> Callable[[], None]:
        def advance() -> None:
            now[0] += ms * MS

        return advance

    # One frame at a time (frames=1), so the stages follow each other on this clock:
    # read 1, prepare 2, submit 1 + wait 4, decode 8, overlay 16, sinks 32 ms. The letterbox's
    # trials, 64 ms, are a part of no stage.
    source = ScriptedSource(iter([frame(0, t_ns=0)]), on_read=tick(1))
    hooks = {"prepare": tick(2), "submit": tick(1), "wait": tick(4), "decode": tick(8)}
    perception = ScriptedPerception({"choose_letterbox": tick(64), **hooks})

    def write(result: Result) -> bool:
        tick(32)()
        return True

    script = Script(
        source,
        perception,
        sinks=[ScriptedSink(on_write=write, wants_image=True)],
        overlay=ScriptedOverlay(on_draw=tick(16)),
        frames=1,
        clock=lambda: now[0],
    )
    # The capture thread asks for the next frame at once: let that cost no time.
    calls = iter([1])
    source.on_read = lambda: tick(next(calls, 0))()
    _, pipeline = run(script)
    report = pipeline.report(model="m")
    means = {name: stage["mean_ms"] for name, stage in report["stages"].items()}
    assert means == {
        "capture": 1.0,
        "letterbox": 2.0,
        "infer": 5.0,  # submit to wait returning
        "decode": 8.0,
        "overlay": 16.0,
        "sinks": 32.0,
        "end_to_end": 128.0,  # the frame says it was read at 0: 64 + 1 + 2 + 5 + 8 + 16 + 32
    }
    assert report["frame_age_ms"]["max_ms"] == 96.0  # overlay done: 64 + 1 + 2 + 5 + 8 + 16


# ---- dropping


def test_dropping_takes_the_newest_frame_only_when_its_result_has_a_place_to_go() -> None:
    writing, decoded, release = threading.Event(), threading.Event(), threading.Event()
    decodes = iter([None, decoded.set])

    def gate_reads() -> Iterator[None]:
        yield  # frame 0
        passed(writing)  # the main thread is busy with 0
        yield  # frame 1 is inferred meanwhile
        passed(decoded)
        yield from [None] * 49  # frames 2..50 come while the result of 1 waits
        release.set()
        yield

    gates = gate_reads()
    source = ScriptedSource((frame(i) for i in range(51)), live=True, on_read=lambda: next(gates))

    def write(result: Result) -> bool:
        if result.frame.id == 0:
            writing.set()
            passed(release)
        return True

    def decode() -> None:
        hook = next(decodes, None)
        if hook is not None:
            hook()

    sink = ScriptedSink(on_write=write)
    _, pipeline = run(Script(source, ScriptedPerception({"decode": decode}), sinks=[sink]))
    assert sink.ids == [0, 1, 50]
    assert sink.dropped == [0, 0, 48]
    counts = pipeline.counts()
    assert (counts.captured, counts.rendered, counts.dropped_overwritten) == (51, 3, 48)


def test_frames_older_than_the_limit_are_dropped_as_stale() -> None:
    # On a clock that stands at 100 ms: captured at 0, 60, 50, 49 ms is 100, 40, 50, 51 ms old.
    frames = [frame(i, t_ns=t * MS) for i, t in enumerate((0, 60, 50, 49))]
    sink = ScriptedSink()
    script = Script(ScriptedSource(frames), sinks=[sink], max_age_ms=50, clock=lambda: 100 * MS)
    _, pipeline = run(script)
    assert sink.ids == [1, 2]
    assert sink.dropped == [1, 0]
    assert pipeline.counts().dropped_stale == 2


def test_what_a_source_in_bursts_is_held_back_does_not_make_its_frames_stale() -> None:
    # As above, each taken 2 s earlier and held back for 2 s.
    at = [frame(i, t_ns=t * MS - 2000 * MS) for i, t in enumerate((0, 60, 50, 49))]
    frames = [replace(f, delay_ns=2000 * MS) for f in at]
    sink = ScriptedSink()
    script = Script(ScriptedSource(frames), sinks=[sink], max_age_ms=50, clock=lambda: 100 * MS)
    _, pipeline = run(script)
    assert sink.ids == [1, 2]
    assert pipeline.counts().dropped_stale == 2


@pytest.mark.parametrize(
    ("policy", "live", "drops"), [("auto", True, True), ("auto", False, False)]
)
def test_auto_drops_when_the_source_is_live(policy: str, live: bool, drops: bool) -> None:
    assert policy == "auto"
    assert Script(waiting(0)).pipeline().limits.drops(ScriptedSource([], live=live)) is drops


def test_the_policy_can_be_forced_either_way() -> None:
    forced = Script(waiting(0), policy="wait").pipeline().limits
    assert not forced.drops(ScriptedSource([], live=True))
    forced = Script(waiting(0), policy="drop").pipeline().limits
    assert forced.drops(ScriptedSource([], live=False))


def test_a_drop_that_is_not_counted_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Inbox.put

    def forgetful(self: Inbox[object], item: object) -> None:
        real(self, item)

    started = threading.Event()
    perception = ScriptedPerception({"prepare": started.wait})

    def read() -> None:
        if next(reads) == 5:
            started.set()

    reads = iter(range(100))
    source = ScriptedSource((frame(i) for i in range(20)), live=True, on_read=read)
    monkeypatch.setattr(Inbox, "put", forgetful)
    ending, pipeline = run(Script(source, perception))
    assert isinstance(ending.error, LedgerError)
    assert "lost uncounted" in str(ending.error)
    assert pipeline.counts().dropped_overwritten == 0


def test_two_slots_submit_the_next_frame_before_waiting_for_the_first() -> None:
    there = threading.Event()

    def read() -> None:
        if next(reads) == 2:  # frame 1 lies in the inbox when the third is asked for
            there.set()

    reads = iter(range(100))
    perception = ScriptedPerception({"prepare": lambda: passed(there)})
    source = ScriptedSource((frame(i) for i in range(2)), on_read=read)
    run(Script(source, perception, slots=2))
    assert perception.calls == [
        *("prepare 0", "submit 0", "prepare 1", "submit 1"),
        *("wait 0", "decode 0", "wait 1", "decode 1"),
    ]


# ---- overload on a clock of its own


class Timeline:
    """A clock that only inference moves, and a camera whose frames arrive on it."""

    def __init__(self, frames: int, *, period_ns: int) -> None:
        self.now_ns = 0
        self._changed = threading.Condition()
        self._due_ns: int | None = None
        self._over = False
        self._frames = frames
        self._period_ns = period_ns

    def clock(self) -> int:
        return self.now_ns

    def camera(self) -> Iterator[Frame]:
        for i in range(self._frames):
            with self._changed:
                self._due_ns = i * self._period_ns
                self._changed.notify_all()
                assert self._changed.wait_for(lambda: self._due_ns is None or self._due(), 10)
                self._due_ns = None
            yield frame(i, t_ns=i * self._period_ns)
        self.end()

    def _due(self) -> bool:
        return self._due_ns is not None and self._due_ns <= self.now_ns

    def end(self) -> None:
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def advance(self, ns: int) -> None:
        """Let time pass; every frame that becomes due on the way is captured before it goes on."""
        until = self.now_ns + ns
        with self._changed:
            while True:
                assert self._changed.wait_for(
                    lambda: self._over or (self._due_ns is not None and not self._due()), 10
                )
                if self._over or self._due_ns is None or self._due_ns > until:
                    self.now_ns = until
                    return
                self.now_ns = self._due_ns
                self._changed.notify_all()


def overload(policy: str, *, frames: int, infer_ms: int, period_ms: int) -> list[float]:
    """Ages of the rendered frames in ms when frames come faster than they can be inferred."""
    timeline = Timeline(frames, period_ns=period_ms * MS)
    written = threading.Semaphore(1)

    def infer() -> None:
        assert written.acquire(timeout=10)  # the frame before was rendered at its own time
        timeline.advance(infer_ms * MS)

    def write(result: Result) -> bool:
        written.release()
        return True

    perception = ScriptedPerception({"prepare": lambda: timeline.advance(MS), "wait": infer})
    sink = ScriptedSink(on_write=write)
    script = Script(
        ScriptedSource(timeline.camera(), live=True),
        perception,
        sinks=[sink],
        clock=timeline.clock,
        policy="drop" if policy == "drop" else "wait",
    )
    ending, _ = run(script)
    assert ending.error is None
    return sink.ages_ms


def test_at_twice_the_pace_that_can_be_inferred_frames_stay_young_and_do_not_grow_older() -> None:
    ages = overload("drop", frames=4_100, infer_ms=20, period_ms=10)
    assert len(ages) >= 1_900  # 41 s at 21 ms a frame
    # 1 ms to prepare, 20 to infer, and the newest frame is at most one period old when taken.
    assert max(ages) <= 1 + 20 + 10
    assert sum(ages[-500:]) <= sum(ages[:500]) + 500


def test_a_device_gets_its_next_frame_as_it_needs_it_and_no_earlier(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timeline, ends, unwritten = Timeline(3_000, period_ns=7 * MS), deque([0]), [0]
    written, takes_ms = threading.Semaphore(0), itertools.cycle((8, 8, 4))

    def advance(ns: float) -> None:
        while unwritten[0]:  # what was decoded is rendered at its own time
            assert written.acquire(timeout=10)
            unwritten[0] -= 1
        timeline.advance(round(ns))

    def submit() -> None:  # the device runs one after another
        ends.append(max(timeline.now_ns, ends[-1]) + 20 * MS)

    def wait() -> None:
        ends.popleft()
        advance(max(0, ends[0] - timeline.now_ns))

    def decode() -> None:
        unwritten[0] += 1

    def write(result: Result) -> bool:
        written.release()
        return True

    def prepare() -> None:
        advance(next(takes_ms) * MS)

    monkeypatch.setattr(Shared, "pause", lambda shared, ns: advance(ns))
    perception = ScriptedPerception(
        {"prepare": prepare, "submit": submit, "wait": wait, "decode": decode}
    )
    sink = ScriptedSink(on_write=write)
    source = ScriptedSource(timeline.camera(), live=True)
    script = Script(source, perception, sinks=[sink], slots=2, on_device=True, clock=timeline.clock)
    ending, _ = run(script)
    assert ending.error is None
    # At most a period old when taken, 8 ms to prepare, 20 to run: as young as with one slot ...
    assert max(sink.ages_ms[:-1]) <= 7 + 8 + 20  # nothing newer follows the last one
    assert len(sink.ages_ms) >= 3_000 * 7 / 20 - 4  # ... and the device never waits


@pytest.mark.parametrize(("live", "on_device"), [(True, False), (False, True)])
def test_files_and_slots_that_share_a_cpu_hold_nothing_back(
    live: bool, on_device: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, pauses = [0], list[float]()

    def wait() -> None:
        now[0] += 20 * MS

    monkeypatch.setattr(Shared, "pause", lambda shared, ns: pauses.append(ns))
    script = Script(
        ScriptedSource(endless(), live=live), ScriptedPerception({"wait": wait}), frames=9,
        slots=2, on_device=on_device, clock=lambda: now[0],
    )  # fmt: skip
    run(script)
    assert pauses == []


def test_a_stop_does_not_wait_for_the_frame_that_is_held_back() -> None:
    now, second = [0], threading.Event()

    def wait() -> None:
        now[0] += 3_600_000 * MS

    submits = iter(range(100))
    perception = ScriptedPerception(
        {"wait": wait, "submit": lambda: second.set() if next(submits) == 1 else None}
    )

    def write(result: Result) -> bool:
        passed(second)
        return False  # ends the run

    sink = ScriptedSink(on_write=write)
    script = Script(
        ScriptedSource(endless(), live=True), perception, sinks=[sink], slots=2,
        on_device=True, clock=lambda: now[0],
    )  # fmt: skip
    ending, _ = run(script)
    assert (ending.error, ending.abandoned, len(sink.ids)) == (None, (), 1)


# ---- errors


class OddError(Exception):
    pass


def boom() -> None:
    raise OddError("boom")


def boom_on_write(result: Result) -> bool:
    if result.frame.id >= 2:  # a live source may have dropped number 2
        raise OddError("boom")
    return True


def endless() -> Iterator[Frame]:
    i = 0
    while True:
        yield frame(i)
        i += 1


def third(action: Callable[[], None]) -> Callable[[], None]:
    calls = iter(range(1_000_000))
    return lambda: action() if next(calls) == 2 else None


def broken(stage: str) -> Script:
    script = Script(ScriptedSource(endless()), sinks=[ScriptedSink(wants_image=True)])
    if stage in ("network", "source opening", "sinks opening", "overlay opening"):
        script.on_open[stage.split()[0]] = boom
    elif stage == "source":
        script.source.on_read = third(boom)
    elif stage == "overlay":
        script.overlay.on_draw = third(boom)
    elif stage == "sink":
        script.sinks[0].on_write = boom_on_write
    else:
        script.perception.hooks[stage] = third(boom)
    return script


STAGES = (
    *("network", "source opening", "sinks opening", "overlay opening"),
    *("source", "prepare", "submit", "wait", "decode", "overlay", "sink"),
)


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("slots", [1, 2])
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_raises_ends_the_run(stage: str, slots: int, live: bool) -> None:
    script = broken(stage)
    script.slots, script.source.live = slots, live
    t_start = time.monotonic()
    ending, pipeline = run(script)
    assert time.monotonic() - t_start < 2
    assert isinstance(ending.error, OddError)
    assert ending.abandoned == ()
    counts = pipeline.counts()
    in_network = stage in ("prepare", "submit", "wait", "decode", "overlay", "sink")
    assert counts.failed == (1 if in_network else 0)
    if "overlay opening" not in stage and stage not in ("network", "source opening"):
        assert all(sink.closed == (0 if "opening" in stage else 1) for sink in script.sinks)
    if stage != "network":
        assert script.perception.closed_on == "infer"


def test_a_source_that_breaks_keeps_what_was_read_before() -> None:
    sink = ScriptedSink()
    source = ScriptedSource([frame(0), frame(1), frame(2), SourceError("the file ends early")])
    ending, _ = run(Script(source, sinks=[sink]))
    assert sink.ids == [0, 1, 2]
    assert isinstance(ending.error, SourceError)
    assert ending.reason == "error in source"


def test_a_source_that_cannot_be_opened_is_the_error_and_nothing_is_captured() -> None:
    def refuse() -> None:
        raise SourceError("no such file")

    ending, pipeline = run(Script(waiting(3), on_open={"source": refuse}))
    assert isinstance(ending.error, SourceError)
    assert pipeline.counts().captured == 0


def test_a_sink_that_fails_to_close_is_an_error_and_the_others_are_closed() -> None:
    class Stubborn(ScriptedSink):
        def close(self) -> None:
            super().close()
            raise OddError("disk full")

    sinks = [Stubborn(), ScriptedSink()]
    ending, _ = run(Script(waiting(2), sinks=sinks))
    assert isinstance(ending.error, OddError)
    assert [sink.closed for sink in sinks] == [1, 1]


def test_a_reader_that_never_returns_is_left_behind_and_the_ledger_still_balances(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(edge.run.pipeline, "JOIN_DEADLINE_S", 0.05)
    release = threading.Event()
    calls = iter(range(10))
    source = ScriptedSource(
        (frame(i) for i in range(9)), on_read=lambda: next(calls) == 2 and release.wait(10)
    )
    sink = ScriptedSink()
    pipeline = Script(source, sinks=[sink], frames=2).pipeline()
    ending = pipeline.run()
    left = [t for t in threading.enumerate() if t.name == "capture"]
    assert ending.abandoned == ("capture",)
    assert all(t.daemon for t in left)
    assert sink.closed == 1
    release.set()
    for thread in left:
        thread.join(5)
    counts = pipeline.counts()  # what the reader brings too late counts no more
    assert (counts.captured, counts.rendered, counts.in_flight) == (2, 2, 0)


# ---- stop requests


def test_a_stop_while_the_network_loads_is_orderly_and_opens_nothing_else() -> None:
    script = Script(waiting(3))
    pipeline = script.pipeline()
    script.on_open["network"] = lambda: pipeline.request_stop("signal")
    ending = pipeline.run()
    assert (ending.reason, ending.error) == ("signal", None)
    assert list(script.opened_on) == ["network"]
    assert script.perception.closed_on == "infer"


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("where", ["prepare", "wait", "decode"])
def test_a_stop_in_any_stage_discards_what_is_in_flight(where: str, live: bool) -> None:
    sink = ScriptedSink()
    script = Script(ScriptedSource(endless(), live=live), sinks=[sink])
    pipeline = script.pipeline()
    script.perception.hooks[where] = third(lambda: pipeline.request_stop("signal"))
    ending = pipeline.run()
    assert (ending.reason, ending.error) == ("signal", None)
    counts = pipeline.counts()
    assert counts.in_flight == 0
    assert counts.captured == counts.settled
    assert counts.rendered == len(sink.ids)
    assert sink.closed == 1


def test_a_stop_wakes_the_main_thread_that_waits_for_a_frame() -> None:
    asked = threading.Event()
    woken: list[bool] = []

    def read() -> None:
        asked.set()
        woken.append(pipeline._shared.stop.wait(10))

    def ask() -> None:
        passed(asked)
        pipeline.request_stop("signal")

    pipeline = Script(ScriptedSource([], live=True, on_read=read)).pipeline()
    other = threading.Thread(target=ask)
    other.start()
    ending = pipeline.run()
    other.join()
    assert (ending.reason, ending.error, woken) == ("signal", None, [True])
