"""What may look on while a run goes on: it hears what became of each frame."""

from __future__ import annotations

from typing import Protocol

from edge.metrics.ledger import Outcome
from edge.metrics.metrics import Rendered
from edge.sources.live.status import SourceStatus
from edge.vision.types import Frame, Result


class Observer(Protocol):
    """Each call is part of a frame's time: it is short, waits for nothing and raises nothing."""

    def rendered(self, result: Result, times: Rendered) -> None:
        """A frame was taken by all sinks; on the main thread.

        Its picture is blurred where that is asked for, in ``result.frame``, too.

        The frame's spans on CLOCK_MONOTONIC: 'capture' ends at ``frame.t_read_ns``; 'letterbox',
        'infer' and 'decode' follow one another from ``result.t_begin_ns``; 'overlay', where
        there is one, blurring included, and 'sinks' end at ``times.at_ns``.
        """

    def lost(self, frame: Frame, outcome: Outcome, at_ns: int) -> None:
        """A frame became anything but rendered; on any thread.

        Its picture is not blurred, whatever is asked for: it must not be kept.
        """

    def source(self, status: SourceStatus, at_ns: int) -> None:
        """A live source has a new state; on the main thread."""
