"""How a recorder keeps what it records."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """Films of ``segment_s``, the oldest going first.

    They take ``keep_gb`` at most, and less where otherwise less than ``free_gb`` of the disk were
    free. ``overlay`` films what is drawn for the other sinks, else the frames as they come.
    """

    overlay: bool = False
    segment_s: float = 60.0
    keep_gb: float = 20.0
    free_gb: float = 2.0
