"""What a trace costs, as a table: ``python -m tests.edge.profile.cost``, about a minute.

What a frame's thread pays for an event, what the trace's own thread pays to write it, and what both
do to the frames of a real run, which is traced and left alone in turn.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from edge.metrics.ledger import Outcome
from edge.metrics.metrics import Rendered
from edge.profile.report import Report
from edge.profile.trace import Trace
from edge.run.app import run_app
from edge.settings.load import load_settings
from edge.sources.live.status import SourceStatus
from edge.vision.types import Frame, Result
from tests.edge.profile.frames import MS, told

FRAMES, TURN = 3000, 60
"""Of the run, and how many of them are traced or left alone before it is the others' turn."""
EVENTS, ROUNDS = 10_000, 7


class InTurns:
    """Hands every other ``TURN`` frames to a trace, and notes what each frame took."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._before: Rendered | None = None
        self._count = 0
        self.apart_ns: dict[bool, list[int]] = {True: [], False: []}
        self.cpu_ns: dict[bool, list[int]] = {True: [], False: []}

    def rendered(self, result: Result, times: Rendered) -> None:
        traced = self._count // TURN % 2 == 1
        # In the first third of a turn the writing of the one before goes on, or its own is to come.
        if self._before is not None and self._count % TURN >= TURN // 3:
            self.apart_ns[traced].append(times.at_ns - self._before.at_ns)
            self.cpu_ns[traced].append(times.cpu_ns - self._before.cpu_ns)
        self._before = times
        self._count += 1
        if traced:
            self._trace.rendered(result, times)

    def lost(self, frame: Frame, outcome: Outcome, at_ns: int) -> None:
        if self._count // TURN % 2 == 1:
            self._trace.lost(frame, outcome, at_ns)

    def source(self, status: SourceStatus, at_ns: int) -> None:
        pass


def _events(folder: Path) -> None:
    frames = [told(number, begin_ns=(number + 1) * 50 * MS, overlay=1) for number in range(EVENTS)]
    left_us, written_us, report_us, size = [], [], [], 0
    for number in range(ROUNDS):
        path = folder / f"{number}.json"
        trace = Trace(path, clock=lambda: 0)
        begun = time.perf_counter_ns()
        for result, times in frames:
            trace.rendered(result, times)
        left_us.append((time.perf_counter_ns() - begun) / EVENTS / 1e3)
        begun = time.process_time_ns() - time.thread_time_ns()
        trace.close()
        own = time.process_time_ns() - time.thread_time_ns() - begun
        written_us.append(own / EVENTS / 1e3)
        size = path.stat().st_size
        report = Report()
        begun = time.perf_counter_ns()
        for result, times in frames:
            report.rendered(result, times)
        report_us.append((time.perf_counter_ns() - begun) / EVENTS / 1e3)
    _row("on the frame's thread", f"{statistics.median(left_us):8.2f} us a frame")
    _row("on the trace's thread", f"{statistics.median(written_us):8.2f} us a frame")
    _row("of the report", f"{statistics.median(report_us):8.2f} us a frame, on the frame's thread")
    _row("on the disk", f"{size / EVENTS:8.0f} bytes a frame")


def _run(folder: Path) -> None:
    trace = Trace(folder / "run.json")
    turns = InTurns(trace)
    settings = load_settings(
        None,
        {
            "source.uri": "synthetic:960x540@1000",
            "source.policy": "wait",
            "output.sinks": ["null"],
            "pipeline.frames": FRAMES,
            "log.quiet": True,
        },
    )
    run_app(settings, observers=[turns])
    trace.close()
    for what, taken in (("from frame to frame", turns.apart_ns), ("CPU a frame", turns.cpu_ns)):
        traced, alone = (float(np.median(taken[on])) / MS for on in (True, False))
        means = float(np.mean(taken[True]) / np.mean(taken[False]))
        _row(
            what,
            f"{traced:8.3f} ms traced, {alone:.3f} alone: x {traced / alone:.3f} "
            f"(of the means x {means:.3f})",
        )


def _row(what: str, figure: str) -> None:
    print(f"{what:<24}{figure}", flush=True)


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        _events(Path(folder))
        _run(Path(folder))


if __name__ == "__main__":
    main()
