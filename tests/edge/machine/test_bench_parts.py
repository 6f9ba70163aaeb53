"""What measuring is made of: the stopwatch on known work, and frames from memory."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from edge.machine.bench_parts import ROUNDS, MemorySource, OverlaySink, costs, run_pipeline
from edge.vision.types import Image
from engines.errors import SourceError
from tests.edge.scripted import IMAGE, ScriptedPerception, ScriptedSource, frame

WARM_UP = 5


@pytest.mark.timing
def test_work_that_waits_costs_wall_time_and_work_that_computes_costs_cpu() -> None:
    wait = threading.Event()  # never set: waiting for it takes its timeout

    def compute() -> None:
        until = time.thread_time_ns() + 4_000_000
        while time.thread_time_ns() < until:
            pass

    found = costs({"wait": lambda: wait.wait(0.004), "compute": compute}, calls=5)
    assert list(found) == ["wait", "compute"]
    assert 4 <= found["wait"].wall_ms < 40
    assert found["wait"].cpu_ms < 2
    assert found["compute"].wall_ms >= 4
    assert 4 <= found["compute"].cpu_ms < 12


def test_cpu_of_other_threads_counts() -> None:
    def work() -> None:
        def compute() -> None:
            until = time.thread_time_ns() + 4_000_000
            while time.thread_time_ns() < until:
                pass

        thread = threading.Thread(target=compute)
        thread.start()
        thread.join()

    assert costs({"work": work}, calls=3)["work"].cpu_ms >= 4


def test_works_are_run_in_turns_after_a_warm_up() -> None:
    order: list[str] = []
    costs({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, calls=2)
    assert order == ["a"] * WARM_UP + ["b"] * WARM_UP + ["a", "a", "b", "b"] * ROUNDS


def test_nothing_to_measure_costs_nothing() -> None:
    assert costs({}, calls=3) == {}


def _grey(count: int) -> list[Image]:
    return [np.full((4, 6, 3), level, np.uint8) for level in range(count)]


def test_frames_from_memory_go_round_on_demand() -> None:
    source = MemorySource(_grey(2), threading.Event(), fps=None)
    frames = [source.read() for _ in range(5)]
    assert not source.live
    assert [f.id for f in frames if f] == [0, 1, 2, 3, 4]
    assert [int(f.image[0, 0, 0]) for f in frames if f] == [0, 1, 0, 1, 0]


def test_frames_from_memory_come_at_the_pace_of_a_camera_and_keep_their_due_time() -> None:
    source = MemorySource(_grey(1), threading.Event(), fps=100)
    frames = [f for _ in range(4) if (f := source.read()) is not None]
    assert source.live
    # 10 ms apart to the nanosecond, however late each was read.
    start_ns = frames[0].t_capture_ns
    assert [(f.t_capture_ns - start_ns) / 1e6 for f in frames] == [0, 10, 20, 30]
    assert all(f.t_read_ns >= f.t_capture_ns for f in frames)


def test_a_stop_ends_the_wait_for_the_next_frame() -> None:
    stop = threading.Event()
    source = MemorySource(_grey(1), stop, fps=0.001)
    assert source.read() is not None
    stop.set()
    assert source.read() is None


@pytest.mark.parametrize("count", [1, 7])
def test_a_run_renders_the_frames_that_were_asked_for_and_reports(count: int) -> None:
    perception, ages_ms = ScriptedPerception(), list[float]()
    report = run_pipeline(
        lambda: perception,
        lambda stop: MemorySource([IMAGE], stop, fps=None),
        sink=OverlaySink(ages_ms.append),
        frames=count,
    )
    assert report["frames"]["rendered"] == len(ages_ms) == count
    assert report["frames"]["in_flight"] == 0
    assert report["stages"]["overlay"]["count"] == count
    assert perception.closed_on == "infer"


def test_a_run_that_breaks_raises_what_broke_it() -> None:
    broken = SourceError("gone")
    with pytest.raises(SourceError, match="gone"):
        run_pipeline(
            ScriptedPerception,
            lambda _: ScriptedSource([frame(0), broken]),
            sink=OverlaySink(),
            frames=9,
        )
