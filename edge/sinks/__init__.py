"""Where rendered frames and results go: one file a kind, and the table that names them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from edge.sinks.base import Sink
from edge.sinks.jsonl import open_jsonl, open_stdout
from edge.sinks.mp4 import open_mp4
from edge.sinks.null import open_null
from edge.sinks.window import open_window
from engines.errors import SettingsError


class Opener(Protocol):
    """Opens one kind of sink; ``fps`` is the source's nominal rate."""

    def __call__(self, text: str, *, fps: float | None) -> Sink: ...  # noqa: D102


SINKS: dict[str, Opener] = {
    "window": open_window,
    ".mp4": open_mp4,
    ".jsonl": open_jsonl,
    "-": open_stdout,
    "null": open_null,
}
"""By the whole text, or by the suffix of a file's name."""


def sink_opener(text: str) -> Callable[..., Sink]:
    """The opener for a sink as the user wrote it.

    Raises:
        SettingsError: no sink is written so.
    """
    opener = SINKS.get(text) or SINKS.get(Path(text).suffix.lower())
    if opener is None:
        raise SettingsError(f'sink: got "{text}", wanted window, FILE.mp4, FILE.jsonl, - or null')
    return opener


def open_sink(text: str, *, fps: float | None) -> Sink:
    """Open 'window', 'FILE.mp4', 'FILE.jsonl', '-' (JSONL to stdout) or 'null'.

    A file is created with its first frame: a run that fails before leaves an older file as it was.

    Args:
        text: the sink as the user wrote it.
        fps: the source's nominal rate, None where it does not say.

    Raises:
        SettingsError: no sink is written so.
        SinkError: the sink cannot be opened.
    """
    return sink_opener(text)(text, fps=fps)
