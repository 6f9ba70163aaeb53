"""Entry point of ``edge``: holds the signals of a run back before anything else is imported."""

from __future__ import annotations

import signal
import sys

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def hold_signals() -> None:
    """Keep stop signals pending until somebody fetches them.

    Threads inherit this, those that libraries start on import included.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)


def main() -> None:
    """Run the command; a signal to any but ``run`` does what it does to other programs."""
    if sys.argv[1:2] == ["run"]:
        hold_signals()
    from edge.cli import main

    main()
