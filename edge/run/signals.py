"""SIGINT and SIGTERM of a run: held back from the first moment, then requests to stop.

It imports the standard library alone: signals are held before NumPy starts its threads.
"""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge.run.pipeline import Pipeline

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
STUCK_SINK_S = 1.0
"""How long a sink may sit on a frame after a stop was asked for (a pipe that nobody reads)."""


def hold_signals() -> None:
    """Keep stop signals pending until somebody fetches them.

    Threads inherit this, those that libraries start on import included.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)


class StopSignals:
    """SIGINT and SIGTERM as requests to a pipeline, remembered until there is one.

    A thread of its own fetches them. A Python handler would run on the main thread only, which
    stays asleep in its wait for a message when the system gives the signal to another thread.
    """

    def __init__(self) -> None:
        self.asked = threading.Event()
        """Set by the first signal, for what cannot be asked through the pipeline."""
        self._pipeline: Pipeline | None = None
        self._reason: str | None = None
        self._main = threading.get_ident()
        hold_signals()
        signal.signal(signal.SIGALRM, self._on_alarm)
        threading.Thread(target=self._fetch, name="signals", daemon=True).start()

    def attach(self, pipeline: Pipeline) -> None:
        """Pass the request on from now, one that came before included."""
        self._pipeline = pipeline
        if self._reason is not None:
            pipeline.request_stop(self._reason)

    def detach(self) -> None:
        """Pass nothing on any more."""
        self._pipeline = None
        # Not a handler of ours: an interpreter that ends gives those back to the system's default.
        signal.signal(signal.SIGALRM, signal.SIG_IGN)

    def _fetch(self) -> None:
        """Body of the thread; signals after the first stay held back, without effect."""
        self._reason = f"signal {signal.Signals(signal.sigwait(STOP_SIGNALS)).name}"
        self.asked.set()
        pipeline = self._pipeline
        if pipeline is not None:
            pipeline.request_stop(self._reason)
        time.sleep(STUCK_SINK_S)
        signal.pthread_kill(self._main, signal.SIGALRM)

    def _on_alarm(self, number: int, frame: object) -> None:
        # Only a raise ends a write(2) that blocks: Python repeats the call after a handler returns.
        from engines.errors import SinkError

        if self._pipeline is not None and self._pipeline.writing_to is not None:
            raise SinkError(
                f"{self._pipeline.writing_to}: did not take a frame within {STUCK_SINK_S:g} s of "
                "the stop; is its reader stopped?"
            )
