"""The figures that Prometheus gets: what they are, and how they are asked for."""

from __future__ import annotations

import gzip
import json
import threading
from dataclasses import dataclass, field
from typing import cast

import pytest
from prometheus_client import generate_latest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)

from edge.metrics.ledger import Counts
from edge.metrics.metrics import Histograms, Metrics, Rendered
from edge.run.view import Facts, Moment, RunView
from edge.sinks.base import Recording, RecordingState
from edge.sources.live.status import SignalCounts, SourceState, SourceStatus
from edge.telemetry.sample import Reading, Sample, Throttle
from edge.telemetry.telemetry import Telemetry
from edge.web.prometheus import BOUNDS_S, registry_of
from tests.edge.web.equipment.scraped import Scraped
from tests.edge.web.equipment.served import served
from tests.prometheus_here import promtool

MS = 1_000_000
COUNTS = Counts(100, 80, 9, 4, 2, 3, 2, source_gaps=7)
FACTS = Facts(
    version="1.2.3",
    source="rtsp://***@camera/1",
    models=("street.onnx", "lanes.onnx"),
    engine="openvino",
    precision="bf16",
    classes=("car",),
    colours=("#1496ff",),
    masks=(),
    conf=0.25,
    nms_iou=0.45,
    opened_s=0.5,
)
FILE = Moment(COUNTS, None, None, 24.5, 55.0, 0.02, True)


def live(state: SourceState) -> Moment:
    status = SourceStatus("rtsp://***@camera/1", state, 0)
    signal = SignalCounts(state, attempts=5, reconnects=2, stalls=3, without_s=12.5)
    return Moment(COUNTS, status, signal, None, 55.0, 7.5, False)


@dataclass
class Told:
    """What is asked of a run and of its machine, given by the test."""

    moment: Moment = FILE
    times: Histograms = field(default_factory=lambda: Metrics().copies())
    facts: Facts = FACTS
    newest: Sample = field(default_factory=Sample)
    recordings: list[Recording] = field(default_factory=list)

    def now(self) -> Moment:
        return self.moment

    def histograms(self) -> Histograms:
        return self.times


def scrape(told: Told) -> Scraped:
    registry = registry_of(cast(RunView, told), cast(Telemetry, told))
    return Scraped(generate_latest(registry).decode())


def test_each_line_of_the_ledger_is_a_counter_and_they_balance() -> None:
    got = scrape(Told())
    assert got("frames_captured_total") == 100
    outcomes = {
        "rendered": 80, "dropped_overwritten": 9, "dropped_stale": 4, "failed": 2,
        "discarded_at_stop": 3,
    }  # fmt: skip
    assert {
        labels["outcome"]: got("frames_total", **labels) for labels in got.labels("frames_total")
    } == outcomes
    assert got("frames_in_flight") == 2 == 100 - sum(outcomes.values())
    assert got("source_gaps_total") == 7


def test_times_are_cumulative_counts_in_seconds_with_their_exact_sum() -> None:
    metrics = Metrics()
    for ms in (4, 6, 30, 20_000):
        stages = {"infer": ms * MS, "end_to_end": 2 * ms * MS, "gpu_infer": ms * MS // 2}
        metrics.record(Rendered(stages, 3 * ms * MS, 2, 0, 0, delay_ns=2 * ms * MS))
    got = scrape(Told(times=metrics.copies()))

    def below(name: str, le: float | str, **labels: str) -> float:
        return got(f"{name}_seconds_bucket", le=str(le), **labels)

    infer = {"stage": "infer", "clock": "host"}
    assert [below("stage", le, **infer) for le in (0.003, 0.005, 0.01, 0.033, 10.0, "+Inf")] == [
        0, 1, 2, 3, 3, 4,
    ]  # fmt: skip
    assert got("stage_seconds_count", **infer) == 4
    assert got("stage_seconds_sum", **infer) == pytest.approx(20.04)  # 0.004 + 0.006 + 0.03 + 20
    gpu = {"stage": "infer", "clock": "gpu"}
    assert [below("stage", le, **gpu) for le in (0.001, 0.002, 0.003, 10.0)] == [0, 1, 2, 4]
    assert got("frame_end_to_end_seconds_sum") == pytest.approx(40.08)
    assert got("frame_age_seconds_sum") == pytest.approx(60.12)
    assert got("frame_source_delay_seconds_sum") == pytest.approx(40.08)
    assert below("frame_age", 0.015) == 1  # 12 ms; the next is 18
    assert got("detections_total") == 8
    # A stage that no frame went through is there, and empty.
    assert got("stage_seconds_count", stage="overlay", clock="host") == 0
    for labels in got.labels("stage_seconds_count"):
        counts = [below("stage", bound, **labels) for bound in (*BOUNDS_S, "+Inf")]
        assert counts == sorted(counts)


@pytest.mark.parametrize("state", ["opening", "live", "stalled", "reconnecting", "failed"])
def test_a_live_source_has_exactly_one_state(state: SourceState) -> None:
    got = scrape(Told(moment=live(state)))
    states = {
        labels["state"]: got("source_state", **labels) for labels in got.labels("source_state")
    }
    assert states == {**dict.fromkeys(states, 0.0), state: 1.0}
    assert len(states) == 5
    assert got("source_attempts_total") == 5
    assert got("source_reconnects_total") == 2
    assert got("source_stalls_total") == 3
    assert got("source_without_signal_seconds_total") == 12.5


def test_the_rate_is_zero_while_none_come_and_before_the_second_frame() -> None:
    silent = scrape(Told(moment=live("stalled")))
    assert (silent("frames_per_second"), silent("flowing")) == (0, 0)
    assert silent("silent_seconds") == 7.5
    flowing = scrape(Told())
    assert (flowing("frames_per_second"), flowing("flowing")) == (24.5, 1)
    first = Moment(COUNTS, None, None, None, 55.0, 0.02, True)
    assert scrape(Told(moment=first))("frames_per_second") == 0


def test_a_source_that_does_not_come_and_go_has_no_state() -> None:
    assert not [name for name in scrape(Told()).names() if name.startswith("outrider_source_s")]


def test_what_runs_is_told_by_labels() -> None:
    got = scrape(Told())
    (build,) = got.labels("build_info")
    assert build["model"] == "street.onnx, lanes.onnx"
    assert (build["engine"], build["precision"]) == ("openvino", "bf16")
    assert (build["source"], build["version"]) == ("rtsp://***@camera/1", "1.2.3")
    assert build["python"].startswith("3.")
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes"} <= got.names()


def test_the_machine_is_told_in_base_units() -> None:
    sample = Sample(
        readings=(
            Reading("temperature", "tj-thermal", 63.781),
            Reading("clock", "GPU", 1020.0),
            Reading("power", "VDD_IN", 7.524),
            Reading("load", "GPU", 87.3),
            Reading("memory", "RAM available", 5031.33),
            Reading("throttles", "SoC over-current", 37.0),
        ),
        throttles=(Throttle("gpu", "heat", True), Throttle("cpu", "heat", False)),
        power_mode="MAXN_SUPER",
    )
    got = scrape(Told(newest=sample))
    assert got("machine_temperature_celsius", sensor="tj-thermal") == 63.781
    assert got("machine_clock_hertz", sensor="GPU") == 1.02e9
    assert got("machine_power_watts", sensor="VDD_IN") == 7.524
    assert got("machine_load_ratio", sensor="GPU") == 0.873
    assert got("machine_memory_bytes", sensor="RAM available") == 5_031_330_000
    assert got("machine_throttles_total", sensor="SoC over-current") == 37
    assert got("machine_throttled", device="gpu", reason="heat") == 1
    assert got("machine_throttled", device="cpu", reason="heat") == 0
    assert got("machine_info", power_mode="MAXN_SUPER") == 1


OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


def test_a_run_answers_in_the_format_that_is_asked_for() -> None:
    with served() as run:
        plain = run.get("metrics")
        for _ in range(600):  # until there is a sample of the machine
            if b"RAM" in plain.body:
                break
            threading.Event().wait(0.05)
            plain = run.get("metrics")
        assert plain.status == 200
        assert plain.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        got = Scraped(plain.body.decode())
        assert got("build_info", **got.labels("build_info")[0]) == 1
        assert all(family.documentation for family in got.families.values())
        own = [name for name in got.families if not name.startswith(("outrider_", "process_"))]
        assert own == []

        modern = run.get("metrics", headers={"Accept": OPENMETRICS, "Accept-Encoding": "gzip"})
        assert modern.headers["Content-Type"].startswith("application/openmetrics-text")
        assert modern.headers["Content-Encoding"] == "gzip"
        text = gzip.decompress(modern.body).decode()
        modern_names = {f.name for f in openmetrics_families(text)}  # type: ignore[no-untyped-call]
        assert modern_names == {name.removesuffix("_info") for name in got.families}

        for accept in ("text/plain;version=abc", "text/plain;version=1..0", "\xff;;;,"):
            assert run.get("metrics", headers={"Accept": accept}).status == 200
        assert run.get("metrics", headers={"X-Outrider": "1"}, data=b"x").status == 405
        status = json.loads(run.get("api/status").body)
        kinds = {reading["kind"] for reading in status["machine"]["readings"]}
        assert "memory" in kinds  # what any Linux tells


@dataclass
class Recorded:
    """What a recording says of itself."""

    told: RecordingState

    def state(self) -> RecordingState:
        return self.told

    def mark(self, reason: str) -> str:
        raise AssertionError(reason)


def test_a_recording_is_told_by_its_folder_and_none_where_nothing_records() -> None:
    states = [
        RecordingState("/a", None, "x.mp4", 3_000_000_000, 4, 0),
        RecordingState("/b", "the disk is full", None, 0, 0, 25),
    ]
    got = scrape(Told(recordings=[Recorded(state) for state in states]))
    told = {
        name: [got(f"recording_{name}", folder=folder) for folder in ("/a", "/b")]
        for name in ("alarm", "kept_bytes", "clips", "missed_total")
    }
    assert told == {
        "alarm": [0, 1], "kept_bytes": [3e9, 0], "clips": [4, 0], "missed_total": [0, 25]
    }  # fmt: skip
    assert not [name for name in scrape(Told()).families if "recording" in name]


def test_promtool_finds_nothing_to_say_about_the_names() -> None:
    sample = Sample(
        (Reading("throttles", "CPU heat", 1.0),), (Throttle("CPU", "heat", True),), "15W"
    )
    kept: list[Recording] = [Recorded(RecordingState("/a", None, None, 1, 1, 1))]
    told = Told(moment=live("live"), newest=sample, recordings=kept)
    text = generate_latest(registry_of(cast(RunView, told), cast(Telemetry, told)))
    assert promtool("check", "metrics", stdin=text.decode()) == ""
