"""Samples of the last minutes: hand-computed from two looks, and of a real run."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from edge.metrics.ledger import Counts
from edge.metrics.metrics import Metrics, Rendered
from edge.run.view import Moment
from edge.sources.live.status import SourceState, SourceStatus
from edge.web.history import Look, sample
from tests.edge.web.equipment.served import Served, served

MS = 1_000_000


def moment(
    *,
    overwritten: int = 0,
    stale: int = 0,
    in_flight: int = 0,
    state: SourceState | None = None,
    flowing: bool = True,
) -> Moment:
    counts = Counts(100, 0, overwritten, stale, 0, 0, in_flight)
    status = SourceStatus("cam", state, 0) if state else None
    return Moment(counts, status, None, 25.0, 20.0, 0.0, flowing)


def record(metrics: Metrics, *, age_ms: float, **stages_ms: float) -> None:
    stage_ns = {name: int(ms * MS) for name, ms in stages_ms.items()}
    metrics.record(Rendered(stage_ns, int(age_ms * MS), 0, 0, 0))


def test_a_sample_is_of_the_frames_between_two_looks_alone() -> None:
    metrics = Metrics()
    record(metrics, age_ms=900, infer=700)  # before the first look
    before = Look(10.0, moment(overwritten=3, stale=1), metrics.copies())
    for ms in (10, 20, 30, 40):
        record(metrics, age_ms=2 * ms, infer=ms)
    after = Look(12.0, moment(overwritten=5, stale=2, in_flight=3), metrics.copies())
    got = sample(before, after)
    assert got["fps"] == 2.0  # 4 frames in 2 s
    # The second of four is the median, the fourth the 99th percentile; both to half a bucket.
    assert got["age_p50_ms"] == pytest.approx(40, rel=0.0051)
    assert got["age_p99_ms"] == pytest.approx(80, rel=0.0101)
    assert list(got["stages"]) == ["infer"]
    assert got["stages"]["infer"]["p50_ms"] == pytest.approx(20, rel=0.0051)
    assert got["stages"]["infer"]["p99_ms"] == pytest.approx(40, rel=0.0101)
    assert (got["dropped"], got["queue"], got["state"]) == (3, 3, "live")  # 5 + 2 - 3 - 1


def test_a_sample_has_the_delay_of_a_source_in_bursts() -> None:
    metrics, looks = Metrics(), list[Look]()
    for at_s in (1.0, 2.0):
        looks.append(Look(at_s, moment(), metrics.copies()))
        for delay_ms in (1900, 2000, 2100):
            metrics.record(Rendered({}, 2500 * MS, 0, 0, 0, delay_ns=delay_ms * MS))
    assert sample(*looks)["source_delay_ms"] == pytest.approx(2000, rel=0.0051)


def test_a_second_without_frames_has_no_times_and_a_rate_of_zero() -> None:
    metrics = Metrics()
    record(metrics, age_ms=20, infer=10)
    looks = [Look(t, moment(state="stalled"), metrics.copies()) for t in (5.0, 6.0)]
    assert sample(*looks) == {
        "fps": 0.0,
        "age_p50_ms": None,
        "age_p99_ms": None,
        "source_delay_ms": None,
        "stages": {},
        "dropped": 0,
        "queue": 0,
        "state": "stalled",
    }


def test_a_source_without_states_is_live_while_frames_come() -> None:
    times = Metrics().copies()
    for flowing, state in ((True, "live"), (False, "stalled")):
        now = moment(flowing=flowing)
        assert sample(Look(0.0, now, times), Look(1.0, now, times))["state"] == state


def test_a_stage_that_a_gpu_times_is_there_from_its_first_frame_on() -> None:
    metrics = Metrics()
    before = Look(0.0, moment(), metrics.copies())
    record(metrics, age_ms=20, infer=10, gpu_copy=1)
    got = sample(before, Look(1.0, moment(), metrics.copies()))
    assert got["stages"]["gpu_copy"]["p50_ms"] == pytest.approx(1, rel=0.0051)


def newest(run: Served, since: int) -> dict[str, Any]:
    """What is kept after sample ``since``, when there is something."""
    got: dict[str, Any] = {"samples": []}
    for _ in range(600):
        got = json.loads(run.get(f"api/history?since={since}").body)
        if got["samples"]:
            break
        threading.Event().wait(0.1)
    return got


def test_a_run_tells_of_each_second_once() -> None:
    with served() as run:
        first, second = newest(run, -1), newest(run, 0)
        assert first["period_s"] == 1.0
        assert first["began"] == second["began"]
        assert first["samples"][0]["n"] == 0
        assert second["samples"][0]["n"] == 1
        assert second["samples"][0]["fps"] > 5
        assert {"letterbox", "infer", "sinks"} <= set(second["samples"][0]["stages"])
        refused = run.get("api/history?since=yesterday")
        assert refused.status == 400
        assert json.loads(refused.body) == {
            "error": 'since: got "yesterday", wanted the number n of a sample'
        }
