"""The interface of a source of frames; it knows nothing of threads, drops or inference."""

from __future__ import annotations

from typing import Protocol

from edge.vision.types import Frame


class Source(Protocol):
    """Frames one after another. Opened by ``open_source``, used by the capture thread."""

    @property
    def name(self) -> str:
        """What it reads, with credentials removed: safe for logs, metrics and files."""

    @property
    def live(self) -> bool:
        """Whether frames arrive on their own (camera, rtsp, synthetic): 'auto' then drops."""

    @property
    def fps(self) -> float | None:
        """Nominal frames per second, None where the source does not say."""

    @property
    def gaps(self) -> int:
        """Frames that the driver or the decoder lost so far."""

    def read(self) -> Frame | None:
        """The next frame, None at the orderly end.

        Blocks; returns None soon after the ``stop`` event given at opening is set where it can.

        Raises:
            SourceError: the source broke; frames returned before stay valid.
        """

    def close(self) -> None:
        """Release the source; safe to call twice."""
