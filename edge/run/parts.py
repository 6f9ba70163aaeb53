"""What a run is made of and when it ends: interfaces and plain values; nothing is opened here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from edge.sinks.base import Sink
from edge.sources.base import Source
from edge.sources.options import Policy
from edge.vision.types import Detections, Image, Mask, Result


class Perceiver(Protocol):
    """What the infer thread needs of ``edge.vision.perception.Perception``."""

    class_names: tuple[str, ...]

    def choose_letterbox(self, image: Image, slot: int) -> None:
        """Find out how images of this size are letterboxed fastest, once a size."""

    def prepare(self, image: Image, slot: int) -> None:
        """Fill the slot's input from an image (H, W, 3)."""

    def submit(self, slot: int) -> None:
        """Start the slot's run."""

    def wait(self, slot: int) -> None:
        """Block until the slot's run is done."""

    def decode(self, slot: int) -> tuple[Detections, tuple[Mask, ...]]:
        """Boxes and masks of the slot's run, in memory of their own."""


class Drawer(Protocol):
    """What the main thread needs of ``edge.sinks.overlay.overlay.Overlay``."""

    def draw(self, result: Result, readout: Sequence[str]) -> Image:
        """The picture (H, W, 3) BGR, valid until the next call."""


@dataclass(frozen=True, slots=True)
class Network:
    """One or more opened engines behind a perceiver; ``close`` releases them."""

    perception: Perceiver
    slots: int
    engine: str
    precision: str
    close: Callable[[], None]
    gpu_ns: Callable[[int], Mapping[str, int]] | None = None
    """GPU times by stage of a slot's run, after its wait; None where nothing runs on a GPU."""


@dataclass(frozen=True, slots=True)
class Parts:
    """How to open what a run is made of; each is called once, on the thread that then uses it.

    ``open_source`` gets the event that asks it to stop; ``open_overlay`` is called only when a sink
    wants an image.
    """

    open_network: Callable[[], Network]
    open_source: Callable[[threading.Event], Source]
    open_sinks: Callable[[Source], Iterable[Sink]]
    open_overlay: Callable[[], Drawer]


@dataclass(frozen=True, slots=True)
class Limits:
    """When a frame is dropped and when a run ends; None is never.

    ``frames`` counts rendered frames, ``seconds`` from the first capture.
    """

    policy: Policy = "auto"
    max_age_ms: float | None = None
    frames: int | None = None
    seconds: float | None = None

    def drops(self, source: Source) -> bool:
        """Whether the newest frame wins; otherwise every frame is waited for."""
        return self.policy == "drop" or (self.policy == "auto" and source.live)


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a run ended; ``error`` is None at an orderly end.

    ``abandoned`` names threads that did not come back in time: end the process by ``os._exit``.
    """

    reason: str
    error: BaseException | None
    abandoned: tuple[str, ...]
