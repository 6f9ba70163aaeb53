"""The interface of a sink: where rendered frames and results go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from edge.sources.live.status import SourceStatus
from edge.vision.types import Image, Result

if TYPE_CHECKING:
    from edge.run.view import RunView


class Sink(Protocol):
    """Takes every rendered frame, on the main thread.

    Attributes:
        name: what it writes to, for logs: 'window', a path, 'stdout', 'null'.
        wants_image: whether it uses the overlay of the next picture; where no sink does, none is
            drawn.
    """

    name: str

    @property
    def wants_image(self) -> bool: ...  # noqa: D102

    def write(self, result: Result, image: Image | None, *, frame_age_ms: float) -> bool:
        """Take one frame; ``image`` is the overlay (H, W, 3) uint8 BGR, valid only during the call.

        What is to be blurred is so on the picture in ``result.frame``, too. Returns False when the
        user asked to stop (q or Esc in the window, the window closed).

        Raises:
            SettingsError: another run writes to it.
            SinkError: it cannot be written; what was written before stays readable.
        """

    def signal(self, status: SourceStatus, image: Image | None, *, at_ns: int) -> bool:
        """Take the state of a live source: each new one, and while nothing comes twice a second.

        ``image`` is then the view of no signal, None where a new state is only told or where no
        sink wants a picture; ``at_ns`` is CLOCK_MONOTONIC. Returns and raises as ``write`` does.
        """

    def close(self) -> None:
        """Finalise the output (a playable mp4, flushed lines); safe to call twice."""


@dataclass(frozen=True, slots=True)
class RecordingState:
    """What a recording is doing; ``folder`` is where.

    ``alarm`` says why it does not record or cannot keep a clip, such as a full disk, None while it
    does; it then tries again by itself. ``clip`` is the name of the event's clip that is being
    written, None where none is. ``kept_bytes`` is all that lies there of it, ``clips`` the number
    of clips there, and ``missed`` the pictures that were to be recorded and are not.
    """

    folder: str
    alarm: str | None
    clip: str | None
    kept_bytes: int
    clips: int
    missed: int


@runtime_checkable
class Recording(Protocol):
    """A sink that keeps what happened; both calls from any thread, and neither waits for a disk."""

    def state(self) -> RecordingState:
        """What it is doing now."""

    def mark(self, reason: str) -> str:
        """Keep a clip of now, with what was before; returns its name.

        Raises:
            SinkError: it cannot keep one.
        """


@runtime_checkable
class Watching(Protocol):
    """A sink that tells of the whole run, not of its frames alone."""

    def watch(self, run: RunView) -> None:
        """Take what may be asked of the run; once, before the first frame.

        Raises:
            OutriderError: it cannot tell of it.
        """
