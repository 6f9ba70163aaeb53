"""SIGINT, SIGTERM and SIGHUP of a run: held back from the first moment, then requests.

SIGINT and SIGTERM ask for a stop. SIGHUP asks to read the settings again where a service does that,
else for a stop, too; where it was ignored at the start (nohup) it stays so.

It imports the standard library alone: signals are held before NumPy starts its threads.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge.run.pipeline import Pipeline

STUCK_SINK_S = 1.0
"""How long a sink may sit on a frame after a stop was asked for (a pipe that nobody reads)."""


def held_signals() -> set[signal.Signals]:
    """Those that a run fetches; a blocked signal would be kept even where it is ignored."""
    held = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    return held - ({signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set())


def hold_signals() -> None:
    """Keep the signals of a run pending until somebody fetches them.

    Threads inherit this, those that libraries start on import included.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, held_signals())


class StopSignals:
    """Signals as requests to a pipeline, remembered until there is one.

    A thread of its own fetches them. A Python handler would run on the main thread only, which
    stays asleep in its wait for a message when the system gives the signal to another thread.
    """

    def __init__(self, reload: Callable[[], None] | None = None) -> None:
        """``reload`` answers SIGHUP, soon and without raising; None: it is one more stop signal."""
        self._reload = reload
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
        """Body of the thread; signals after the first to stop stay held back, without effect."""
        held = held_signals()
        while (number := signal.sigwait(held)) == signal.SIGHUP and self._reload is not None:
            self._reload()
        self._reason = f"signal {signal.Signals(number).name}"
        self.asked.set()
        pipeline = self._pipeline
        if pipeline is not None:
            pipeline.request_stop(self._reason)
        time.sleep(STUCK_SINK_S)
        signal.pthread_kill(self._main, signal.SIGALRM)

    def _on_alarm(self, number: int, frame: object) -> None:
        # Only a raise ends a write(2) that blocks: Python repeats the call after a handler returns.
        from engines.errors import SinkError

        sink = None if self._pipeline is None else self._pipeline.renderer.writing_to
        if sink is not None:
            raise SinkError(
                f"{sink}: did not take a frame within {STUCK_SINK_S:g} s of "
                "the stop; is its reader stopped?"
            )
