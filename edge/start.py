"""Entry point of ``edge``: holds back or answers signals before anything else is imported."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge.interrupt import Interrupt


def main() -> None:
    """Run the command; only those of a run handle signals themselves."""
    interrupt = None
    if sys.argv[1:2] in (["run"], ["profile"]):
        from edge.run.signals import hold_signals

        hold_signals()
    else:
        # A measurement that was interrupted tells what it has, however long that takes.
        interrupt = listen("edge", forced=sys.argv[1:2] != ["latency"])
    from edge.cli import main

    main(interrupt)


def listen(name: str, *, forced: bool = True) -> Interrupt:
    """Answer signals from now on, as ``Interrupt`` does."""
    import signal

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # else Python shows where it was imported
    from edge.interrupt import Interrupt

    return Interrupt(name, forced=forced)
