"""Media time against the wall: holding frames back, dating streams, counting losses."""

from __future__ import annotations

import threading

import pytest

from edge.sources.timing.pacing import SECOND_NS, LostFrames, Pacer, StreamClock, longest_step_ns

MS = 1_000_000


class Wall:
    """A clock that moves only by waiting."""

    def __init__(self) -> None:
        self.now_ns = 1_000 * SECOND_NS
        self.waits_s: list[float] = []

    def clock(self) -> int:
        return self.now_ns

    def wait(self, seconds: float) -> bool:
        self.waits_s.append(seconds)
        self.now_ns += round(seconds * SECOND_NS)
        return False


def pacer(wall: Wall) -> Pacer:
    return Pacer(threading.Event(), clock_ns=wall.clock, wait=wall.wait)


def test_frames_are_held_until_their_timestamps() -> None:
    wall = Wall()
    p = pacer(wall)
    # The first sets the start; 40 ms and then 100 ms later by their own time.
    assert [p.hold(7 * SECOND_NS + t * MS) for t in (0, 40, 140)] == [True, True, True]
    assert wall.waits_s == pytest.approx([0.040, 0.100])


def test_a_late_frame_is_not_held_and_the_next_keeps_the_start() -> None:
    wall = Wall()
    p = pacer(wall)
    p.hold(0)
    wall.now_ns += 100 * MS
    assert p.hold(40 * MS)
    assert wall.waits_s == []
    p.hold(120 * MS)  # due 120 ms after the start, 100 ms are gone
    assert wall.waits_s == pytest.approx([0.020])


@pytest.mark.parametrize("broken_ns", [-5 * SECOND_NS, 3600 * SECOND_NS])
def test_a_timestamp_that_leaps_starts_a_new_count_instead_of_stalling(broken_ns: int) -> None:
    wall = Wall()
    p = pacer(wall)
    p.hold(0)
    p.hold(broken_ns)
    p.hold(broken_ns + 40 * MS)
    assert wall.waits_s == pytest.approx([0.040])


def test_a_step_as_long_as_the_rate_says_is_no_leap() -> None:
    waited: list[float] = []

    def wait(seconds: float) -> bool:
        waited.append(seconds)
        return False

    pacer = Pacer(
        threading.Event(), clock_ns=lambda: 0, wait=wait,
        longest_step_ns=40_000 * MS,
    )  # fmt: skip
    assert all(pacer.hold(t * 20_000 * MS) for t in range(3))
    assert waited == [20.0, 40.0]


@pytest.mark.parametrize("frames", [5, 100])
def test_a_leap_that_slows_the_average_stays_a_leap(frames: int) -> None:
    leap_s = 3600.0
    # the average of an mp4 counts the last frame's time on the screen, which may be the leap again
    rate = frames / (frames - 2 + 2 * leap_s)
    assert longest_step_ns(rate) < leap_s * SECOND_NS


@pytest.mark.parametrize(("fps", "longest_s"), [(None, 10), (25.0, 10), (1 / 3600, 7200)])
def test_the_longest_step_is_that_of_a_slow_rate(fps: float | None, longest_s: int) -> None:
    assert longest_step_ns(fps) == longest_s * SECOND_NS


def test_a_stop_ends_the_hold() -> None:
    stop = threading.Event()
    p = Pacer(stop)
    assert p.hold(0)
    stop.set()
    assert not p.hold(9 * SECOND_NS)
    assert not p.hold(0)  # late or not


def test_stream_frames_are_dated_by_the_one_that_was_held_up_least() -> None:
    clock = StreamClock()
    # pts 0, 40, 80 ms arrive 30, 10 and 25 ms late against a true start of 1000 ms.
    dates = [clock.capture_ns(p * MS, a * MS) for p, a in ((0, 1030), (40, 1050), (80, 1105))]
    assert dates == [1030 * MS, 1050 * MS, 1090 * MS]  # from the second on, offset 1010


def test_a_date_is_never_after_the_arrival() -> None:
    clock = StreamClock()
    arrivals = [1000, 1500, 1510, 1520, 1600]
    for i, arrival in enumerate(arrivals):
        assert clock.capture_ns(i * 40 * MS, arrival * MS) <= arrival * MS


@pytest.mark.parametrize("restart_pts", [0, 90_000 * 1000])
def test_a_leap_of_the_timestamps_resets_the_offset(restart_pts: int) -> None:
    clock = StreamClock()
    clock.capture_ns(500_000 * MS, 1000 * MS)
    clock.capture_ns(500_040 * MS, 1040 * MS)
    assert clock.capture_ns(restart_pts * MS, 1080 * MS) == 1080 * MS
    assert clock.capture_ns((restart_pts + 40) * MS, 1150 * MS) == 1120 * MS


def test_an_offset_is_forgotten_after_the_window() -> None:
    clock = StreamClock(half_window_ns=SECOND_NS)
    clock.capture_ns(0, 1000 * MS)
    # From here every frame is 20 ms later than the first: a sender whose clock drifted.
    late = [clock.capture_ns(t * MS, (t + 1020) * MS) - t * MS for t in range(100, 2600, 100)]
    assert late[0] == 1000 * MS
    assert late[-1] == 1020 * MS


def lost(times_ms: list[int]) -> int:
    counter = LostFrames()
    return sum(counter.add(t * MS) for t in times_ms)


REGULAR = list(range(0, 800, 40))  # 20 frames at 25 fps


def test_a_regular_stream_has_lost_nothing() -> None:
    assert lost(REGULAR) == 0
    assert lost([]) == 0


def test_frames_missing_from_a_regular_stream_are_counted() -> None:
    # 800 and 840 ms are missing, then it goes on: 2 lost.
    assert lost([*REGULAR, 880, 920]) == 2
    assert lost([*REGULAR, 880, 920, 960, 1040, 1080]) == 3


def test_a_second_timestamp_beside_one_takes_no_loss_back() -> None:
    assert lost([*REGULAR, 765, 805, 845, 885]) == 0
    counts = LostFrames()
    assert min(counts.add(t * MS) for t in [*REGULAR, 880, 920, 925, 965, 1005]) == 0


def test_jitter_is_no_loss() -> None:
    assert lost([t + (5 if t % 80 else 0) for t in REGULAR]) == 0


def test_a_change_of_rate_and_a_varying_rate_are_no_loss() -> None:
    assert lost([*REGULAR, *range(840, 2000, 80)]) == 0
    assert lost([t * t for t in range(30)]) == 0


def test_a_restart_of_the_timestamps_is_no_loss() -> None:
    assert lost([*REGULAR, 3_600_000, 3_600_040, 0, 40]) == 0
