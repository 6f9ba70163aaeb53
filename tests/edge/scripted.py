"""A source, a network and a sink that do exactly what a test says: for tests of scheduling."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge.metrics.observer import Observer
from edge.run.parts import Limits, Parts
from edge.run.pipeline import Pipeline
from edge.sinks.overlay.overlay import Overlay
from edge.sources.live.status import SourceStatus
from edge.vision.perception import Perception
from edge.vision.types import Detections, Frame, Image, Mask, Result

IMAGE: Image = np.zeros((4, 6, 3), np.uint8)  # (H, W, 3)


def frame(frame_id: int, t_ns: int | None = None) -> Frame:
    """A tiny frame captured and read at ``t_ns``, now by default."""
    now = time.monotonic_ns() if t_ns is None else t_ns
    return Frame(IMAGE, frame_id, now, now, "read", "scripted")


@dataclass
class ScriptedSource:
    """Yields the frames; an exception among them is raised. ``on_read`` runs before a read."""

    frames: Iterable[Frame | BaseException]
    live: bool = False
    on_read: Callable[[], object] = lambda: None
    name: str = "scripted"
    fps: float | None = None
    frame_count: int | None = None
    gaps: int = 0
    closed_on: str = ""

    def __post_init__(self) -> None:
        self._frames = iter(self.frames)

    def read(self) -> Frame | None:
        self.on_read()
        item = next(self._frames, None)
        if isinstance(item, BaseException):
            raise item
        return item

    def close(self) -> None:
        self.closed_on = threading.current_thread().name


@dataclass
class ScriptedPerception(Perception):
    """Counts its calls as 'prepare 0', 'submit 0' …; ``hooks`` run inside the step they name."""

    hooks: dict[str, Callable[[], object]] = field(default_factory=dict)
    class_names: tuple[str, ...] = ("car",)
    slots: int = 1
    engine: str = "scripted"
    precision: str = "f32"
    on_gpu: bool = False
    calls: list[str] = field(default_factory=list)
    closed_on: str = ""
    blur_xyxy: NDArray[np.float32] | None = None

    def _step(self, name: str, slot: int) -> None:
        self.calls.append(f"{name} {slot}")
        self.hooks.get(name, lambda: None)()

    def choose_letterbox(self, image: Image, slot: int) -> None:
        self.hooks.get("choose_letterbox", lambda: None)()

    def prepare(self, image: Image, slot: int) -> None:
        self._step("prepare", slot)

    def submit(self, slot: int) -> None:
        self._step("submit", slot)

    def wait(self, slot: int) -> None:
        self._step("wait", slot)

    def decode(
        self, slot: int, *, conf: float | None = None
    ) -> tuple[Detections, tuple[Mask, ...]]:
        self._step("decode", slot)
        return Detections.empty(), ()

    def to_blur(self, slot: int) -> NDArray[np.float32] | None:
        return self.blur_xyxy

    def gpu_ns(self, slot: int) -> dict[str, int]:
        return {}

    def close(self) -> None:
        self.closed_on = threading.current_thread().name


@dataclass
class ScriptedSink:
    """Keeps the results' ids, ages and drops; ``on_write`` runs in each write and may raise."""

    on_write: Callable[[Result], bool] = lambda _: True
    wants_image: bool = False
    name: str = "scripted"
    ids: list[int] = field(default_factory=list)
    ages_ms: list[float] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    images: list[Image | None] = field(default_factory=list)
    statuses: list[SourceStatus] = field(default_factory=list)
    closed: int = 0

    def write(self, result: Result, image: Image | None, *, frame_age_ms: float) -> bool:
        more = self.on_write(result)
        self.ids.append(result.frame.id)
        self.ages_ms.append(frame_age_ms)
        self.dropped.append(result.dropped)
        self.images.append(image)
        return more

    def signal(self, status: SourceStatus, image: Image | None, *, at_ns: int) -> bool:
        self.statuses.append(status)
        return True

    def close(self) -> None:
        self.closed += 1


@dataclass
class ScriptedOverlay(Overlay):
    """Returns the frame itself and keeps the readouts."""

    on_draw: Callable[[], None] = lambda: None
    readouts: list[tuple[str, ...]] = field(default_factory=list)

    def draw(self, result: Result, readout: Sequence[str]) -> Image:
        self.on_draw()
        self.readouts.append(tuple(readout))
        return result.frame.image


@dataclass
class Script:
    """Everything of one run, with parts that can be replaced."""

    source: ScriptedSource
    perception: ScriptedPerception = field(default_factory=ScriptedPerception)
    sinks: Sequence[ScriptedSink] = field(default_factory=lambda: [ScriptedSink()])
    overlay: ScriptedOverlay = field(default_factory=ScriptedOverlay)
    slots: int = 1
    on_device: bool = False
    policy: Literal["auto", "drop", "wait"] = "auto"
    max_age_ms: float | None = None
    frames: int | None = None
    seconds: float | None = None
    on_open: dict[str, Callable[[], None]] = field(default_factory=dict)
    clock: Callable[[], int] = time.monotonic_ns
    opened_on: dict[str, str] = field(default_factory=dict)
    observers: Sequence[Observer] = ()

    def pipeline(self) -> Pipeline:
        def opening(what: str) -> None:
            self.opened_on[what] = threading.current_thread().name
            self.on_open.get(what, lambda: None)()

        def open_perception() -> ScriptedPerception:
            opening("network")
            self.perception.slots, self.perception.on_gpu = self.slots, self.on_device
            return self.perception

        def open_source(stop: threading.Event, tell: object) -> ScriptedSource:
            opening("source")
            return self.source

        def open_sinks(source: object) -> Iterable[ScriptedSink]:
            opening("sinks")
            return self.sinks

        def open_overlay() -> ScriptedOverlay:
            opening("overlay")
            return self.overlay

        return Pipeline(
            Parts(open_perception, open_source, open_sinks, open_overlay, self.observers),
            Limits(self.policy, self.max_age_ms, self.frames, self.seconds),
            clock=self.clock,
        )
