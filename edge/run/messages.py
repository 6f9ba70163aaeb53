"""What the threads of a run tell the main thread through the outbox: plain values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.sources.base import Source
from edge.sources.live.status import SourceStatus
from edge.vision.types import Frame, Result
from engines.errors import SourceError

if TYPE_CHECKING:
    from edge.vision.perception import Perception


@dataclass(frozen=True, slots=True)
class Captured:
    """A frame on its way to inference and how long ``read()`` took.

    ``number`` counts captured frames without a gap; ids may have gaps, which are the source's.
    """

    frame: Frame
    number: int
    capture_ns: int


@dataclass(frozen=True, slots=True)
class PerceptionReady:
    """The models are open, which took ``took_ns``; inference waits for ``Shared.go``."""

    perception: Perception
    took_ns: int


@dataclass(frozen=True, slots=True)
class SourceReady:
    """The source is open; capturing waits for ``Shared.go``."""

    source: Source


@dataclass(frozen=True, slots=True)
class Broken:
    """A stage raised."""

    stage: str
    error: BaseException


@dataclass(frozen=True, slots=True)
class Drained:
    """No result follows. ``error`` is what ended the source, None at its orderly end."""

    error: SourceError | None


@dataclass(frozen=True, slots=True)
class Wake:
    """Makes the main thread look whether it was asked to stop, and how long it may still run."""


@dataclass(frozen=True, slots=True)
class SourceChanged:
    """A live source has another state, or another reason for it."""

    status: SourceStatus


@dataclass(frozen=True, slots=True)
class Call:
    """Something for the main thread to do between two pictures."""

    do: Callable[[], None]


Message = PerceptionReady | SourceReady | Result | SourceChanged | Call | Broken | Drained | Wake
