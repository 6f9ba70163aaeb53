"""Metrics file, lines, readout, Prometheus' figures and the bench's: all from one ledger."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from prometheus_client import generate_latest

from edge.machine import bench_parts
from edge.machine.bench_parts import OverlaySink
from edge.metrics.ledger import Counts
from edge.run import renderer
from edge.run.app import run_app
from edge.run.pipeline import Pipeline
from edge.run.view import Moment, RunView
from edge.settings.load import load_settings
from edge.settings.settings import Settings
from edge.sinks import SINKS
from edge.sinks.overlay.overlay import Overlay
from edge.sources.live.status import SourceStatus
from edge.telemetry.telemetry import Telemetry
from edge.vision.perception import Perception
from edge.vision.types import Image, Result
from edge.web.prometheus import BOUNDS_S, registry_of
from engines import open_engine
from tests.edge.web.equipment.scraped import Scraped
from tests.tiny_models import tiny_street

FRAMES, HELD_UP = 80, 10
OUTCOMES = ("rendered", "dropped_overwritten", "dropped_stale", "failed", "discarded_at_stop")


def until_dropped(counts: Callable[[], Counts]) -> None:
    """Hold the run up until it has dropped frames."""
    for _ in range(20_000):
        if counts().dropped >= 3:
            return
        threading.Event().wait(0.001)
    raise AssertionError(f"no frames dropped: {counts()}")


class AskingSink:
    """Asks its run how it is at each frame, before that is counted."""

    name = "asking"
    wants_image = True
    run: RunView
    moments: list[Moment]
    infers_ns: list[int]
    ages_ms: list[float]
    readouts: list[tuple[str, ...]]

    def __init__(self, text: str, *, fps: float | None, keep: bool = False) -> None:
        type(self).moments, type(self).readouts = [], []
        type(self).infers_ns, type(self).ages_ms = [], []

    def watch(self, run: RunView) -> None:
        type(self).run = run

    def write(self, result: Result, image: Image | None, *, frame_age_ms: float) -> bool:
        if len(self.moments) == HELD_UP:
            until_dropped(lambda: self.run.now().counts)
        self.moments.append(self.run.now())
        self.infers_ns.append(result.stage_ns["infer"])
        self.ages_ms.append(frame_age_ms)
        return True

    def signal(self, status: SourceStatus, image: Image | None, *, at_ns: int) -> bool:
        return True

    def close(self) -> None:
        """Nothing to finalise."""


@pytest.fixture
def readouts(monkeypatch: pytest.MonkeyPatch) -> type[AskingSink]:
    """A sink of the table that keeps what it is told, and the lines of every picture."""
    draw: Callable[[Overlay, Result, Sequence[str]], Image] = Overlay.draw

    def kept(overlay: Overlay, result: Result, readout: Sequence[str]) -> Image:
        AskingSink.readouts.append(tuple(readout))
        return draw(overlay, result, readout)

    monkeypatch.setattr(Overlay, "draw", kept)
    monkeypatch.setattr(renderer, "READOUT_NS", 0)  # new lines on every picture
    monkeypatch.setitem(SINKS, "asking", f"{__name__}:AskingSink")
    return AskingSink


def scrape(run: RunView) -> Scraped:
    return Scraped(generate_latest(registry_of(run, Telemetry())).decode())


def agree(got: Scraped, report: dict[str, Any]) -> None:
    """The figures of a scrape are those of the report."""
    frames = report["frames"]
    assert got("frames_captured_total") == frames["captured"]
    assert got("frames_in_flight") == frames["in_flight"]
    assert got("source_gaps_total") == frames["source_gaps"]
    for outcome in OUTCOMES:
        assert got("frames_total", outcome=outcome) == frames[outcome]
    assert got("detections_total") == report["detections_total"]
    named = {name: ("stage", {"stage": name, "clock": "host"}) for name in report["stages"]}
    named["end_to_end"] = ("frame_end_to_end", {})
    times = {**report["stages"], "age": report["frame_age_ms"]}
    for name, (family, labels) in {**named, "age": ("frame_age", {})}.items():
        assert got(f"{family}_seconds_count", **labels) == times[name]["count"]
        total_s = times[name]["mean_ms"] * times[name]["count"] / 1e3
        # The report's mean is rounded to 0.1 us.
        assert got(f"{family}_seconds_sum", **labels) == pytest.approx(total_s, abs=1e-5)
        if times[name]["count"]:
            agree_in_ranks(got, f"{family}_seconds_bucket", labels, times[name])


def agree_in_ranks(
    got: Scraped, name: str, labels: dict[str, str], times: dict[str, float]
) -> None:
    """Each percentile of the report lies between the bounds where the scrape reaches its rank.

    A percentile and a bound are right to half a bucket, 0.5 %, each.
    """
    reached = {bound: got(name, le=str(bound), **labels) for bound in BOUNDS_S}
    for percent in (50, 90, 99):
        rank, at_s = math.ceil(percent / 100 * times["count"]), times[f"p{percent}_ms"] / 1e3
        assert all(reached[bound] >= rank for bound in BOUNDS_S if bound > at_s * 1.01), percent
        assert all(reached[bound] < rank for bound in BOUNDS_S if bound < at_s / 1.01), percent


def agree_with_each(times: dict[str, float], each_ns: Sequence[int]) -> None:
    """A summary is that of these durations, its percentiles to 0.5 %; lines round to 1 µs."""
    ordered_ms = [ns / 1e6 for ns in sorted(each_ns)]
    assert times["count"] == len(ordered_ms)
    assert times["max_ms"] == pytest.approx(ordered_ms[-1], abs=1e-3)
    for percent in (50, 90, 99):
        exact = ordered_ms[math.ceil(percent / 100 * len(ordered_ms)) - 1]
        assert times[f"p{percent}_ms"] == pytest.approx(exact, rel=0.005, abs=1e-3), percent


def test_what_a_run_writes_and_shows_and_tells_is_the_same(
    readouts: type[AskingSink], tmp_path: Path
) -> None:
    tiny_street(tmp_path / "tiny.onnx")
    lines_file, metrics_file = tmp_path / "out.jsonl", tmp_path / "metrics.json"
    settings = load_settings(
        None,
        {
            "source.uri": "synthetic:640x384@1000",
            "model.files": [str(tmp_path / "tiny.onnx")],
            "model.engine": "onnxruntime",
            "output.sinks": [str(lines_file), "asking"],
            "output.metrics": str(metrics_file),
            "pipeline.frames": FRAMES,
        },
    )
    assert run_app(settings) == 0
    report = json.loads(metrics_file.read_text())
    agree(scrape(readouts.run), report)
    assert report["frames"]["rendered"] == FRAMES
    assert report["frames"]["dropped_overwritten"] > 0

    agree_with_each(report["stages"]["infer"], readouts.infers_ns)

    lines = [json.loads(line) for line in lines_file.read_text().splitlines()]
    assert len(lines) == FRAMES
    assert sum(len(line["detections"]) for line in lines) == report["detections_total"]
    ages_ms = [line["frame_age_ms"] for line in lines]
    assert ages_ms == pytest.approx(readouts.ages_ms, abs=1e-3)
    agree_with_each(report["frame_age_ms"], [round(age * 1e6) for age in ages_ms])
    assert report["frame_age_ms"]["mean_ms"] == pytest.approx(np.mean(ages_ms), abs=1e-3)
    # What was dropped after the last line is in no line any more.
    dropped = np.cumsum([line["dropped"] for line in lines])
    assert dropped[-1] <= report["frames"]["dropped_overwritten"]

    drawn, told = readouts.readouts, readouts.moments
    assert len(drawn) == len(told) == FRAMES
    assert drawn[:2] == [(), ()]  # no rate before the second frame is counted
    for n in range(2, FRAMES):
        fps, age, infer, drops = drawn[n]
        assert fps == f"{told[n].fps:.1f} fps"
        assert age == f"age {readouts.ages_ms[n - 1]:.0f} ms"
        assert infer == f"infer {readouts.infers_ns[n - 1] / 1e6:.1f} ms"
        # Frames drop between the two readings, too.
        before, after = told[n - 1].counts.dropped, told[n].counts.dropped
        assert before <= int(drops.removeprefix("dropped ")) <= after
        assert dropped[n] <= after
        assert told[n].counts.rendered == n


def test_the_benchs_figures_are_those_of_the_same_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "tiny.onnx"
    tiny_street(model)
    pipelines: list[Pipeline] = []

    class Kept(Pipeline):
        def __init__(self, *arguments: Any, **how: Any) -> None:
            super().__init__(*arguments, **how)
            pipelines.append(self)

    monkeypatch.setattr(bench_parts, "Pipeline", Kept)
    images = [np.zeros((64, 96, 3), np.uint8)] * 2
    report = bench_parts.run_pipeline(
        lambda: Perception(open_engine(model, engine="onnxruntime")),
        lambda stop: bench_parts.MemorySource(images, stop, fps=2000),
        sink=OverlaySink(lambda _: until_dropped(pipelines[0].counts)),
        frames=FRAMES,
    )
    (pipeline,) = pipelines
    view = RunView(pipeline, Settings, cast(Any, None))
    agree(scrape(view), report)
    assert report["frames"]["dropped_overwritten"] > 0
