"""Where rendered frames and results go: one file a kind, and the table that names them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from edge.sinks.display import display_answers
from engines.errors import SettingsError
from engines.redact import redact

if TYPE_CHECKING:
    from edge.sinks.base import Sink

_STREAM = "edge.sinks.stream.sink:StreamSink"
SINKS = {
    "window": "edge.sinks.window:WindowSink",
    ".mp4": "edge.sinks.mp4:Mp4Sink",
    ".jsonl": "edge.sinks.jsonl:JsonlSink",
    "-": "edge.sinks.jsonl:JsonlSink",
    "web": "edge.web.sink:WebSink",
    "rtsp": _STREAM,
    "rtsps": _STREAM,
    "whip": _STREAM,
    "record": "edge.sinks.record.sink:RecordSink",
    "null": "edge.sinks.null:NullSink",
}
"""By the whole text, by what stands before its first colon, or by the suffix of a file's name;
imported when it is used."""

PLACES = {
    "web": "[:ADDRESS:PORT]",
    "rtsp": "://HOST/PATH",
    "rtsps": "://HOST/PATH",
    "whip": ":https://HOST/PATH",
    "record": ":DIR",
}
"""What may follow the names of kinds that have a place of their own, which is no file."""

FORMS = [f"FILE{kind}" if kind.startswith(".") else kind + PLACES.get(kind, "") for kind in SINKS]
"""How each is written."""


class Opener(Protocol):
    """Opens one kind of sink; ``fps`` is the source's nominal rate."""

    def __call__(self, text: str, *, fps: float | None, keep: bool = False) -> Sink: ...  # noqa: D102


def kind_of(text: str) -> str:
    """The key in SINKS of a sink as the user wrote it, or what stands in its place."""
    name = text.partition(":")[0]
    return text if text in SINKS else name if name in PLACES else Path(text).suffix.lower()


def sink_opener(text: str) -> Opener:
    """The opener for a sink as the user wrote it.

    Raises:
        SettingsError: no sink is written so.
    """
    entry = SINKS.get(kind_of(text))
    if entry is None:
        wanted = f"{', '.join(FORMS[:-1])} or {FORMS[-1]}"
        raise SettingsError(f'sink: got "{redact(text)}", wanted {wanted}')
    module, _, attribute = entry.partition(":")
    return cast(Opener, getattr(import_module(module), attribute))


def open_sink(text: str, *, fps: float | None, keep: bool = False) -> Sink:
    """Open a sink, written as FORMS says.

    A file is created with its first frame: a run that fails before leaves an older file as it was.

    Args:
        text: the sink as the user wrote it.
        fps: the source's nominal rate, None where it does not say.
        keep: move the file of the run before to a name beside it, rather than write over it.

    Raises:
        SettingsError: no sink is written so, or nothing can be written there.
    """
    return sink_opener(text)(text, fps=fps, keep=keep)


def usual_sink(environ: Mapping[str, str] = os.environ) -> str:
    """The sink where none is asked for: a window, or nothing where no display answers."""
    return "window" if display_answers(environ) else "null"


def writes_file(text: str) -> bool:
    """Whether a sink writes to the file of that name."""
    return text.startswith(".") or (text not in SINKS and kind_of(text) not in PLACES)


def is_stream(text: str) -> bool:
    """Whether a sink sends to a server of streams."""
    return SINKS.get(kind_of(text)) == _STREAM


def uses_network(text: str) -> bool:
    """Whether a sink serves at an address or sends to one."""
    return kind_of(text) in PLACES and kind_of(text) != "record"


def folder_of(text: str) -> str | None:
    """The folder that a sink fills with files of its own, None where it fills none."""
    kind, _, folder = text.partition(":")
    return folder if kind == "record" and folder else None
