"""How a recorder keeps what it records."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """Films of ``segment_s``, the oldest going first.

    They take ``keep_gb`` at most, and less where otherwise less than ``free_gb`` of the disk were
    free. ``overlay`` films what is drawn for the other sinks, else the frames as they come.

    A clip of an event has ``pre_s`` before it, kept in memory of ``pre_mb`` at most, and ``post_s``
    after; events while it lasts make it longer, up to ``most_s`` in all. Clips take ``clips_gb`` at
    most beside the films, and none is removed. One of ``event_classes`` that is seen with
    ``event_score`` for ``event_s`` is an event.
    """

    overlay: bool = False
    segment_s: float = 60.0
    keep_gb: float = 20.0
    free_gb: float = 2.0
    pre_s: float = 10.0
    post_s: float = 10.0
    most_s: float = 120.0
    pre_mb: float = 64.0
    clips_gb: float = 10.0
    event_classes: tuple[str, ...] = ()
    event_score: float = 0.5
    event_s: float = 0.5
