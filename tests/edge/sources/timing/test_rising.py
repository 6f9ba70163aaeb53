"""Times that always rise: joints are closed, pauses stay."""

from __future__ import annotations

import itertools
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.sources.timing.rising import RisingTimes

SECOND = 1_000_000_000
FPS = 10.0  # a period is 0.1 s


def risen(times_s: list[float], **options: float) -> list[float]:
    wrap_s = options.get("wrap_s")
    times = RisingTimes(
        "film",
        may_leap=bool(options.get("may_leap")),
        wrap_ns=None if wrap_s is None else round(wrap_s * SECOND),
    )
    return [times.rising_ns(round(t * SECOND), FPS) / SECOND for t in times_s]


@pytest.mark.parametrize(
    ("own", "wanted"),
    [
        ([], []),
        ([5], [5]),
        ([-0.2, -0.1, 0], [-0.2, -0.1, 0]),
        ([0, 0.1, 0.1, 0.3], [0, 0.1, 0.15, 0.3]),  # twice the same: half a period, and catch up
        ([0, 0.2, 0.1, 0.3], [0, 0.2, 0.25, 0.3]),
        ([7, 7.1, 0, 0.1, 0.5], [7, 7.1, 7.2, 7.3, 7.7]),
        ([7, 7.1, 3, 3.1, 1, 1.1], [7, 7.1, 7.2, 7.3, 7.4, 7.5]),
        ([0, 0.1, 25_200, 50_400], [0, 0.1, 25_200, 50_400]),
    ],
)
def test_times_rise_and_pauses_stay(own: list[float], wanted: list[float]) -> None:
    assert risen(own) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("own", "wanted"),
    [
        ([0, 0.1, 900, 900.1], [0, 0.1, 0.2, 0.3]),
        ([0, 0.1, 9.1, 9.2], [0, 0.1, 9.1, 9.2]),  # 9 s: a pause
        ([0, 900, 1800], [0, 900, 1800]),  # as long as ever: a time lapse
        ([0, 900, 1800, 9000], [0, 900, 1800, 1800.1]),  # 7,200 s is over four times 900 s
    ],
)
def test_a_clock_that_may_be_set_anew_leaps(own: list[float], wanted: list[float]) -> None:
    assert risen(own, may_leap=True) == pytest.approx(wanted)


def test_a_clock_that_begins_anew_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    own = [99.8, 99.9, 0, 0.1, 0.4]
    assert risen(own, may_leap=True, wrap_s=100) == pytest.approx([99.8, 99.9, 100, 100.1, 100.4])
    assert caplog.text == ""
    # 1 to 96 is 5 back in such a clock: recordings were joined.
    assert risen([0.9, 1, 96, 96.1], may_leap=True, wrap_s=100) == pytest.approx([0.9, 1, 1.1, 1.2])
    assert "fall back by 5.00 s" in caplog.text


def test_the_first_joint_alone_is_told(caplog: pytest.LogCaptureFixture) -> None:
    risen([7, 7.1, 0, 0.1, -9, -8.9])
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert "film: at 7.10 s its times fall back by 7.10 s" in caplog.text


@given(st.lists(st.integers(-(10**15), 10**15)), st.booleans(), st.sampled_from([None, 10**11]))
def test_any_times_rise(own: list[int], may_leap: bool, wrap_ns: int | None) -> None:
    rising = RisingTimes("film", may_leap=may_leap, wrap_ns=wrap_ns)
    times = [rising.rising_ns(own_ns, FPS) for own_ns in own]
    assert all(before < after for before, after in itertools.pairwise(times))
