"""What a run shows in the last line of a terminal: how far it is, how it does; it changes nothing.

A source that ends, or a limit, gives a bar; a live source the rate, the age of recent frames, the
drops and its state.
"""

from __future__ import annotations

import os
import stat
import sys
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.metrics.histogram import Histogram
from edge.progress import Line, on_terminal
from edge.run.parts import Ending, Limits
from edge.run.view import Moment, RunView

if TYPE_CHECKING:
    from edge.run.pipeline import Pipeline
    from edge.settings.settings import Settings

RECENT_S = 10
"""Frames of this time count for the age shown: what happens now, and not since the start."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What ends a run: ``done`` of ``total`` frames, or seconds."""

    done: float
    total: float
    frames: bool = True


def bound_of(moment: Moment, limits: Limits, *, frames: int | None, ran_s: float) -> Bound | None:
    """What ends the run first, None where nothing is known to.

    ``frames`` is what the source says that it has, ``ran_s`` the time since the first capture.
    """
    counts, bounds = moment.counts, list[Bound]()
    if frames and counts.settled <= frames:  # else it has more than it says
        bounds.append(Bound(counts.settled, frames))
    if limits.frames is not None:
        bounds.append(Bound(counts.rendered, limits.frames))
    if limits.seconds is not None:
        bounds.append(Bound(min(ran_s, limits.seconds), limits.seconds, frames=False))
    return max(bounds, key=lambda bound: bound.done / bound.total, default=None)


def in_words(moment: Moment, bound: Bound | None, *, live: bool, age_p99_ms: float | None) -> str:
    """A moment in one line."""
    counts, said = moment.counts, []
    if bound is not None and bound.frames:
        said.append(f"{bound.done:.0f}/{bound.total:.0f} frames")
    elif not live:
        said.append(f"{counts.settled} frames")
    if moment.fps is not None:
        said.append(f"{moment.fps:.1f} fps")
    elif live and moment.silent_s >= 1:
        said.append(f"no frame for {moment.silent_s:.0f} s")
    if live and age_p99_ms is not None:
        said.append(f"age p99 {age_p99_ms:.0f} ms")
    if moment.source_delay_ms:
        said.append(f"source delay {moment.source_delay_ms:.0f} ms")
    if live or counts.dropped:
        said.append(f"dropped {counts.dropped}")
    if moment.status is not None:
        said.append(moment.status.state)
    if bound is not None and not bound.frames and bound.done < bound.total:
        said.append(f"{bound.total - bound.done:.0f} s left")
    return ", ".join(said)


def wants_line(settings: Settings) -> bool:
    """Whether there is a terminal for it, where no --quiet was said and no JSON lines may come.

    Whoever reads them in a pipe mostly prints to the same terminal, so they must go to a file.
    """
    json_lines = "-" in settings.output.sinks and not _stdout_is_file()
    return on_terminal() and not settings.log.quiet and not json_lines


def _stdout_is_file() -> bool:
    try:
        return stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode)
    except (AttributeError, OSError, ValueError):  # closed, or never there
        return False


class TerminalLine:
    """One run's line; all calls come from the main thread."""

    def __init__(self, pipeline: Pipeline, view: RunView, limits: Limits) -> None:
        self._pipeline = pipeline
        self._view = view
        self._limits = limits
        self._line = Line()
        self._ages: deque[Histogram] = deque(maxlen=RECENT_S)
        """Copies, of one second after another."""
        self._copied_s = 0.0
        self._age_p99_ms: float | None = None

    def tick(self) -> None:
        """Show the run as it is now."""
        source, ran_s = self._pipeline.source, self._pipeline.ran_s
        if source is None:
            return
        if source.live and ran_s - self._copied_s >= 1:
            self._copied_s = ran_s
            self._read_ages()
        self._show(source.frame_count, ran_s, live=source.live)

    def close(self, ending: Ending) -> None:
        """Leave a bar as it came to be, and nothing of another line."""
        source = self._pipeline.source
        if source is None:
            return
        frames = source.frame_count
        if ending.reason == "end of source" and ending.error is None:
            frames = self._pipeline.counts().settled  # whatever it said before
        bounded = self._show(frames, self._pipeline.ran_s, live=source.live)
        self._line.close(keep=bounded)

    def _show(self, frames: int | None, ran_s: float, *, live: bool) -> bool:
        """Show the line; returns whether it is a bar."""
        moment = self._view.now()
        bound = bound_of(moment, self._limits, frames=frames, ran_s=ran_s)
        words = in_words(moment, bound, live=live, age_p99_ms=self._age_p99_ms)
        if bound is None:
            self._line.show(words)
        else:
            self._line.show(words, done=bound.done, total=bound.total, left=bound.frames)
        return bound is not None

    def _read_ages(self) -> None:
        now = self._view.histograms().age
        oldest = self._ages[0] if self._ages else Histogram()
        recent = now.since(oldest)
        self._age_p99_ms = recent.quantile_ns(0.99) / 1e6 if recent.count else None
        self._ages.append(now)
