"""What a run is made of and when it ends: plain values; nothing is opened here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.sinks.base import Sink
from edge.sources.base import Source
from edge.sources.live.status import SourceStatus
from edge.sources.options import Policy

if TYPE_CHECKING:  # imported by the thread that opens it
    from edge.metrics.observer import Observer
    from edge.sinks.overlay.overlay import Overlay
    from edge.vision.perception import Perception


@dataclass(frozen=True, slots=True)
class Parts:
    """How to open what a run is made of; each is called once, on the thread that then uses it.

    ``open_source`` gets the event that asks it to stop and what hears of a live source's states;
    ``open_overlay`` is called only when a sink wants an image. ``observers`` look on.
    """

    open_perception: Callable[[], Perception]
    open_source: Callable[[threading.Event, Callable[[SourceStatus], None]], Source]
    open_sinks: Callable[[Source], Iterable[Sink]]
    open_overlay: Callable[[], Overlay]
    observers: Sequence[Observer] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """When a frame is dropped and when a run ends; None is never.

    ``frames`` counts rendered frames, ``seconds`` from the first capture, or from the first view of
    no signal; that comes after ``stall_s`` without a frame of a live source.
    """

    policy: Policy = "auto"
    max_age_ms: float | None = None
    frames: int | None = None
    seconds: float | None = None
    stall_s: float = 2.0

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
