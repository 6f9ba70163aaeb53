"""Takes results and keeps nothing: for measuring, and for machines without a display."""

from __future__ import annotations

from edge.sources.live.status import SourceStatus
from edge.vision.types import Image, Result


class NullSink:
    """A sink that wants no overlay and never stops the run."""

    name = "null"
    wants_image = False

    def __init__(
        self, text: str = name, *, fps: float | None = None, keep: bool = False
    ) -> None: ...

    def write(self, result: Result, image: Image | None, *, frame_age_ms: float) -> bool:
        """Take a frame and forget it."""
        return True

    def signal(self, status: SourceStatus, image: Image | None, *, at_ns: int) -> bool:
        """Take a state and forget it."""
        return True

    def close(self) -> None:
        """Nothing to finalise."""
