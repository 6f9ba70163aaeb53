"""Where frames come from: the grammar of ``--source`` and the table of its kinds.

A new kind is one file and one entry in ``SOURCES``. Nothing heavy is imported before it is used.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Protocol

from edge.sources.base import Source
from edge.sources.options import Policy, SourceOptions
from engines.errors import SettingsError, SourceError
from engines.redact import redact

__all__ = ["SOURCES", "Source", "SourceKind", "SourceOptions", "kind_of", "open_source", "redact"]


class Opener(Protocol):
    """Opens one kind of source."""

    def __call__(
        self, text: str, *, policy: Policy, stop: threading.Event, options: SourceOptions
    ) -> Source:
        """Open ``text``; raises SourceError where that cannot be done."""


@dataclass(frozen=True, slots=True)
class SourceKind:
    """One kind of source: which texts mean it, an example, its opener, the files that it reads."""

    matches: Callable[[str], bool]
    example: str
    open: Opener
    files: Callable[[str], Iterable[Path]] = lambda _: ()


def _synthetic(
    text: str, *, policy: Policy, stop: threading.Event, options: SourceOptions
) -> Source:
    from edge.sources.synthetic import open_synthetic

    return open_synthetic(text, policy=policy, stop=stop, seed=options.seed)


def _camera(text: str, *, policy: Policy, stop: threading.Event, options: SourceOptions) -> Source:
    from edge.sources.camera import open_camera

    return open_camera(text, policy=policy, stop=stop, options=options)


def _csi(text: str, *, policy: Policy, stop: threading.Event, options: SourceOptions) -> Source:
    from edge.sources.gst.source import open_csi

    return open_csi(text, policy=policy, stop=stop, options=options)


def _gst(text: str, *, policy: Policy, stop: threading.Event, options: SourceOptions) -> Source:
    from edge.sources.gst.source import open_gst

    return open_gst(text, policy=policy, stop=stop, options=options)


def _stream(text: str, *, policy: Policy, stop: threading.Event, options: SourceOptions) -> Source:
    from edge.sources.video.video import open_stream

    return open_stream(text, policy=policy, stop=stop, options=options)


def _images(text: str, *, policy: Policy, stop: threading.Event, options: SourceOptions) -> Source:
    from edge.sources.images import open_images

    return open_images(text, policy=policy, stop=stop, options=options)


def _video(text: str, *, policy: Policy, stop: threading.Event, options: SourceOptions) -> Source:
    from edge.sources.video.video import open_video

    return open_video(text, policy=policy, stop=stop, options=options)


def _image_files(text: str) -> list[Path]:
    from edge.sources.images import find_images

    return find_images(text)


def _pipeline_files(text: str) -> list[Path]:
    from edge.sources.gst.text import named_files

    return named_files(text)


IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Suffixes of the pictures taken from a folder, lower case."""


def _is_images(text: str) -> bool:
    if "://" in text:
        return False
    path = os.path.expanduser(text)
    if os.path.exists(path):  # unlike Path.exists it does not raise where a folder is closed to us
        return os.path.isdir(path) or path.lower().endswith(IMAGE_SUFFIXES)
    return text.endswith("/") or bool(re.search(r"[*?\[]", text))


def _is_file(text: str) -> bool:
    """Whether the text is a path: it exists, or looks like one that should."""
    if "://" in text or "\0" in text or re.match(r"(?i)(rtsps?|https?):", text):
        return False
    suffix = re.search(r"\.[A-Za-z0-9]{2,5}$", text)
    return "/" in text or suffix is not None or os.path.exists(text)


SOURCES: dict[str, SourceKind] = {
    "synthetic": SourceKind(
        lambda t: t.partition(":")[0] == "synthetic", "synthetic:960x540@30", _synthetic
    ),
    "camera": SourceKind(
        lambda t: t.startswith(("camera:", "/dev/video", "/dev/v4l/")), "camera:0", _camera
    ),
    "csi": SourceKind(lambda t: t.startswith("csi:"), "csi:0", _csi),
    "gst": SourceKind(lambda t: t.startswith("gst:"), "'gst:PIPELINE'", _gst, _pipeline_files),
    "stream": SourceKind(
        lambda t: re.match(r"(?i)(rtsps?|https?)://[^/\s]", t) is not None,
        "rtsp://HOST/PATH",
        _stream,
    ),
    "images": SourceKind(_is_images, "FOLDER", _images, _image_files),
    "video": SourceKind(
        _is_file, "VIDEO.mp4", _video, lambda text: [Path(os.path.expanduser(text))]
    ),
}
"""Kinds of source by name; the first that matches a text opens it."""


def kind_of(text: str) -> str:
    """The kind in ``SOURCES`` that a text means.

    Raises:
        SettingsError: it means none of them.
    """
    for name, kind in SOURCES.items():
        if kind.matches(text):
            return name
    raise SettingsError(
        f"source {redact(text)!r}: not a source{_suggestion(text)}; wanted "
        + ", ".join(kind.example for kind in SOURCES.values())
        + ", or a glob such as 'frames/*.png'"
    )


def source_files(text: str) -> list[Path]:
    """The files that a source reads; of one that cannot be opened, those that can be told."""
    try:
        return list(SOURCES[kind_of(text)].files(text))
    except (SettingsError, SourceError):
        return []


def open_source(
    text: str,
    *,
    policy: Policy,
    stop: threading.Event,
    options: SourceOptions | None = None,
) -> Source:
    """Open what ``--source`` names.

    Args:
        text: a kind's text, see ``SOURCES``.
        policy: 'drop' plays files and folders at their own pace, 'wait' reads on demand, 'auto' is
            'drop' for what is live and 'wait' for the rest.
        stop: when set, ``read()`` returns None soon and an opening is given up with SourceError;
            who set it knows that this is no failure.
        options: deadlines, orientation, seed.

    Raises:
        SettingsError: the text is none of the kinds.
        SourceError: it cannot be opened.
    """
    options = options or SourceOptions()
    source = SOURCES[kind_of(text)].open(text, policy=policy, stop=stop, options=options)
    if options.rotate_deg == 0 and options.flip == "none":
        return source
    from edge.sources.orient import Oriented

    return Oriented(source, options)


def _suggestion(text: str) -> str:
    """What a text that is no source was probably meant to be."""
    if text.isdigit():
        return f", did you mean camera:{text}?"
    if text.startswith("file://"):
        return f", did you mean {text.removeprefix('file://')}?"
    if re.fullmatch(r"video\d+", text):
        return f", did you mean /dev/{text}?"
    head, _, tail = text.partition(":")
    close = get_close_matches(
        head.lower(), ["synthetic", "camera", "csi", "gst", "rtsp", "rtsps", "http", "https"], n=1
    )
    if not close:
        return ""
    if close[0] in ("synthetic", "camera", "csi", "gst"):
        meant = close[0] + (":" + tail if tail else "")
    else:
        meant = f"{close[0]}://{tail.lstrip('/') or 'HOST/PATH'}"
    return f", did you mean {redact(meant)}?"
