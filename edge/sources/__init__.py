"""Where frames come from: the grammar of ``--source`` and the table of its kinds.

A new kind is one file that declares a ``SourceKind``, and one line in ``SOURCES``. Nothing is
imported before a text is looked at, and nothing heavy before a source is opened.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from edge.sources.options import Policy
from edge.sources.options import SourceOptions as SourceOptions
from engines.errors import SettingsError, SourceError
from engines.redact import redact

if TYPE_CHECKING:
    from edge.sources.base import OpenedSource, Source, SourceKind
    from edge.sources.live.status import SourceStatus

SOURCES = {
    "synthetic": ("edge.sources.synthetic:SYNTHETIC", "synthetic[:WxH@FPS]"),
    "camera": ("edge.sources.camera:CAMERA", "/dev/video0, camera:ID[:WxH@FPS[:MJPG]]"),
    "csi": ("edge.sources.gst.source:CSI", "csi:N[:WxH@FPS] (a Jetson's)"),
    "gst": ("edge.sources.gst.source:GST", "'gst:PIPELINE' (GStreamer's elements up to raw video)"),
    "stream": ("edge.sources.video.stream:STREAM", "an rtsp:// or http(s):// URL"),
    "images": ("edge.sources.images:IMAGES", "a folder or glob of images"),
    "video": ("edge.sources.video.file:VIDEO", "a video file"),
}
"""Where each kind is declared and how it is written; the first that matches a text opens it."""


def source_kind(name: str) -> SourceKind:
    """The declaration of a kind in ``SOURCES``."""
    module, _, attribute = SOURCES[name][0].partition(":")
    return cast("SourceKind", getattr(import_module(module), attribute))


def kind_of(text: str) -> str:
    """The kind in ``SOURCES`` that a text means.

    Raises:
        SettingsError: it means none of them.
    """
    for name in SOURCES:
        if source_kind(name).matches(text):
            return name
    raise SettingsError(
        f"source {redact(text)!r}: not a source{_suggestion(text)}; wanted "
        + ", ".join(kind.example for kind in _kinds())
        + ", or a glob such as 'frames/*.png'"
    )


def open_source(
    text: str,
    *,
    policy: Policy,
    stop: threading.Event,
    options: SourceOptions | None = None,
    tell: Callable[[SourceStatus], None] = lambda _: None,
) -> Source:
    """Open what ``--source`` names.

    Args:
        text: a kind's text, see ``SOURCES``.
        policy: 'drop' plays files and folders at their own pace, 'wait' reads on demand, 'auto' is
            'drop' for what is live and 'wait' for the rest.
        stop: when set, ``read()`` returns None soon and an opening is given up with SourceError;
            who set it knows that this is no failure.
        options: deadlines, whether to reconnect, orientation, seed.
        tell: hears of every change of a live source's state.

    Raises:
        SettingsError: the text is none of the kinds.
        SourceError: it cannot be opened.
    """
    options = options or SourceOptions()
    kind = source_kind(kind_of(text))

    def open_once(options: SourceOptions) -> OpenedSource:
        source = kind.open(text, policy=policy, stop=stop, options=options)
        if options.rotate_deg == 0 and options.flip == "none":
            return source
        from edge.sources.orient import Oriented

        return Oriented(source, options)

    if not kind.may_be_live:
        return open_once(options)
    from edge.sources.live.supervisor import Supervised

    source = Supervised(open_once, text, stop=stop, options=options, tell=tell)
    return source.open(within_s=options.stall_s)


def source_files(text: str) -> list[Path]:
    """The files that a source reads; none where it cannot be opened."""
    try:
        return list(source_kind(kind_of(text)).files(text))
    except (SettingsError, SourceError):
        return []


def is_path(text: str, folder: Path) -> bool:
    """Whether a source in a settings file is a path, which starts at the file's ``folder``.

    Mistyped URLs and bare camera numbers are none, so that errors show them as written.
    """
    for kind in _kinds():
        begun = any(text.lower().startswith(p.partition(":")[0] + ":") for p in kind.prefixes)
        nearly = any(re.fullmatch(pattern, text) for pattern, _ in kind.corrections)
        if begun or (not kind.is_path and kind.matches(text)):
            return False
        if nearly and not os.path.exists(folder / text):
            return False
    return "://" not in text


def _kinds() -> Iterator[SourceKind]:
    return (source_kind(name) for name in SOURCES)


def _suggestion(text: str) -> str:
    """What a text that is no source was probably meant to be."""
    for kind in _kinds():
        for pattern, meant in kind.corrections:
            if match := re.fullmatch(pattern, text):
                return f", did you mean {match.expand(meant)}?"
    prefixes = {p.partition(":")[0]: p for kind in _kinds() for p in kind.prefixes}
    head, _, tail = text.partition(":")
    close = get_close_matches(head.lower(), prefixes, n=1)
    if not close:
        return ""
    prefix = prefixes[close[0]]
    if prefix.endswith("//"):
        return f", did you mean {redact(prefix + (tail.lstrip('/') or 'HOST/PATH'))}?"
    return f", did you mean {redact(prefix + tail if tail else close[0])}?"
