"""Measures the app on this machine: parts alone, then the whole pipeline; it judges nothing.

Every pipeline here is the app's own. Parts that are to cost nothing are replaced by ones that do:
frames from memory for a source, recorded outputs for an engine. Times are medians; parts that are
compared are run in turn, so that a machine that slows down slows both.
"""

from __future__ import annotations

import gc
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from edge.letterbox import Letterbox
from edge.overlay import Overlay
from edge.parts import Limits, Network, Parts
from edge.perception import Perception
from edge.pipeline import Pipeline
from edge.sinks import open_sink
from edge.sources import open_source
from edge.sources.base import Source
from edge.sources.options import SourceOptions
from edge.types import Frame, Image, Result
from engines import open_engine
from engines.base import Engine
from engines.errors import OutriderError
from engines.replay import record

OWN_WORK_MS = 2.0
"""CPU that the bound on scheduling allows the app itself for a frame."""
FRAMES_KEPT = 60
"""Frames held in memory: enough to vary, few enough for 4K."""
ROUNDS = 5
"""Parts that are compared are measured in so many turns."""

Figures = dict[str, float | int | str | None]


@dataclass(frozen=True, slots=True)
class Cost:
    """Medians over many calls: wall time, and CPU time of all threads."""

    wall_ms: float
    cpu_ms: float


class MemorySource:
    """Frames from memory, over and over; at ``fps`` as a camera would give them, or on demand."""

    name = "memory"
    gaps = 0

    def __init__(
        self, images: Sequence[Image], stop: threading.Event, *, fps: float | None
    ) -> None:
        self._images, self._stop, self.fps = images, stop, fps
        self.live = fps is not None
        self._start_ns: int | None = None
        self._next = 0

    def read(self) -> Frame | None:
        """The next frame; a camera's frame that nobody waited for is never late."""
        now = time.monotonic_ns()
        due = now
        if self.fps is not None:
            if self._start_ns is None:
                self._start_ns = now
            due = self._start_ns + int(self._next * 1e9 / self.fps)
            if due > now and self._stop.wait((due - now) / 1e9):
                return None
        image = self._images[self._next % len(self._images)]
        self._next += 1
        return Frame(image, self._next - 1, due, time.monotonic_ns(), "read", self.name)

    def close(self) -> None:
        """Nothing to release."""


class OverlaySink:
    """Takes the drawn picture and drops it: makes the pipeline draw without writing."""

    name = "overlay"
    wants_image = True

    def write(self, result: Result, image: Image | None, *, frame_age_ms: float) -> bool:
        """Always goes on."""
        return True

    def close(self) -> None:
        """Nothing to finalise."""


def costs(works: dict[str, Callable[[], object]], *, calls: int) -> dict[str, Cost]:
    """Run every work ``calls`` times, in turns after a warm-up, and give the medians.

    CPU time is summed over a turn: the clock of the process is too coarse for one call.
    """
    walls: dict[str, list[float]] = {name: [] for name in works}
    cpus: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        for _ in range(5):
            work()
    for _ in range(ROUNDS):
        for name, work in works.items():
            cpu = time.process_time_ns()
            for _ in range(calls):
                start = time.perf_counter_ns()
                work()
                walls[name].append((time.perf_counter_ns() - start) / 1e6)
            cpus[name].append((time.process_time_ns() - cpu) / 1e6 / calls)
    return {n: Cost(statistics.median(walls[n]), statistics.median(cpus[n])) for n in works}


def run_once(engine: Engine) -> Callable[[], object]:
    """One bare run of ``engine`` on what lies in its input."""

    def work() -> None:
        engine.submit(0)
        engine.wait(0)

    return work


@dataclass(frozen=True, slots=True)
class Bench:
    """What is measured: the app's models on the frames of one source."""

    source: str
    model: Path
    engine: str = "auto"
    threads: int | None = None
    frames: int = 300

    def open(self, *, precision: Literal["default", "f32"] = "default") -> Engine:
        """The model in its engine."""
        return open_engine(
            self.model, engine=self.engine, precision=precision, threads=self.threads
        )

    def read_frames(self) -> tuple[list[Image], Cost]:
        """Frames of the source and what reading costs alone, a frame."""
        stop = threading.Event()
        source = open_source(self.source, policy="wait", stop=stop, options=SourceOptions())
        kept: list[Image] = []
        walls: list[float] = []
        try:
            cpu, done = time.process_time_ns(), 0
            while done < self.frames:
                start = time.perf_counter_ns()
                frame = source.read()
                if frame is None:
                    break
                walls.append((time.perf_counter_ns() - start) / 1e6)
                done += 1
                if len(kept) < FRAMES_KEPT:
                    kept.append(frame.image)
            cpu_ms = (time.process_time_ns() - cpu) / 1e6 / max(done, 1)
        finally:
            source.close()
        return kept, Cost(statistics.median(walls), cpu_ms)

    def bare(self, images: Sequence[Image], peers: Sequence[Path]) -> dict[str, Cost]:
        """The engine alone at its default precision and at f32, and the peers', in turn."""
        engines = {"default": self.open(), "f32": self.open(precision="f32")}
        try:
            for engine in engines.values():
                _fill(engine, images[0])
            works = {name: run_once(engine) for name, engine in engines.items()}
            works |= {str(peer): _peer(peer, self.threads) for peer in peers}
            return costs(works, calls=40)
        finally:
            for engine in engines.values():
                engine.close()

    def stages(self, images: Sequence[Image]) -> dict[str, Cost]:
        """Letterbox, decode and overlay alone on real frames with the model's real outputs."""
        engine = self.open()
        try:
            perception = Perception(engine)
            image = images[len(images) // 2]
            perception.prepare(image, 0)
            perception.submit(0)
            perception.wait(0)
            detections, masks = perception.decode(0)
            frame = Frame(image, 0, 0, 0, "read", "memory")
            result = Result(frame, detections, perception.class_names, masks, {}, 0)
            overlay = Overlay()
            readout = ("60.0 fps", "age 12 ms", "infer 6.0 ms", "dropped 0")
            return costs(
                {
                    "letterbox": lambda: perception.prepare(image, 0),
                    "decode": lambda: perception.decode(0),
                    "overlay": lambda: overlay.draw(result, readout),
                },
                calls=60,
            )
        finally:
            engine.close()

    def own_cpu(self, images: Sequence[Image]) -> dict[str, Any]:
        """A whole run with the picture drawn: frames from memory, outputs recorded beforehand.

        What is left is the app's own work: threads, letterbox, decode, overlay, bookkeeping.
        """
        with tempfile.TemporaryDirectory() as folder:
            recording = Path(folder) / "bench.replay.npz"
            engine = self.open()
            try:
                spec = engine.spec.input
                letterbox = Letterbox.fit((images[0].shape[1], images[0].shape[0]), spec)
                inputs = []
                for image in images:
                    inputs.append(np.empty(spec.tensor.shape, np.uint8))
                    letterbox.apply(image, inputs[-1])
                record(engine, inputs, recording)
            finally:
                engine.close()
            return run_pipeline(
                lambda: _network(lambda: open_engine(recording, engine="replay")),
                lambda stop: MemorySource(images, stop, fps=None),
                overlay=True,
                frames=max(self.frames, 300),
            )

    def pipeline(self, *, overlay: bool) -> dict[str, Any]:
        """A whole run of the source as fast as possible, every frame."""
        return run_pipeline(
            lambda: _network(self.open),
            lambda stop: open_source(
                self.source, policy="wait", stop=stop, options=SourceOptions()
            ),
            overlay=overlay,
            frames=self.frames,
        )

    def camera(
        self,
        images: Sequence[Image],
        *,
        fps: float,
        frames: int,
        halfway: list[float] | None = None,
    ) -> dict[str, Any]:
        """A whole run at camera pace, newest frame first, picture drawn."""
        return run_pipeline(
            lambda: _network(self.open),
            lambda stop: MemorySource(images, stop, fps=fps),
            overlay=True,
            frames=frames,
            ages=halfway,
        )


class _AgeSink(OverlaySink):
    """Keeps the age of every rendered frame, to see whether ages grow."""

    def __init__(self, ages: list[float]) -> None:
        self._ages = ages

    def write(self, result: Result, image: Image | None, *, frame_age_ms: float) -> bool:
        """Note the age."""
        self._ages.append(frame_age_ms)
        return True


def run_pipeline(
    open_network: Callable[[], Network],
    open_frames: Callable[[threading.Event], Source],
    *,
    overlay: bool,
    frames: int,
    ages: list[float] | None = None,
) -> dict[str, Any]:
    """Run the app's pipeline and return its metrics.

    Raises:
        OutriderError: what the run ended with, if it did not end in order.
    """

    def open_sinks(source: Source) -> Iterable[Any]:
        if ages is not None:
            return [_AgeSink(ages)]
        return [OverlaySink() if overlay else open_sink("null", fps=source.fps, live=source.live)]

    cv2.setNumThreads(1)  # as the app does
    gc.collect()
    parts = Parts(
        open_network=open_network,
        open_source=open_frames,
        open_sinks=open_sinks,
        open_overlay=Overlay,
    )
    pipeline = Pipeline(parts, Limits(frames=frames))
    ending = pipeline.run()
    if ending.error is not None:
        raise ending.error
    return pipeline.report(model="")


def soak(bench: Bench, images: Sequence[Image], *, frames: int) -> Figures:
    """Resident memory over a long run: after the first 1,000 frames, and at the end."""
    import psutil

    process = psutil.Process()
    seen: list[int] = []

    class Watch(OverlaySink):
        def write(self, result: Result, image: Image | None, *, frame_age_ms: float) -> bool:
            if result.frame.id % 500 == 499:
                seen.append(process.memory_info().rss)
            return True

    parts = Parts(
        open_network=lambda: _network(bench.open),
        open_source=lambda stop: MemorySource(images, stop, fps=None),
        open_sinks=lambda _: [Watch()],
        open_overlay=Overlay,
    )
    ending = Pipeline(parts, Limits(frames=frames)).run()
    if ending.error is not None:
        raise ending.error
    after_1000 = seen[1] if len(seen) > 1 else seen[-1]
    return {
        "frames": frames,
        "rss_after_1000_mb": round(after_1000 / 1e6, 2),
        "rss_at_end_mb": round(seen[-1] / 1e6, 2),
        "growth_mb": round((seen[-1] - after_1000) / 1e6, 2),
    }


def scheduling_bound_ms(bare: Cost, reading: Cost, *, cores: int | None = None) -> float:
    """The frame time that no pipeline on so many cores can beat.

    max(bare engine's wall time, (its CPU + reading's CPU + 2 ms) / cores).
    """
    n = cores or len(os.sched_getaffinity(0))
    return max(bare.wall_ms, (bare.cpu_ms + reading.cpu_ms + OWN_WORK_MS) / n)


def _network(open_one: Callable[[], Engine]) -> Network:
    engine = open_one()
    perception = Perception(engine)
    return Network(perception, 1, engine.name, engine.precision, engine.close)


def _fill(engine: Engine, image: Image) -> None:
    spec = engine.spec.input
    Letterbox.fit((image.shape[1], image.shape[0]), spec).apply(image, engine.inputs(0)[spec.name])


def _peer(path: Path, threads: int | None) -> Callable[[], object]:
    """One run of any ONNX file in bare OpenVINO at its default precision, on random input.

    Raises:
        OutriderError: the file cannot be compiled.
    """
    import openvino

    options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        options["INFERENCE_NUM_THREADS"] = threads
    try:
        request = openvino.Core().compile_model(str(path), "CPU", options).create_infer_request()
    except RuntimeError as exc:
        raise OutriderError(
            f"--peer {path}: OpenVINO cannot compile it: {str(exc).splitlines()[0]}"
        ) from exc
    rng = np.random.default_rng(0)
    for tensor in request.input_tensors:
        tensor.data[...] = (rng.random(tensor.data.shape) * 255).astype(tensor.data.dtype)

    def work() -> None:
        request.infer()

    return work


def machine() -> str:
    """The machine and versions that figures belong to, in one line."""
    import openvino

    name = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            name = line.partition(":")[2].strip()
            break
    cores = len(os.sched_getaffinity(0))
    return (
        f"{name}, {cores} cores, OpenVINO {openvino.__version__.split('-')[0]}, "
        f"OpenCV {cv2.__version__}, NumPy {np.__version__}"
    )
