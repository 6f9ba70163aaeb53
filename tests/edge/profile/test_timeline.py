"""The course of a run in windows, however long it was."""

from __future__ import annotations

import threading

from edge.profile.frames import Frames
from edge.profile.timeline import MOST, MOST_EVENTS, Timeline
from edge.sources.live.status import SourceStatus
from edge.telemetry.sample import Reading, Sample, Throttle
from tests.edge.profile.frames import told

S = 1_000_000_000
HOT = Sample((Reading("temperature", "GPU", 90.0),), (Throttle("GPU", "heat", True),))


class Run:
    """A timeline that hears of frames by the second at which they are done."""

    def __init__(self) -> None:
        self.frames = Frames()
        self.timeline = Timeline(self.frames)

    def frame(self, number: int, at_s: float) -> None:
        result, rendered = told(number, begin_ns=round(at_s * S) - 20_000_000)
        self.timeline.frame(self.frames.add(result, rendered))


def test_windows_of_a_second_hold_frames_drops_and_what_the_machine_told() -> None:
    run = Run()
    for number, at_s in enumerate((100.0, 100.5, 103.9)):
        run.frame(number, at_s)
    run.timeline.lost("dropped_stale", round(101.2 * S))
    run.timeline.sample(Sample((Reading("clock", "CPU", 1000.0),)), round(100.1 * S))
    run.timeline.sample(Sample((Reading("clock", "CPU", 2000.0),)), round(100.9 * S))
    told_of = run.timeline.as_json()
    assert told_of["window_s"] == 1
    assert told_of["frames"] == [2, 0, 0, 1]
    assert told_of["interval"] == [250, None, None, 3400]  # of two frames one has a frame before it
    assert told_of["longest"] == [500, None, None, 3400]
    assert told_of["lost"] == [{}, {"dropped_stale": 1}, {}, {}]
    assert told_of["readings"] == [
        {"kind": "clock", "name": "CPU", "unit": "MHz", "values": [1500, None, None, None]}
    ]


def test_the_shares_of_a_window_are_those_of_its_frames() -> None:
    # Frames of 20 ms each 100 ms: 8 of 100 in the engine, 1 inbox and 3 decode of the pipeline,
    # 2 letterbox; the rest is waiting for the source.
    run = Run()
    for number in range(21):
        run.frame(number, 50 + number / 10)
    (first, second, _) = run.timeline.as_json()["waits"]
    assert second == {"source": 89, "pipeline": 1, "letterbox": 2, "engine": 8}
    assert first == second


def test_what_a_frame_waited_for_is_in_its_own_window_alone() -> None:
    run = Run()
    for number, at_s in enumerate((50.0, 50.1, 50.2, 53.5)):
        run.frame(number, at_s)
    waits = run.timeline.as_json()["waits"]
    assert waits[0]["engine"] == 8  # of 100 ms each, as above, and not of 3.3 s
    assert waits[3]["engine"] == 0.2


def test_a_run_of_hours_has_wider_windows_and_loses_nothing() -> None:
    run = Run()
    seconds = 5 * MOST
    for second in range(seconds):
        run.frame(second, 10 + second)
        run.timeline.lost("dropped_overwritten", (10 + second) * S)
        run.timeline.sample(HOT, (10 + second) * S)
    told_of = run.timeline.as_json()
    assert told_of["window_s"] == 8  # 5 is not enough, and widths double
    assert len(told_of["frames"]) == seconds // 8 <= MOST
    assert set(told_of["frames"]) == {8}
    assert set(told_of["longest"]) == {1000}
    assert sum(window["dropped_overwritten"] for window in told_of["lost"]) == seconds
    assert set(told_of["readings"][0]["values"]) == {90}
    assert all(window["engine"] == 0.8 for window in told_of["waits"])


def test_times_of_throttling_are_joined() -> None:
    run = Run()
    run.timeline.sample(HOT, 9 * S)  # before the first frame: of no window
    run.frame(0, 10)
    for second in (11, 12, 13, 20):
        run.timeline.sample(HOT, second * S)
    spans = [(t.begin_ns // S, t.end_ns // S, t.why) for t in run.timeline.throttled]
    assert spans == [(10, 13, "GPU: heat"), (19, 20, "GPU: heat")]
    assert run.timeline.as_json()["throttled"][1] == ["GPU: heat"]


def test_states_are_told_until_they_are_too_many() -> None:
    run = Run()
    for second in range(MOST_EVENTS + 3):
        run.timeline.source(SourceStatus("cam", "stalled", second, "no data"), second * S)
    told_of = run.timeline.as_json()
    assert told_of["states"][2] == {"s": 2, "state": "stalled", "reason": "no data"}
    assert len(told_of["states"]) == MOST_EVENTS
    assert told_of["untold"] == {"states of the source": 3}


def test_nothing_heard_is_nothing_told() -> None:
    told_of = Run().timeline.as_json()
    assert (told_of["frames"], told_of["states"], told_of["readings"]) == ([], [], [])


def test_losses_of_other_threads_are_all_counted() -> None:
    run = Run()

    def lose() -> None:
        for at in range(2000):
            run.timeline.lost("dropped_stale", at * S)

    threads = [threading.Thread(target=lose) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(2000):
        run.frame(number, number)
    for thread in threads:
        thread.join()
    told_of = run.timeline.as_json()
    assert sum(window.get("dropped_stale", 0) for window in told_of["lost"]) == 6000
    assert sum(told_of["frames"]) == 2000
