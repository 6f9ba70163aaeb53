"""Each figure of the report by numbers that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edge.profile.frames import Times
from edge.profile.statistics import bars, engine_waits, low_fps, quantile, rates, summary
from tests.edge.profile.rows import columns, row

MS = 1_000_000


def ns(*ms: float) -> Times:
    return np.array([round(one * MS) for one in ms], np.int64)


def test_a_quantile_is_the_duration_of_its_rank() -> None:
    found = summary(ns(*range(1, 101)))  # 1, 2, … 100 ms: rank 99 is 99 ms
    assert found == {
        "count": 100, "mean": 50.5, "p50": 50, "p90": 90, "p99": 99, "p99.9": 100, "max": 100,
    }  # fmt: skip
    assert summary(ns(7)) == {
        "count": 1, "mean": 7, "p50": 7, "p90": 7, "p99": 7, "p99.9": 7, "max": 7,
    }  # fmt: skip
    nothing = summary(ns())
    assert (nothing.pop("count"), set(nothing.values())) == (0, {None})


def test_p99_9_is_the_last_but_one_of_two_thousand() -> None:
    assert quantile(ns(*[10] * 1997, 20, 30, 40), 0.999) == 20 * MS  # rank ceil(1998)
    assert quantile(ns(*[10] * 1997, 20, 30, 40), 0.9995) == 30 * MS


def test_one_percent_low_is_the_mean_rate_of_the_slowest_hundredth() -> None:
    # 200 intervals: the slowest two are 40 and 60 ms, 2 frames in 0.1 s.
    assert low_fps(ns(*[10] * 198, 60, 40), 0.01) == {"fps": 20.0, "of": 2}
    # A thousandth of 200 is less than one: the slowest alone.
    assert low_fps(ns(*[10] * 198, 60, 40), 0.001) == {"fps": round(1000 / 60, 4), "of": 1}
    assert low_fps(ns(), 0.01) == {"fps": None, "of": 0}


def test_rates_and_jitter_of_three_frames() -> None:
    # Ends at 0, 10 and 40 ms: 2 intervals in 40 ms. From capture to last sink 5, 8 and 4 ms.
    frames = columns(
        row(0, 0, age=4, sinks=1), row(1, 10, age=6, sinks=2), row(2, 40, age=4, sinks=0)
    )
    found = rates(frames)
    assert found["fps"] == 50.0
    assert found["seconds"] == 0.04
    assert found["low_1"] == {"fps": round(1000 / 30, 4), "of": 1}
    assert found["spread"] == 30 - 10
    assert found["deviation"] == (3 + 4) / 2


@pytest.mark.parametrize("count", [0, 1])
def test_without_two_frames_there_is_no_rate(count: int) -> None:
    found = rates(columns(*[row(n, 5) for n in range(count)]))
    assert (found["fps"], found["seconds"], found["deviation"]) == (None, 0.0, None)


def test_bars_count_every_duration_once() -> None:
    found = bars(ns(*range(1000)))
    assert found is not None
    assert sum(found["counts"]) + found["over"] == 1000
    assert (found["from"], found["to"], found["over"]) == (0, 998, 1)  # rank ceil(999)
    alike = bars(ns(5, 5, 5))
    assert alike is not None
    assert (sum(alike["counts"]), alike["over"]) == (3, 0)
    assert bars(ns()) is None


def test_the_engine_waits_for_the_source_that_gives_nothing() -> None:
    # Answered at 10 ms; read at 30; begun at 32; submitted at 33; answered at 43.
    first = row(0, 12, letterbox=1, infer=9, decode=2)
    second = row(1, 50, inbox=2, letterbox=1, infer=10, decode=2, sinks=5)
    assert engine_waits(columns(first, second)) == {
        "source": 20 * MS, "pipeline": 2 * MS, "letterbox": 1 * MS, "engine": 10 * MS,
    }  # fmt: skip


def test_a_frame_that_was_overwritten_shows_that_the_source_was_not_waited_for() -> None:
    # As above, but an older frame lay in the inbox from 15 ms on: from then the sinks were waited
    # for, 10 + 5 ms of source, 17 ms until 32.
    first = row(0, 12, letterbox=1, infer=9, decode=2)
    second = row(1, 50, inbox=2, letterbox=1, infer=10, decode=2, sinks=5, overtook=15)
    assert engine_waits(columns(first, second)) == {
        "source": 5 * MS, "pipeline": 17 * MS, "letterbox": 1 * MS, "engine": 10 * MS,
    }  # fmt: skip


def test_with_two_slots_the_engine_goes_from_frame_to_frame() -> None:
    # The second is submitted at 5 ms and answered at 20, 10 ms after the first.
    first = row(0, 12, letterbox=1, infer=9, decode=2)
    second = row(1, 22, letterbox=1, infer=15, decode=2)
    assert engine_waits(columns(first, second)) == {
        "source": 0, "pipeline": 0, "letterbox": 0, "engine": 10 * MS,
    }  # fmt: skip
