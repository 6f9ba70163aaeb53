"""Opens video files and URLs with PyAV within a deadline; it decodes nothing."""

from __future__ import annotations

import os
import stat
import threading
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from edge.sources.options import SourceOptions
from edge.sources.timing.opening import opened_in_time
from edge.sources.video.media import av
from engines.errors import SourceError
from engines.redact import redact

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream


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
    try:
        # "file:" keeps FFmpeg from reading a colon in the name as a protocol.
        return av.open(f"file:{os.fspath(path)}", metadata_errors="replace")
    except (av.error.FFmpegError, ValueError) as exc:
        raise SourceError(
            f"{path}: not a video that can be read ({_reason(exc)}), wanted mp4, mkv, avi or "
            "ts; if a recording was cut off before it was finished, record it again or repair it"
        ) from exc


def open_url(url: str, *, stop: threading.Event, options: SourceOptions) -> InputContainer:
    """Open a stream, or give up when the deadline has passed or ``stop`` is set.

    Name resolution cannot be interrupted, FFmpeg counts connecting and probing as two deadlines,
    and Ctrl-C must be heard meanwhile: it opens on a thread that its own deadline ends.

    Raises:
        SourceError: refused, no answer in time, not a video stream, or ``stop`` was set.
    """
    deadline_s = options.open_timeout_s
    name = redact(url)
    try:
        return opened_in_time(
            lambda: av.open(
                url,
                options=_url_options(url, deadline_s),
                timeout=(deadline_s, options.read_timeout_s),
                metadata_errors="replace",
            ),
            discard=lambda container: container.close(),
            name=name,
            stop=stop,
            deadline_s=deadline_s,
        )
    except SourceError:
        raise
    except Exception as exc:
        raise SourceError(
            redact(f"{name}: cannot be opened: {_reason(exc)}; {_url_advice(exc)}")
        ) from exc


def video_stream(container: InputContainer, *, name: str) -> VideoStream:
    """The first moving picture in the container; cover art of a song is none.

    Raises:
        SourceError: there is none, or no decoder for it.
    """
    pictures = [
        s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic
    ]
    if not pictures:
        kinds = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
        raise SourceError(
            f"{name}: no video in it (it holds {kinds}), wanted a video stream; "
            "check that it is the right one"
        )
    stream = pictures[0]
    try:
        known = stream.codec_context is not None and stream.codec_context.width > 0
    except (AttributeError, ValueError):
        known = False
    if not known:
        raise SourceError(
            f"{name}: its video cannot be decoded (codec or picture size unknown); convert it to "
            "H.264, for example: ffmpeg -i INPUT -c:v libx264 OUTPUT.mp4"
        )
    return stream


def _url_options(url: str, deadline_s: float) -> dict[str, str]:
    """FFmpeg's options for one URL."""
    # Probing may take a quarter of the deadline, FFmpeg's own 5 s at most.
    wanted = {"analyzeduration": str(int(min(5.0, deadline_s / 4) * 1e6))}
    if url.lower().startswith("rtsp"):
        # UDP loses packets without a trace; TCP delays instead, and the stream clock shows that.
        wanted["rtsp_transport"] = "tcp"
    return wanted


def _reason(exc: BaseException) -> str:
    """FFmpeg's words without the URL that PyAV adds to them."""
    return str(getattr(exc, "strerror", None) or type(exc).__name__)


def _url_advice(exc: Exception) -> str:
    if isinstance(exc, av.error.HTTPUnauthorizedError | av.error.HTTPForbiddenError):
        return "wanted a login that it accepts; write it as SCHEME://USER:PASSWORD@HOST/..."
    if isinstance(exc, av.error.HTTPNotFoundError):
        return "wanted an existing path; check the part after the host"
    if isinstance(exc, ConnectionRefusedError):
        return "wanted a server that listens there; check host, port and that the device is on"
    return "wanted a video stream; check the address, for example with ffprobe"


def _nearest_file(path: Path) -> str:
    """A hint at a file beside it whose name is close to the one that is missing."""
    try:
        names = [p.name for p in path.parent.iterdir()]
    except OSError:
        return f"; the folder {path.parent} is not there either: check the path"
    close = get_close_matches(path.name, names, n=1)
    return f"; did you mean {path.parent / close[0]}?" if close else "; check the path"
