"""Entry point of ``edge``: holds the signals of a run back before anything else is imported."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command; a signal to any but ``run`` does what it does to other programs."""
    if sys.argv[1:2] == ["run"]:
        from edge.run.signals import hold_signals

        hold_signals()
    from edge.cli import main

    main()
