"""What a live source is doing, since when and why, and how often it failed: plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SourceState = Literal["opening", "live", "stalled", "reconnecting", "failed"]


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """One state of a source.

    ``opening`` is the first attempt, ``live`` gives frames, ``stalled`` has given none for
    ``stall_s``, ``reconnecting`` lost its connection or never had one, ``failed`` has ended.
    ``since_ns`` is CLOCK_MONOTONIC; ``reason`` is without credentials, empty where there is none.
    """

    source: str
    state: SourceState
    since_ns: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SignalCounts:
    """How a source did so far.

    ``attempts`` counts openings, failed ones included; ``reconnects`` connections that gave frames
    after an earlier one had; ``stalls`` times without a frame for ``stall_s``. ``without_s`` is the
    time in any state but ``live``.
    """

    state: SourceState
    attempts: int
    reconnects: int
    stalls: int
    without_s: float
