"""What bounds a rate: sums that can be judged by hand, and runs of which it is known."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from edge.metrics.metrics import Metrics, Rendered
from edge.metrics.verdict import FEWEST, Setup, Verdict, verdict
from edge.metrics.work import Work
from edge.vision.types import Frame
from tests.edge.scripted import (
    Script,
    ScriptedOverlay,
    ScriptedPerception,
    ScriptedSink,
    ScriptedSource,
    frame,
)

MS = 1_000_000
FILE = Setup(drops=False, live=False)
CAMERA = Setup(drops=True, live=True, nominal_fps=30)


def each(frames: int = 100, *, every_ms: float, dropped: int = 0, **stages_ms: float) -> Work:
    """``frames`` alike, each ``every_ms`` after the one before."""
    ns = {name: round(frames * ms * MS) for name, ms in stages_ms.items()}
    return Work(frames=frames, span_ns=round(frames * every_ms * MS), dropped=dropped, **ns)


# ---- sums judged by hand


def test_a_file_that_is_read_all_the_time_bounds() -> None:
    # Every 20 ms a frame: 50 fps; read for 19 of 20 ms: 95 %, alone 1000 / 19 = 52.6.
    # Inference takes 1 + 8 + 1 = 10 ms: alone 100.
    work = each(every_ms=20, capture=19, letterbox=1, engine=8, waited=8, decode=1, sinks=2)
    found = verdict(work, FILE)
    assert (found.bound, found.next, found.fps) == ("source", "inference", 50.0)
    assert found.floor_fps == pytest.approx(1000 / 19)
    assert found.alone_fps["inference"] == pytest.approx(100)
    assert found.busy["output"] == pytest.approx(0.1)
    assert found.helps == ()
    assert found.words == (
        "The source bounds the rate at 50.0 fps: reading it takes 95 % of the time. "
        "Next is inference, which alone allows 100.0."
    )


def test_a_camera_of_which_all_is_shown_bounds_however_long_it_was_waited_for() -> None:
    # 96 of 100 frames: the camera gives 30 / 0.96 = 31.25, and reading waits whatever happens.
    work = each(96, every_ms=1000 / 30, dropped=4, capture=1, waited=10, engine=10)
    found = verdict(work, CAMERA)
    assert (found.bound, found.next) == ("source", "inference")
    assert found.alone_fps["source"] == pytest.approx(31.25)
    assert "96 % of its frames are shown" in found.words
    assert found.helps == ()  # it gives what it says


def test_a_camera_that_gives_less_than_it_says_is_told_of() -> None:
    found = verdict(each(every_ms=66.7, waited=10, engine=10), CAMERA)
    assert found.helps == ("The source says 30 fps and gives 15.0.",)


@pytest.mark.parametrize(
    ("slots", "waited", "bound"),
    # In turn: 30 + 18 = 48 of 50 ms. Side by side: 10 % of the time the host has nothing to do.
    [(1, 30, "engine"), (1, 18, "host"), (2, 6, "engine"), (2, 0.5, "host")],
)
def test_of_inference_the_part_that_the_other_waits_for_bounds(
    slots: int, waited: float, bound: str
) -> None:
    host = 48 - waited
    work = each(every_ms=50, letterbox=host - 1, decode=1, waited=waited, engine=49)
    found = verdict(work, replace(FILE, slots=slots))
    assert found.bound == bound
    assert ("in turn" in found.words) == (slots == 1)


@pytest.mark.parametrize(("slots", "busy"), [(1, 0.6), (2, 0.5)])
def test_with_two_slots_inference_takes_as_long_as_its_longer_part(slots: int, busy: float) -> None:
    work = each(every_ms=20, letterbox=5, decode=1, waited=6, engine=10)
    assert verdict(work, replace(FILE, slots=slots)).busy["inference"] == pytest.approx(busy)


def test_where_nothing_is_busy_all_the_time_nothing_is_blamed() -> None:
    work = each(every_ms=20, capture=10, waited=14, engine=14, sinks=12)
    found = verdict(work, FILE)
    assert (found.bound, found.floor_fps, found.next, found.helps) == (None, None, None, ())
    assert "Nothing bounds the rate all the time: inference is the busiest, for 70 %" in found.words


def test_frames_that_are_too_old_are_told_of() -> None:
    work = each(every_ms=100, dropped=100, waited=10, engine=10)
    found = verdict(work, replace(CAMERA, max_age_ms=20.0))
    assert found.bound is None
    assert "50 % of the frames are dropped" in found.words
    assert found.helps == ("Frames older than [pipeline] max_age_ms = 20 are dropped.",)


def test_a_part_that_is_slow_at_times_alone_is_not_blamed_for_all_drops() -> None:
    found = verdict(each(every_ms=44, dropped=33, waited=38, engine=38), CAMERA)
    assert (found.bound, found.helps) == (None, ())
    assert found.words == (
        "Nothing bounds the rate all the time: inference is the busiest, for 86 % of it; 25 % of "
        "the frames are dropped, as at times they come faster than they are taken."
    )


@pytest.mark.parametrize("frames", [0, 1, FEWEST - 1])
def test_of_few_frames_nothing_is_said(frames: int) -> None:
    found = verdict(each(frames, every_ms=20, capture=20), FILE)
    assert (found.bound, found.fps, found.helps) == (None, None, ())
    assert found.words == (
        f"Too few frames to tell what bounds the rate: {frames} after the first, wanted {FEWEST}."
    )
    assert verdict(each(FEWEST, every_ms=20, capture=20), FILE).bound == "source"


SLOW_ENGINE = each(every_ms=50, dropped=50, letterbox=5, decode=2, waited=42, engine=42)


@pytest.mark.parametrize(
    ("key", "changed", "shown"),
    [
        ("slots", {"overlaps": True}, True),
        ("slots", {"overlaps": True, "slots": 2}, False),
        ("slots", {"overlaps": False}, False),  # ONNX Runtime does a run in submit()
        ("precision", {"below_f32": False}, True),
        ("precision", {"below_f32": True}, False),
        ("threads", {"threads": 1, "cores": 4}, True),
        ("threads", {"threads": 4, "cores": 4}, False),
        ("threads", {"cores": 4}, False),
        ("640x384", {"inputs_wh": ((640, 384),)}, True),
        ("policy", {"live": True}, True),
        ("policy", {"live": False}, False),
        ("policy", {"live": True, "drops": True}, False),
        ("letterbox =", {"host_letterbox": True}, False),  # not what bounds
    ],
)
def test_advice_is_given_where_it_applies(key: str, changed: dict[str, Any], shown: bool) -> None:
    found = verdict(SLOW_ENGINE, replace(FILE, **changed))
    assert found.bound == "engine"
    assert any(key in help for help in found.helps) == shown


def test_slots_are_no_advice_where_the_host_does_little() -> None:
    # 1 + 1 of 50 ms: 4 %.
    work = each(every_ms=50, letterbox=1, decode=1, waited=47, engine=47)
    assert not any("slots" in help for help in verdict(work, replace(FILE, overlaps=True)).helps)


@pytest.mark.parametrize(
    ("stages", "setup", "said", "help"),
    [
        ({"sinks": 48, "overlay": 1}, {"sinks": ("a.mp4",)}, "Writing to a.mp4", "Another sink"),
        ({"sinks": 48}, {"sinks": ("a.mp4", "web")}, "Writing to the sinks", "One sink less"),
        ({"overlay": 48}, {"draws_masks": True}, "The overlay", "masks = false"),
        ({"letterbox": 47, "waited": 2}, {"host_letterbox": True}, "The letterbox", "auto"),
        ({"letterbox": 47, "waited": 2}, {}, "The letterbox", "Smaller pictures"),
        ({"decode": 47, "waited": 2}, {}, "The decode", "--conf"),
    ],
)
def test_the_busiest_of_a_part_is_named_with_what_helps(
    stages: dict[str, Any], setup: dict[str, Any], said: str, help: str
) -> None:
    found = verdict(each(every_ms=50, **stages), replace(FILE, **setup))
    assert found.words.startswith(f"{said} bounds the rate at 20.0 fps")
    assert any(help in line for line in found.helps)


# ---- sums of frames


def rendered(at_ms: int, *, dropped: int = 0, **stages_ms: int) -> Rendered:
    stages = {name: ms * MS for name, ms in stages_ms.items()}
    return Rendered(stages, 0, 0, at_ms * MS, 0, 3 * MS, 2 * MS, dropped)


def test_sums_begin_when_the_first_frame_is_done() -> None:
    metrics = Metrics()
    assert metrics.work == Work()
    metrics.record(rendered(1000, dropped=7, capture=500))
    assert metrics.work == Work()
    metrics.record(rendered(1020, dropped=1, capture=9, letterbox=2, decode=1, sinks=1))
    metrics.record(rendered(1050, capture=8, letterbox=2, decode=1, overlay=4, sinks=1))
    expected = Work(2, 50 * MS, 0, 1, 17 * MS, 4 * MS, 6 * MS, 4 * MS, 2 * MS, 4 * MS, 2 * MS)
    assert metrics.work == metrics.copies().work == expected
    # A stretch: the last frame alone.
    newest = rendered(1050, capture=8, letterbox=2, decode=1, overlay=4, sinks=1)
    assert expected.since(Work.of(newest, 30 * MS)).capture == 9 * MS


def test_time_without_signal_is_in_no_sum_and_told() -> None:
    metrics = Metrics()
    metrics.interrupt(away=True)  # before the first frame: its time is in no sum anyway
    for i in range(40):
        metrics.record(rendered(20 * i, capture=19))
    before = metrics.work
    assert before.away_ns == 0
    metrics.interrupt(away=True)
    metrics.interrupt(away=True)
    metrics.record(rendered(60_780, capture=60_000))  # a minute after 780
    assert metrics.work == before._replace(away_ns=60_000 * MS)
    metrics.record(rendered(60_800, capture=19))
    assert metrics.work.frames == 40
    found = verdict(metrics.work, FILE)
    assert (found.bound, found.away_s) == ("source", 60.0)
    assert found.words.endswith("Without 60.0 s of no signal.")
    metrics.interrupt(away=False)  # no picture, but the source gives some: the engine hangs
    metrics.record(rendered(65_800, capture=19))
    assert metrics.work.span_ns == 40 * 20 * MS + 5_000 * MS


# ---- runs of which the truth is known


class Device:
    """Does runs of ``ms`` one after another, beside the threads of the pipeline."""

    def __init__(self, ms: float) -> None:
        self._s, self._free_at = ms / 1e3, 0.0
        self._done_at: deque[float] = deque()

    def submit(self) -> None:
        self._free_at = max(self._free_at, time.monotonic()) + self._s
        self._done_at.append(self._free_at)

    def wait(self) -> None:
        time.sleep(max(0.0, self._done_at.popleft() - time.monotonic()))


def taking(ms: float) -> Callable[..., bool]:
    def take(*_: object) -> bool:
        time.sleep(ms / 1e3)
        return True

    return take


SLOW = 12
"""ms of the slow part; the others take 2."""


def frames() -> Iterator[Frame]:
    for i in range(FEWEST + 10):
        yield frame(i)


def judged(slow: str, **script: Any) -> Verdict:
    """Run with one slow part, and judge as the app does."""
    takes = {part: SLOW if part == slow else 2 for part in PARTS}
    live = script.pop("live", False)
    source = ScriptedSource(frames(), live=live, on_read=taking(takes["source"]))
    device = Device(takes["engine"])
    hooks: dict[str, Callable[[], object]] = {
        "prepare": taking(takes["letterbox"]),
        "submit": device.submit,
        "wait": device.wait,
        "decode": taking(takes["decode"]),
    }
    sink = ScriptedSink(on_write=taking(takes["sinks"]), wants_image=True)
    overlay = ScriptedOverlay(on_draw=lambda: time.sleep(takes["overlay"] / 1e3))
    run = Script(source, ScriptedPerception(hooks), [sink], overlay, **script)
    pipeline = run.pipeline()
    assert pipeline.run().error is None
    setup = Setup(drops=pipeline.limits.drops(source), live=live, slots=run.slots)
    return verdict(pipeline.metrics.work, setup)


def undisturbed(judge: Callable[[], Verdict], bound: str) -> Verdict:
    """The first run that blames a part. Other work of the machine may hide it, never another."""
    for _ in range(5):
        found = judge()
        assert found.bound in (bound, None), found
        if found.bound is not None:
            return found
    raise AssertionError(found)


PARTS = ("source", "engine", "letterbox", "decode", "overlay", "sinks")


@pytest.mark.timing
@pytest.mark.parametrize(
    ("slow", "script", "bound"),
    [
        ("source", {}, "source"),
        ("source", {"live": True}, "source"),
        ("source", {"live": True, "policy": "wait", "slots": 2}, "source"),
        ("engine", {}, "engine"),
        ("engine", {"slots": 2}, "engine"),
        ("letterbox", {"slots": 2}, "host"),
        ("decode", {}, "host"),
        ("sinks", {}, "output"),
        ("overlay", {"slots": 2}, "output"),
    ],
)
def test_a_slow_part_is_found(slow: str, script: dict[str, Any], bound: str) -> None:
    found = undisturbed(lambda: judged(slow, **script), bound)
    assert found.fps is not None
    assert found.floor_fps is not None
    assert found.fps <= found.floor_fps * 1.001


@pytest.mark.timing
@pytest.mark.parametrize(("slow", "bound"), [("engine", "engine"), ("sinks", "output")])
def test_a_camera_is_not_blamed_for_frames_that_are_dropped(slow: str, bound: str) -> None:
    found = undisturbed(lambda: judged_live(slow), bound)
    assert found.busy["source"] < 0.5  # 2 ms, where 12 are taken
    assert "of the frames are dropped" in found.words


def judged_live(slow: str) -> Verdict:
    source = ScriptedSource(map(frame, itertools.count()), live=True, on_read=taking(2))
    device = Device(SLOW if slow == "engine" else 2)
    sink = ScriptedSink(on_write=taking(SLOW if slow == "sinks" else 1))
    hooks: dict[str, Callable[[], object]] = {"submit": device.submit, "wait": device.wait}
    pipeline = Script(source, ScriptedPerception(hooks), [sink], frames=FEWEST + 10).pipeline()
    assert pipeline.run().error is None
    return verdict(pipeline.metrics.work, Setup(drops=pipeline.limits.drops(source), live=True))
