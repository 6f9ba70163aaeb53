"""Entry point of ``edge``: holds back the signals of a run before anything else is imported."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command; only those of a run handle signals themselves."""
    if sys.argv[1:2] in (["run"], ["profile"]):
        from edge.run.signals import hold_signals

        hold_signals()
    from edge.cli import main

    main()
