"""What metrics cost, as a table.

``python -m tests.edge.web.equipment.metrics_cost`` prints that of BENCHMARKS.md, in about a minute.

An observation, a look at all histograms, an answer to Prometheus, a sample of the machine; then
what an answer does to a frame of a real run, which is asked five times a second.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import psutil
from prometheus_client import generate_latest

from edge.metrics.histogram import Histogram
from edge.metrics.metrics import Metrics, Rendered
from edge.run.view import RunView
from edge.settings.settings import SHIPPED_MODEL
from edge.telemetry.jetson import Jetson, power_mode
from edge.telemetry.linux import Linux
from edge.telemetry.sample import Reading, Sample
from edge.telemetry.telemetry import Telemetry
from edge.web.prometheus import registry_of
from tests.edge.telemetry.trees import ORIN_NANO, plant
from tests.edge.web.equipment.served import served
from tests.edge.web.test_prometheus import Told

ROUNDS = 7
WINDOWS, WINDOW_S = 12, 4.0
"""Of the run, asked and left alone in turn."""
ASKED_EVERY_S = 0.2


def each_us(do: Callable[[], object], *, times: int) -> float:
    """Median over rounds of the mean of a round."""
    rounds = []
    for _ in range(ROUNDS):
        begun = time.perf_counter_ns()
        for _ in range(times):
            do()
        rounds.append((time.perf_counter_ns() - begun) / times / 1e3)
    return statistics.median(rounds)


def _frame(rng: np.random.Generator) -> Rendered:
    stages = ("capture", "letterbox", "infer", "decode", "overlay", "sinks", "end_to_end")
    times = {name: int(ns) for name, ns in zip(stages, rng.uniform(1e5, 4e7, 7), strict=True)}
    return Rendered(times, int(rng.uniform(1e7, 6e7)), 3, 0, 0)


def _parts() -> None:
    rng = np.random.default_rng(0)
    frames = [_frame(rng) for _ in range(2000)]
    histogram, metrics = Histogram(), Metrics()
    durations = iter([int(ns) for ns in rng.uniform(1e5, 4e7, ROUNDS * 20_000)])
    observation = each_us(lambda: histogram.record(next(durations)), times=20_000)
    _row("an observation", f"{observation:10.2f} us")
    queue = iter(frames * ROUNDS)
    per_frame = each_us(lambda: metrics.record(next(queue)), times=2000)
    _row("all of a frame (8 observations, a lock)", f"{per_frame:10.2f} us")
    copies = each_us(metrics.copies, times=200)
    _row("a look at all, during which no frame records", f"{copies:10.2f} us")
    with tempfile.TemporaryDirectory() as folder:
        root = plant(Path(folder), ORIN_NANO)
        readers = Jetson(root), Linux(root)
        facts = [fact for reader in readers for fact in reader.read()]
        newest = Sample(tuple(fact for fact in facts if isinstance(fact, Reading)))
        told = Told(times=metrics.copies(), newest=newest)
        registry = registry_of(cast(RunView, told), cast(Telemetry, told))
        answer = each_us(lambda: generate_latest(registry), times=20)
        size = len(generate_latest(registry))
        _row(f"an answer to Prometheus ({size / 1e3:.0f} kB)", f"{answer / 1e3:10.2f} ms")

        def sample() -> None:
            for reader in readers:
                list(reader.read())
            power_mode(root)

        _row(
            "a sample of a recorded Orin, once a second",
            f"{each_us(sample, times=20) / 1e3:10.2f} ms",
        )
        linux = Linux(Path("/"))
        here = each_us(lambda: list(linux.read()), times=20)
        _row("a sample of this machine", f"{here / 1e3:10.2f} ms")


def _alone() -> None:
    """Processor time of an answer, of a run that has little else to do."""
    with served("--source", "synthetic:320x192@1") as run:
        process, times = psutil.Process(run.process.pid), 100

        def cpu_s(do: Callable[[], object]) -> float:
            before = process.cpu_times()
            for _ in range(times):
                do()
                threading.Event().wait(0.03)
            after = process.cpu_times()
            return after.user + after.system - before.user - before.system

        assert run.get("metrics").status == 200
        idle_s = cpu_s(lambda: None)
        cost_ms = (cpu_s(lambda: run.get("metrics")) - idle_s) / times * 1e3
    _row("its processor time with all of the server's work", f"{cost_ms:10.2f} ms")


def _beside_a_run() -> None:
    """Frames that an answer met on their way, and those that a pause of its length would have met.

    Old frames are met by more than young ones, so they are compared with such alone.
    """
    spans_ns: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
    over = threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        lines_file = Path(folder) / "lines.jsonl"
        with served(
            "--source", "synthetic:960x540@30", "--model", SHIPPED_MODEL, "--engine", "auto",
            "--sink", "web:127.0.0.1:0", "--sink", lines_file,
        ) as run:  # fmt: skip
            over.wait(WINDOW_S)
            for window in range(WINDOWS):
                asked, begun = window % 2 == 0, time.monotonic()
                while time.monotonic() - begun < WINDOW_S:
                    start_ns = time.monotonic_ns()
                    if asked:
                        assert run.get("metrics").status == 200
                    else:
                        begun_ns, ended_ns = spans_ns[True][
                            len(spans_ns[False]) % len(spans_ns[True])
                        ]
                        over.wait((ended_ns - begun_ns) / 1e9)
                    spans_ns[asked].append((start_ns, time.monotonic_ns()))
                    over.wait(ASKED_EVERY_S)
        frames = [json.loads(line) for line in lines_file.read_text().splitlines()]
    answers_ms = [(end - start) / 1e6 for start, end in spans_ns[True]]
    _row("an answer over HTTP, beside a run", f"{np.median(answers_ms):10.2f} ms")
    for asked, who in ((True, "that an answer met"), (False, "that nothing met")):
        ages = [
            frame["frame_age_ms"]
            for frame in frames
            if any(
                start < frame["t_capture_ns"] + frame["frame_age_ms"] * 1e6
                and frame["t_capture_ns"] < end
                for start, end in spans_ns[asked]
            )
        ]
        p50, p90 = np.percentile(ages, [50, 90])
        _row(f"age of frames {who}", f"{p50:10.2f} ms p50, {p90:.2f} p90, of {len(ages)}")


def _row(what: str, figure: str) -> None:
    print(f"{what:<50}{figure}")


def main() -> None:
    """Print the table."""
    _parts()
    _alone()
    _beside_a_run()


if __name__ == "__main__":
    main()
