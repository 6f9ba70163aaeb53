"""The words of openings that are given up; it opens nothing."""

from __future__ import annotations

from engines.errors import SourceError

POLL_S = 0.05
"""How often a wait for a source looks at the stop event."""


def stopped(name: str) -> SourceError:
    """The opening was given up because ``stop`` was set."""
    return SourceError(f"{name}: opening was stopped on request")


def late(name: str, deadline_s: float) -> SourceError:
    """The opening was given up at its deadline."""
    return SourceError(
        f"{name}: no answer within {deadline_s:g} s (open_timeout_s), wanted a stream; check the "
        "address and that the device is on, or raise the limit"
    )
