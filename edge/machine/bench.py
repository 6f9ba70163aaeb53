"""Measures the app on this machine: parts alone, then the whole pipeline; it judges nothing.

Every pipeline here is the app's own; what must cost nothing is replaced: a source by frames from
memory, an engine by recorded outputs. Times are medians; what is compared is run in turn, so that a
machine that slows down slows both.
"""

from __future__ import annotations

import itertools
import os
import signal
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import psutil

from edge.machine.bench_parts import Cost, MemorySource, OverlaySink, costs, run_pipeline
from edge.sinks.null import NullSink
from edge.sinks.overlay.overlay import Overlay
from edge.sources import kind_of, open_source
from edge.sources.base import Source
from edge.sources.options import SourceOptions
from edge.telemetry.linux import cpu_name
from edge.vision.letterbox import Letterbox
from edge.vision.perception import Perception
from edge.vision.tiles.grid import read_tiles
from edge.vision.tiles.tiled import open_perception
from edge.vision.types import Frame, Image, Result
from engines import open_engine
from engines.base import Array, Engine
from engines.errors import ModelError, SourceError
from engines.files import scratch
from engines.model_file import ModelFile
from engines.openvino import compile_apart, import_openvino
from engines.replay import record
from engines.spec import InputSpec

OWN_WORK_MS = 2.0
"""CPU that the bound on scheduling allows the app itself for a frame."""
FRAMES_KEPT = 60
"""Frames held in memory: enough to vary, few enough for 4K."""

Figures = dict[str, float | int | str | None]


@dataclass(frozen=True, slots=True)
class Bench:
    """What is measured: the app's models on the frames of one source."""

    source: str
    model: Path
    engine: str = "auto"
    threads: int | None = None
    slots: int = 1
    frames: int = 300
    tiles: str = "1x1"
    plain: Path | None = None
    """The f32 file, where ``model`` is an int8 one that runs instead of it."""

    def open(self, *, precision: Literal["default", "f32"] = "default", slots: int = 1) -> Engine:
        """The model in its engine; one slot where it is measured alone."""
        model = self.model if precision == "default" else self.plain or self.model
        return open_engine(
            model, engine=self.engine, precision=precision, slots=slots, threads=self.threads
        )

    def perception(self) -> Perception:
        """The app's path over the model, to be opened on the infer thread."""
        return open_perception(self.open(slots=self.slots), tiles=self.tiles)

    @property
    def passes(self) -> int:
        """Runs of the engine that a frame takes: each tile and the whole."""
        columns, rows = read_tiles(self.tiles)
        return 1 if columns * rows == 1 else columns * rows + 1

    def open_source(self, stop: threading.Event) -> Source:
        """The source, every frame of it."""
        return open_source(self.source, policy="wait", stop=stop, options=SourceOptions())

    def read_frames(self) -> tuple[list[Image], Cost]:
        """Frames of the source and what reading costs alone, a frame.

        Raises:
            SourceError: it cannot be read, or has too few frames for a frame rate.
        """
        source = self.open_source(threading.Event())
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
        if done < 2:
            raise SourceError(
                f"{source.name}: has {done} frames, wanted at least 2 to measure a rate; "
                "take a longer video or --source synthetic:960x540@30"
            )
        return kept, Cost(statistics.median(walls), cpu_ms)

    def bare(self, images: Sequence[Image], peers: Sequence[Path]) -> dict[str, Cost]:
        """The engine alone at its default precision and at f32, and the peers', in turn."""
        engines = {"default": self.open(), "f32": self.open(precision="f32")}
        try:
            works: dict[str, Callable[[], object]] = {}
            for name, engine in engines.items():
                spec = engine.spec.input
                _letterbox(images[0], spec, engine.inputs(0)[spec.name])
                works[name] = partial(_run_once, engine)
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
            result = Result(frame, detections, perception.class_names, masks, {}, 0, 0, 0)
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
        with scratch() as folder:
            recording = folder / "bench.replay.npz"
            engine = self.open()
            try:
                spec = engine.spec.input
                inputs = [np.empty(spec.tensor.shape, np.uint8) for _ in images]
                for image, out in zip(images, inputs, strict=True):
                    _letterbox(image, spec, out)
                record(engine, inputs, recording)
            finally:
                engine.close()
            return run_pipeline(
                lambda: Perception(open_engine(recording, engine="replay")),
                lambda stop: MemorySource(images, stop, fps=None),
                sink=OverlaySink(),
                frames=max(self.frames, 300),
            )

    def pipeline(self, *, overlay: bool) -> dict[str, Any]:
        """A whole run of the source as fast as possible, every frame."""
        return run_pipeline(
            self.perception,
            self.open_source,
            sink=OverlaySink() if overlay else NullSink(),
            frames=self.frames,
        )

    def camera(
        self, images: Sequence[Image], *, fps: float, frames: int
    ) -> tuple[dict[str, Any], list[float]]:
        """A whole run at camera pace, newest frame first, picture drawn; its metrics and ages."""
        ages_ms: list[float] = []
        report = run_pipeline(
            self.perception,
            lambda stop: MemorySource(images, stop, fps=fps),
            sink=OverlaySink(ages_ms.append),
            frames=frames,
        )
        return report, ages_ms


def soak(bench: Bench, *, frames: int) -> Figures:
    """Resident memory over a long run: after the first 1,000 frames, and at the end.

    It runs in a process of its own: in this one, memory that earlier measurements gave back is
    still resident and is taken up again by chance. The built-in street never ends; the frames of
    any other source come round and round.
    """
    # Ctrl-C in the terminal reaches both processes; only this one has something to say about it.
    with ProcessPoolExecutor(
        1,
        mp_context=get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    ) as fresh:
        try:
            rss = fresh.submit(_resident, bench, frames).result()
        except BaseException:
            for worker in active_children():  # else the pool would wait for its end
                worker.kill()
            raise
    after_1000, at_end = rss[1], rss[-1]
    return {
        "frames": frames,
        "rss_after_1000_mb": round(after_1000 / 1e6, 2),
        "rss_at_end_mb": round(at_end / 1e6, 2),
        "growth_mb": round((at_end - after_1000) / 1e6, 2),
    }


def _resident(bench: Bench, frames: int) -> list[int]:
    """Resident memory after every 500 frames of one run, in bytes."""
    cv2.setNumThreads(1)
    process, rendered = psutil.Process(), itertools.count(1)
    rss: list[int] = []

    def watch(_: float) -> None:
        if next(rendered) % 500 == 0:
            rss.append(process.memory_info().rss)

    open_frames: Callable[[threading.Event], Source] = bench.open_source
    if kind_of(bench.source) != "synthetic":
        images, _ = bench.read_frames()
        open_frames = partial(MemorySource, images, fps=None)
    run_pipeline(bench.perception, open_frames, sink=OverlaySink(watch), frames=frames)
    return rss


def scheduling_bound_ms(bare: Cost, reading: Cost, *, cores: int | None = None) -> float:
    """The frame time that no pipeline on so many cores can beat.

    max(bare engine's wall time, (its CPU + reading's CPU + 2 ms) / cores).
    """
    n = cores or len(os.sched_getaffinity(0))
    return max(bare.wall_ms, (bare.cpu_ms + reading.cpu_ms + OWN_WORK_MS) / n)


def _letterbox(image: Image, spec: InputSpec, out: Array) -> None:
    Letterbox.fit((image.shape[1], image.shape[0]), spec).apply(image, out)


def _run_once(engine: Engine) -> None:
    engine.submit(0)
    engine.wait(0)


def _peer(path: Path, threads: int | None) -> Callable[[], object]:
    """One run of any ONNX file in bare OpenVINO at its default precision, on random input.

    Raises:
        ModelError: it is missing, or cannot be compiled and run as it is.
    """
    if not path.is_file():
        raise ModelError(f"--peer {path}: no such file; check the path")
    source = ModelFile(path).for_runtime()  # its words for no ONNX file are better than OpenVINO's
    openvino = import_openvino()
    options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        options["INFERENCE_NUM_THREADS"] = threads
    rng = np.random.default_rng(0)
    try:
        core = openvino.Core()
        compiled = compile_apart(core, core.read_model(source), options)
        if any(port.partial_shape.is_dynamic for port in compiled.inputs):
            raise ModelError(
                f"--peer {path}: has an input whose shape is open, and nothing says which to time; "
                "wanted fixed shapes: export it again at one size"
            )
        request = compiled.create_infer_request()
        for tensor in request.input_tensors:
            tensor.data[...] = (rng.random(tensor.data.shape) * 255).astype(tensor.data.dtype)
    except RuntimeError as exc:
        # The last line says what; those before it, where in OpenVINO's own code.
        reason = str(exc).strip().splitlines()[-1]
        raise ModelError(f"--peer {path}: OpenVINO cannot run it: {reason}") from exc
    return lambda: request.infer()


def machine() -> str:
    """The machine and versions that figures belong to, in one line."""
    openvino = import_openvino()
    name, cores = cpu_name() or "unknown CPU", len(os.sched_getaffinity(0))
    return (
        f"{name}, {cores} cores, OpenVINO {openvino.__version__.split('-')[0]}, "
        f"OpenCV {cv2.__version__}, NumPy {np.__version__}"
    )
