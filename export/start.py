"""Entry point of ``edge-export``: listens to signals before anything else is imported."""

from __future__ import annotations

from edge.start import listen


def main() -> None:
    """Run the command."""
    interrupt = listen("edge-export")
    from export.cli import main

    main(interrupt)
