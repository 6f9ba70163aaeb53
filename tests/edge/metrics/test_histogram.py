"""Durations in buckets: percentiles, differences and bounds that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.metrics.histogram import Histogram

MS = 1_000_000


def of_ms(*times: float) -> Histogram:
    histogram = Histogram()
    for ms in times:
        histogram.record(round(ms * MS))
    return histogram


def test_an_empty_stage_has_count_zero_and_null_times() -> None:
    assert Histogram().summary() == {
        "count": 0,
        "mean_ms": None,
        "p50_ms": None,
        "p90_ms": None,
        "p99_ms": None,
        "max_ms": None,
    }


def test_one_duration_is_its_own_mean_percentiles_and_maximum() -> None:
    histogram = Histogram()
    histogram.record(8_123_456)
    assert histogram.summary() == {
        "count": 1,
        "mean_ms": 8.1235,
        "p50_ms": 8.1235,
        "p90_ms": 8.1235,
        "p99_ms": 8.1235,
        "max_ms": 8.1235,
    }


def test_percentiles_of_1_to_100_ms_are_the_ranks() -> None:
    histogram = Histogram()
    for ms in range(1, 101):
        histogram.record(ms * MS)
    got = histogram.summary()
    assert (got["count"], got["mean_ms"], got["max_ms"]) == (100, 50.5, 100.0)  # 5050 / 100
    assert got["p50_ms"] == pytest.approx(50, rel=0.0051)
    assert got["p90_ms"] == pytest.approx(90, rel=0.0051)
    assert got["p99_ms"] == pytest.approx(99, rel=0.0051)


@given(
    st.lists(st.integers(2_000, 900_000_000_000), min_size=1, max_size=60),
    st.sampled_from((0.5, 0.9, 0.99)),
)
def test_a_percentile_is_within_half_a_percent_of_the_sorted_one(
    times: list[int], q: float
) -> None:
    histogram = Histogram()
    for ns in times:
        histogram.record(ns)
    exact = np.quantile(times, q, method="inverted_cdf")
    assert histogram.quantile_ns(q) == pytest.approx(float(exact), rel=0.0051)


@pytest.mark.parametrize("ns", [-5, 0, 1, 999, 1_000, 1_001, 10**12, 10**15])
def test_durations_beyond_the_buckets_are_still_counted(ns: int) -> None:
    histogram = Histogram()
    histogram.record(ns)
    assert (histogram.count, histogram.max_ns) == (1, max(0, ns))
    assert histogram.quantile_ns(0.5) == max(0, ns)


def test_a_copy_is_not_changed_by_what_follows() -> None:
    histogram = of_ms(1, 2)
    copy = histogram.copy()
    histogram.record(9 * MS)
    assert copy.summary() == of_ms(1, 2).summary()


def test_what_came_since_a_copy_is_counted_alone() -> None:
    histogram = of_ms(*[500] * 10)
    before = histogram.copy()
    for ms in (10, 20, 40):
        histogram.record(ms * MS)
    newer = histogram.since(before).summary()
    assert newer["count"] == 3
    assert newer["mean_ms"] == pytest.approx(70 / 3, abs=1e-4)
    assert newer["p50_ms"] == pytest.approx(20, rel=0.0051)
    assert newer["max_ms"] == pytest.approx(40, rel=0.0101)  # to its bucket


def test_since_the_same_moment_nothing_came() -> None:
    histogram = of_ms(3)
    assert histogram.since(histogram.copy()).summary() == Histogram().summary()


def test_counts_up_to_each_bound() -> None:
    # 1, 2 and 5 ms, and what lies above every bound is in none of them
    histogram = of_ms(1, 2, 5, 5, 80)
    assert histogram.at_most([1.5 * MS, 2.5 * MS, 10 * MS, 50 * MS]) == [1, 2, 4, 4]
    assert histogram.at_most([1e-3, 1e15]) == [0, 5]
    assert Histogram().at_most([MS]) == [0]


@given(
    st.lists(st.integers(0, 10**13), max_size=40),
    st.lists(st.floats(1e3, 9e11), min_size=1, max_size=8).map(sorted),
)
def test_bounds_are_right_to_half_a_percent(times: list[int], bounds: list[float]) -> None:
    histogram = Histogram()
    for ns in times:
        histogram.record(ns)
    counts = histogram.at_most(bounds)
    for bound, count in zip(bounds, counts, strict=True):
        assert sum(ns <= bound * 0.9949 for ns in times) <= count
        assert count <= sum(ns <= bound * 1.0051 for ns in times)
