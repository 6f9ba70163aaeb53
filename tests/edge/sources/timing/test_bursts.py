"""Frames of a source in bursts at their own pace: when it is one, when they are due, how late."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest

from edge.sources.timing.bursts import Bursts
from edge.sources.timing.pacing import SECOND_NS

MS = 1_000_000
PERIOD_MS = 100
Packets = Sequence[tuple[float, float]]
"""(arrival, media time) in ms."""


def hls(segments: Iterable[int], *, late_ms: float = 0) -> Packets:
    """Segments of a second of 10 fps, each there at once when its last frame was taken.

    Segment 0 is there at 900 ms: media times 0, 100, ... 900.
    """
    return [
        (1000 * n + 900 + late_ms, 1000 * n + k * PERIOD_MS) for n in segments for k in range(10)
    ]


def smooth(from_ms: int, to_ms: int, *, jitter_ms: Sequence[float] = (0,)) -> Packets:
    times = range(from_ms, to_ms, PERIOD_MS)
    return [(t + jitter_ms[i % len(jitter_ms)], t) for i, t in enumerate(times)]


def played(packets: Packets, schedule: Bursts) -> list[tuple[float, float]]:
    """When each packet is given, ms, and the delay then, as the one thread that waits does it."""
    given: list[tuple[float, float]] = []
    lines: list[int] = []
    now = 0.0
    for i, (at, _) in enumerate(packets):
        now = max(now, at)
        for later_at, media in packets[len(lines) :]:
            if later_at > now:
                break
            lines.append(schedule.arrived(round(media * MS), round(later_at * MS)))
        if schedule.paced:
            now = max(now, schedule.due_ns(lines[i], round(at * MS)) / MS)
        given.append((now, schedule.delay_ns / MS))
    return given


def steps(given: Sequence[tuple[float, float]]) -> list[float]:
    return [b - a for (a, _), (b, _) in pairwise(given)]


def bursts(*, known: bool = False, longest_s: float = 10) -> Bursts:
    return Bursts(longest_ns=round(longest_s * SECOND_NS), known=known)


def test_segments_are_given_a_frame_at_a_time_behind_a_constant_delay() -> None:
    given = played(hls(range(30)), bursts(known=True))
    # The first at once, 900 ms after it was taken; the one that waited least was taken last.
    assert [given[0], given[-1]] == [(900, 900), (900 + 299 * PERIOD_MS, 900)]
    assert steps(given) == [PERIOD_MS] * 299


@pytest.mark.parametrize("jitter_ms", [(0,), (0, 40, 10, 60, 0, 30), (0, 0, 150, 60)])
def test_a_smooth_source_is_never_delayed(jitter_ms: Sequence[float]) -> None:
    packets = smooth(0, 60_000, jitter_ms=jitter_ms)
    schedule = bursts()
    assert played(packets, schedule) == [(at, 0) for at, _ in packets]
    assert not schedule.paced


def test_a_camera_that_stalls_now_and_then_is_not_delayed() -> None:
    # Of every 8 s the network holds back three, which then come at once.
    packets = [(max(at, at // 8000 * 8000 + 3000), at) for at, _ in smooth(0, 64_000)]
    schedule = bursts()
    played(packets, schedule)
    assert not schedule.paced


def test_what_came_while_opening_does_not_make_a_camera_one_in_bursts() -> None:
    packets = [(max(at, 2500), at) for at, _ in smooth(0, 20_000)]
    schedule = bursts()
    played(packets, schedule)
    assert not schedule.paced


def test_a_link_that_holds_up_again_and_again_is_not_delayed() -> None:
    # Lost packets, a busy processor: one burst behind the other, each of another size.
    packets, begin = list[tuple[float, float]](), 0
    for held in (500, 900, 700, 1300, 400, 1100) * 8:
        packets += [(begin + held, media) for media in range(begin, begin + held, PERIOD_MS)]
        begin += held
    schedule = bursts()
    played(packets, schedule)
    assert not schedule.paced


def test_what_is_held_up_for_a_third_of_a_second_is_jitter() -> None:
    packets = [(media // 320 * 320 + 300, media) for media in range(0, 12_800, 20)]
    schedule = bursts()
    played(packets, schedule)
    assert not schedule.paced


def test_a_relay_whose_last_frames_come_a_bit_later_is_found_out() -> None:
    # Of each second eight frames at once; two more after gaps of more than half a period.
    packets = [(at + max(0, media % 1000 - 700) * 0.6, media) for at, media in hls(range(20))]
    schedule = bursts()
    played(packets, schedule)
    assert schedule.paced


def test_a_relay_is_found_out_by_four_bursts_of_one_size() -> None:
    schedule = bursts()
    given = played(hls(range(20)), schedule)
    assert given[39:41] == [(3900, 0), (4900, 900)]
    assert steps(given[40:]) == [PERIOD_MS] * 159
    assert given[-1][1] == 900


def test_a_late_segment_stops_the_picture_once_and_leaves_a_tenth_to_spare() -> None:
    given = played([*hls(range(5)), *hls(range(5, 12), late_ms=500)], bursts(known=True))
    # Its first frame would be due at 5900 and comes at 6400: 1400 ms after it was taken, of which
    # the last but one segment's last frame waited for nothing. 1400 * 1.1 = 1540.
    assert given[49:51] == [(5800, 900), (5000 + 1540, 1540)]
    assert steps(given[50:]) == [PERIOD_MS] * 69


def test_a_delay_that_is_not_needed_any_more_falls_by_three_percent_of_the_time() -> None:
    # One late segment, then 40 that are in time; the window forgets it after 10 to 20 s.
    packets = [*hls([0]), *hls([1], late_ms=800), *hls(range(2, 82))]
    given = played(packets, bursts(known=True))
    assert given[100][1] == pytest.approx(1870)  # (900 + 800) * 1.1
    assert all(PERIOD_MS * 0.97 - 0.001 <= step <= PERIOD_MS + 0.001 for step in steps(given[10:]))
    assert given[-1][1] == pytest.approx(990)  # 900 * 1.1
    fell = next(i for i, (_, delay) in enumerate(given) if i > 10 and delay < 1869)
    assert 100 <= fell <= 220
    assert given[fell + 100][1] == pytest.approx(given[fell][1] - 0.03 * 100 * PERIOD_MS)


def test_no_delay_is_longer_than_allowed() -> None:
    # 3 s of the past come first, as of a playlist of three segments: 2900 ms would be needed.
    packets = [*((2900.0, media) for _, media in hls(range(3))), *hls(range(3, 30))]
    given = played(packets, bursts(known=True, longest_s=2))
    assert max(delay for _, delay in given) == 2000
    assert [now for now, _ in given[:10]] == [2900] * 10  # later than 2 s already
    assert given[10:100] == [(2000 + 1000 + k * PERIOD_MS, 2000) for k in range(90)]


@pytest.mark.parametrize(("leap_ms", "paused_ms"), [(-5000, 0), (3_600_000, 0), (-5000, 7000)])
def test_timestamps_that_begin_anew_keep_pace_and_delay(leap_ms: int, paused_ms: int) -> None:
    after = [(at + paused_ms, media + leap_ms) for at, media in hls(range(5, 15))]
    given = played([*hls(range(5)), *after], bursts(known=True))
    assert given[50][0] == 5900 + paused_ms
    assert steps(given[:50]) == [PERIOD_MS] * 49
    assert steps(given[50:]) == [PERIOD_MS] * 99
    assert {delay for _, delay in given} == {900}


def test_a_source_that_turns_smooth_is_not_delayed_any_more_in_the_end() -> None:
    packets = [*hls(range(5)), *smooth(5000, 90_000)]
    given = played(packets, bursts(known=True))
    assert given[-1:] == [(89_900, 0)]
    assert all(PERIOD_MS * 0.97 - 0.001 <= step <= PERIOD_MS + 0.001 for step in steps(given))


@pytest.mark.parametrize("ppm", [-300, 300])
def test_a_senders_clock_that_drifts_is_followed(ppm: int) -> None:
    # In 20 minutes 300 ppm are 360 ms: a sender that is slower comes late by 99 ms 4 times at most.
    packets = [(at, media * (1 + ppm * 1e-6)) for at, media in hls(range(1200))]
    given = played(packets, bursts(known=True))
    assert all(895 < delay < 1100 for _, delay in given[10:])
    assert sum(step > PERIOD_MS * 1.05 for step in steps(given)) <= 4
