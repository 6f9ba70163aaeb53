"""Video files as a source: which texts mean one, and opening it; it decodes nothing."""

from __future__ import annotations

import os
import re
import stat
import threading
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from edge.sources.base import OpenedSource, SourceKind
from edge.sources.options import Policy, SourceOptions
from edge.sources.timing.pacing import Pacer
from engines.errors import SourceError
from engines.files import text_of

if TYPE_CHECKING:
    from av.container import InputContainer


_LISTS = {".m3u8", ".m3u", ".mpd", ".ffconcat", ".concat", ".txt"}
"""Of texts that name the films to play."""


def open_video(
    text: str, *, policy: Policy, stop: threading.Event, options: SourceOptions
) -> OpenedSource:
    """Open a video file. Under 'drop' it plays at its own timestamps, else frames come on demand.

    Raises:
        SourceError: missing, unreadable, empty or not a video.
    """
    from edge.sources.video.video import VideoSource

    container = open_file(Path(os.path.expanduser(text)))
    pacer = Pacer(stop) if policy == "drop" else None
    return VideoSource(container, name=text, live=False, pacer=pacer, stop=stop, options=options)


def open_file(path: Path) -> InputContainer:
    """Open a video file.

    Raises:
        SourceError: missing, unreadable, empty, not a regular file, or not a video.
    """
    try:
        info = path.stat()
        if stat.S_ISREG(info.st_mode):  # opening a pipe would wait for its writer
            with path.open("rb"):
                pass
    except FileNotFoundError as exc:
        raise SourceError(f"{path}: no such file or folder{_nearest_file(path)}") from exc
    except OSError as exc:
        raise SourceError(
            f"{path}: cannot be read: {exc.strerror}; check its owner and rights (ls -l)"
        ) from exc
    if not stat.S_ISREG(info.st_mode):
        raise SourceError(f"{path}: not a regular file, wanted a video file; save the video first")
    if info.st_size == 0:
        raise SourceError(f"{path}: the file is empty, wanted a video; copy or record it again")
    from edge.sources.video.media import av, reason

    try:
        # "file:" keeps FFmpeg from reading a colon in the name as a protocol.
        return av.open(f"file:{os.fspath(path)}", metadata_errors="replace")
    except (av.error.FFmpegError, ValueError) as exc:
        raise SourceError(
            f"{path}: not a video that can be read ({reason(exc)}), wanted mp4, mkv, avi or "
            "ts; if a recording was cut off before it was finished, record it again or repair it"
        ) from exc


def _nearest_file(path: Path) -> str:
    """A hint at a file beside it whose name is close to the one that is missing."""
    try:
        names = [p.name for p in path.parent.iterdir()]
    except OSError:
        return f"; the folder {path.parent} is not there either: check the path"
    close = get_close_matches(path.name, names, n=1)
    return f"; did you mean {path.parent / close[0]}?" if close else "; check the path"


def _is_file(text: str) -> bool:
    """Whether the text is a path: it exists, or looks like one that should."""
    if "://" in text or "\0" in text or re.match(r"(?i)(rtsps?|https?):", text):
        return False
    suffix = re.search(r"\.[A-Za-z0-9]{2,5}$", text)
    return "/" in text or suffix is not None or os.path.exists(text)


def _files(path: Path) -> Iterator[Path]:
    """The file itself, and the films that it names where it is a list of such."""
    yield path
    if path.suffix.lower() in _LISTS:
        for word in re.split(r"[\s\"'<>]+", text_of(path)):
            if word and os.path.isfile(path.parent / word):
                yield path.parent / word


VIDEO = SourceKind(
    _is_file,
    open_video,
    example="VIDEO.mp4",
    corrections=((r"file://(.*)", r"\1"),),
    is_path=True,
    files=lambda text: _files(Path(os.path.expanduser(text))),
)
