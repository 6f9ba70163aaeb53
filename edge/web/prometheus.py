"""The run's figures as Prometheus asks for them; it counts nothing itself.

What is here is read when somebody asks, from the one ledger and its histograms: a frame costs
nothing more.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, get_args

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from edge.metrics.ledger import OUTCOMES
from edge.sources.live.status import SourceState
from edge.telemetry.sample import Kind, Sample

if TYPE_CHECKING:
    from edge.metrics.histogram import Histogram
    from edge.metrics.metrics import Histograms
    from edge.run.view import Facts, Moment, RunView
    from edge.sinks.base import RecordingState
    from edge.telemetry.telemetry import Telemetry

BOUNDS_S = (
    0.00025, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.025, 0.033,
    0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""From an overlay of few boxes to an age that nobody wants; near 33 ms close together."""
_BOUNDS_NS = [bound * 1e9 for bound in BOUNDS_S]

_MACHINE: dict[Kind, tuple[str, float, str]] = {
    "temperature": ("temperature_celsius", 1, "Temperature by sensor."),
    "clock": ("clock_hertz", 1e6, "Clocks of processors, GPUs and their memory."),
    "power": ("power_watts", 1, "Power by rail or device."),
    "load": ("load_ratio", 0.01, "How busy a processor or GPU was, 0 to 1."),
    "memory": ("memory_bytes", 1e6, "Memory of the machine and of its GPUs."),
    "throttles": ("throttles", 1, "Times that a device was slowed down since its start."),
}
"""Name after ``outrider_machine_``, factor to the base unit, and help."""


def registry_of(run: RunView, telemetry: Telemetry) -> CollectorRegistry:
    """A registry of this run's own, with the memory and processor time of its process."""
    registry = CollectorRegistry()
    registry.register(_Run(run, telemetry))
    ProcessCollector(registry=registry)
    return registry


async def metrics(request: Request) -> Response:
    """All figures, in the text format or as OpenMetrics, as the asker prefers."""
    try:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
    except (TypeError, ValueError):  # a version that is no number
        encode, content_type = choose_encoder("")
    text = encode(request.app.state.metrics)
    return Response(text, headers={"content-type": content_type})


class _Run(Collector):
    """Everything of one run, at the moment of asking."""

    def __init__(self, run: RunView, telemetry: Telemetry) -> None:
        self._run = run
        self._telemetry = telemetry

    def collect(self) -> Iterator[Metric]:
        now, times = self._run.now(), self._run.histograms()
        yield from _frames(now, times)
        yield from _times(times)
        yield from _source(now)
        yield from _recording([recording.state() for recording in self._run.recordings])
        yield _build(self._run.facts)
        yield from _machine(self._telemetry.newest)


def _frames(now: Moment, times: Histograms) -> Iterator[Metric]:
    counts = now.counts
    yield CounterMetricFamily(
        "outrider_frames_captured",
        "Frames that the source gave: those settled by outcome and those in flight.",
        counts.captured,
    )
    settled = CounterMetricFamily(
        "outrider_frames",
        "Frames by what became of them: rendered, dropped because a newer one came or it was too "
        "old, failed, or discarded at the end.",
        labels=["outcome"],
    )
    for outcome in OUTCOMES:
        settled.add_metric([outcome], getattr(counts, outcome))
    yield settled
    yield GaugeMetricFamily(
        "outrider_frames_in_flight", "Frames captured and not settled yet.", counts.in_flight
    )
    yield CounterMetricFamily(
        "outrider_source_gaps",
        "Frames that the driver or the decoder lost before they were captured.",
        counts.source_gaps,
    )
    yield CounterMetricFamily(
        "outrider_detections", "Boxes on all rendered frames.", times.detections
    )


def _times(times: Histograms) -> Iterator[Metric]:
    stages = HistogramMetricFamily(
        "outrider_stage_seconds",
        "Time of rendered frames in each stage, by the clock of the host or of the GPU. 'capture' "
        "is the wait for a frame, too.",
        labels=["stage", "clock"],
    )
    of_frames = dict(times.stages)
    end_to_end = of_frames.pop("end_to_end")
    for clock, histograms in (("host", of_frames), ("gpu", times.gpu)):
        _add(stages, histograms, clock)
    yield stages
    for name, text, histogram in (
        ("end_to_end", "From a frame's being read until its last sink was done.", end_to_end),
        ("age", "Age of rendered frames, from capture until the overlay was done.", times.age),
        (
            "source_delay",
            "The part of the age by which frames of a source in bursts are held back.",
            times.source_delay,
        ),
    ):
        buckets, total = _buckets(histogram)
        yield HistogramMetricFamily(
            f"outrider_frame_{name}_seconds", text, buckets=buckets, sum_value=total
        )


def _add(family: HistogramMetricFamily, histograms: Mapping[str, Histogram], clock: str) -> None:
    for stage, histogram in histograms.items():
        buckets, total = _buckets(histogram)
        family.add_metric([stage, clock], buckets=buckets, sum_value=total)


def _buckets(histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
    """Cumulative counts by upper bound, and the sum in seconds."""
    counts = [*histogram.at_most(_BOUNDS_NS), histogram.count]
    names = [*(str(bound) for bound in BOUNDS_S), "+Inf"]
    return list(zip(names, map(float, counts), strict=True)), histogram.total_ns / 1e9


def _source(now: Moment) -> Iterator[Metric]:
    """Whether frames flow, and of a source that may come and go what it does."""
    yield GaugeMetricFamily(
        "outrider_flowing", "1 while frames are rendered, 0 after stall_s without one.", now.flowing
    )
    yield GaugeMetricFamily(
        "outrider_silent_seconds", "Time since the newest rendered frame.", now.silent_s
    )
    yield GaugeMetricFamily(
        "outrider_frames_per_second",
        "Rate of the newest rendered frames, 0 while none come and before the second.",
        now.fps or 0.0,
    )
    if now.status is not None:
        state = GaugeMetricFamily(
            "outrider_source_state", "1 for the state that a live source is in.", labels=["state"]
        )
        for name in get_args(SourceState):
            state.add_metric([name], name == now.status.state)
        yield state
    if now.signal is not None:
        signal = now.signal
        for what, text, value in (
            ("attempts", "Attempts to open a live source, failed ones too.", signal.attempts),
            ("reconnects", "Connections after the first that gave frames.", signal.reconnects),
            ("stalls", "Times without a frame for stall_s.", signal.stalls),
            ("without_signal_seconds", "Time in any state but live.", signal.without_s),
        ):
            yield CounterMetricFamily(f"outrider_source_{what}", text, value)


def _recording(states: Sequence[RecordingState]) -> Iterator[Metric]:
    """Of what records the run, where something does."""
    families: list[tuple[str, str, Callable[[RecordingState], float]]] = [
        ("alarm", "1 while nothing can be recorded there, 0 else.", lambda s: s.alarm is not None),
        ("kept_bytes", "What lies there of recordings.", lambda s: s.kept_bytes),
        ("clips", "Clips of events that lie there.", lambda s: s.clips),
        ("missed", "Pictures that were to be recorded and are not.", lambda s: s.missed),
    ]
    for name, text, value in families if states else ():
        new = CounterMetricFamily if name == "missed" else GaugeMetricFamily
        family = new(f"outrider_recording_{name}", text, labels=["folder"])
        for state in states:
            family.add_metric([state.folder], value(state))
        yield family


def _build(facts: Facts) -> Metric:
    return InfoMetricFamily(
        "outrider_build",
        "What runs; always 1.",
        {
            "version": facts.version,
            "python": platform.python_version(),
            "model": ", ".join(facts.models),
            "engine": facts.engine,
            "precision": facts.precision,
            "source": facts.source,
        },
    )


def _machine(sample: Sample) -> Iterator[Metric]:
    """Each kind of reading is a family; which there are depends on the machine."""
    for kind, (name, factor, text) in _MACHINE.items():
        family: Metric
        new = CounterMetricFamily if kind == "throttles" else GaugeMetricFamily
        family = new(f"outrider_machine_{name}", text, labels=["sensor"])
        for reading in sample.readings:
            if reading.kind == kind:
                family.add_metric([reading.name], round(reading.value * factor, 6))
        yield family
    throttled = GaugeMetricFamily(
        "outrider_machine_throttled",
        "1 while a device is slowed down for a reason, 0 for those that it could tell.",
        labels=["device", "reason"],
    )
    for throttle in sample.throttles:
        throttled.add_metric([throttle.device, throttle.reason], throttle.active)
    yield throttled
    if sample.power_mode is not None:
        yield InfoMetricFamily(
            "outrider_machine", "The power mode; always 1.", {"power_mode": sample.power_mode}
        )
