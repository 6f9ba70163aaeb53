"""What measuring needs: a stopwatch, parts that cost nothing, and one run of the app's pipeline."""

from __future__ import annotations

import gc
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edge.run.parts import Limits, Parts
from edge.run.pipeline import Pipeline
from edge.sinks.base import Sink
from edge.sinks.overlay.overlay import Overlay
from edge.sources.base import Source
from edge.sources.live.status import SourceStatus
from edge.vision.perception import Perception
from edge.vision.types import Frame, Image, Result

ROUNDS = 5
"""Parts that are compared are measured in so many turns."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Medians of a call: wall time, and CPU time of all threads."""

    wall_ms: float
    cpu_ms: float

    def times(self, count: int) -> Cost:
        """What so many calls cost."""
        return Cost(count * self.wall_ms, count * self.cpu_ms)


class MemorySource:
    """Frames from memory, over and over; at ``fps`` as a camera would give them, or on demand."""

    name = "memory"
    frame_count: int | None = None
    gaps = 0

    def __init__(
        self, images: Sequence[Image], stop: threading.Event, *, fps: float | None
    ) -> None:
        self._images, self._stop, self.fps = images, stop, fps
        self.live = fps is not None
        self._start_ns: int | None = None
        self._next = 0

    def read(self) -> Frame | None:
        """The next frame, captured when it was due."""
        due = now = time.monotonic_ns()
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
    """Makes the pipeline draw and drops the picture; ``watch`` gets every frame's age in ms."""

    name = "overlay"
    wants_image = True

    def __init__(self, watch: Callable[[float], object] = lambda _: None) -> None:
        self._watch = watch

    def write(self, result: Result, image: Image | None, *, frame_age_ms: float) -> bool:
        """Pass the age on."""
        self._watch(frame_age_ms)
        return True

    def signal(self, status: SourceStatus, image: Image | None, *, at_ns: int) -> bool:
        """No figure is of this."""
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


def run_pipeline(
    open_perception: Callable[[], Perception],
    open_frames: Callable[[threading.Event], Source],
    *,
    sink: Sink,
    frames: int,
) -> dict[str, Any]:
    """Run the app's pipeline into one sink and return its metrics.

    Raises:
        OutriderError: what the run ended with, if it did not end in order.
    """
    gc.collect()
    parts = Parts(
        open_perception=open_perception,
        open_source=lambda stop, _: open_frames(stop),
        open_sinks=lambda _: [sink],
        open_overlay=Overlay,
    )
    pipeline = Pipeline(parts, Limits(frames=frames))
    ending = pipeline.run()
    if ending.error is not None:
        raise ending.error
    return pipeline.report(model="")
