"""Network streams as a source: which texts mean one, and connecting in time; it decodes nothing."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import re
import shutil
import subprocess
import threading
from urllib.parse import urlsplit

from edge.sources.base import OpenedSource, SourceKind
from edge.sources.options import Policy, SourceOptions
from edge.sources.password import with_password
from edge.sources.timing.opening import late
from edge.sources.timing.pacing import Pacer
from engines.errors import SourceError
from engines.redact import redact


def open_stream(
    text: str, *, policy: Policy, stop: threading.Event, options: SourceOptions
) -> OpenedSource:
    """Open an rtsp or http URL; it is live unless it is http with a duration.

    FFmpeg counts connecting and probing as two deadlines, and no deadline ends name resolution:
    whoever calls watches the clock.

    Raises:
        SourceError: refused, no answer in time, or not a video stream.
    """
    from edge.sources.video.media import av, reason
    from edge.sources.video.video import VideoSource

    name, deadline_s = redact(text), options.open_timeout_s
    _resolve(text, name, deadline_s)
    if options.password_file is not None:
        text = with_password(text, options.password_file)
    try:
        container = av.open(
            text,
            options=_url_options(text, deadline_s),
            timeout=(deadline_s, _silence_s(text, options)),
            metadata_errors="replace",
        )
    except Exception as exc:
        raise SourceError(
            redact(f"{name}: cannot be opened: {reason(exc)}; {_url_advice(exc)}")
        ) from exc
    live = text.lower().startswith("rtsp") or container.duration is None
    pacer = Pacer(stop) if policy == "drop" and not live else None
    return VideoSource(container, name=name, live=live, pacer=pacer, stop=stop, options=options)


def _silence_s(url: str, options: SourceOptions) -> float:
    """How long FFmpeg may wait for a packet: of HLS and DASH the next segment is seconds away."""
    segmented = re.search(r"(?i)\.(m3u8?|mpd)($|[?;#&/])", url) is not None
    return options.read_timeout_s + (options.max_delay_s if segmented else 0.0)


def _resolve(url: str, name: str, deadline_s: float) -> None:
    """See that the host's name is known, in a process that can be ended.

    Nothing ends the C library's own wait for name servers that do not answer: 40 s with two of them
    and a search domain, in which no other attempt could begin.

    Raises:
        SourceError: it is not known, or nobody answers in time.
    """
    host, asks = "", shutil.which("getent")
    with contextlib.suppress(ValueError):  # no URL at all, which FFmpeg says better
        host = urlsplit(url).hostname or ""
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host)
        return
    if asks is None or not host:
        return
    try:
        done = subprocess.run([asks, "ahosts", host], capture_output=True, timeout=deadline_s)
    except subprocess.TimeoutExpired as exc:
        raise late(name, deadline_s) from exc
    if done.returncode:
        raise SourceError(
            f"{name}: cannot be opened: nobody knows the name {host}, wanted that of a host; check "
            "the name and the network"
        )


def _url_options(url: str, deadline_s: float) -> dict[str, str]:
    """FFmpeg's options for one URL."""
    # Probing may take a quarter of the deadline, FFmpeg's own 5 s at most.
    wanted = {"analyzeduration": str(int(min(5.0, deadline_s / 4) * 1e6))}
    if url.lower().startswith("rtsp"):
        # UDP loses packets without a trace; TCP delays instead, and the stream clock shows that.
        wanted["rtsp_transport"] = "tcp"
        # By three pictures FFmpeg tells the rate as well as by its usual twenty and opens sooner:
        # in 0.5 s instead of 1.1 at 25 fps, in 1.1 s instead of 2.6 at 10.
        wanted["fpsprobesize"] = "3"
    return wanted


def _url_advice(exc: Exception) -> str:
    from edge.sources.video.media import av

    if isinstance(exc, av.error.HTTPUnauthorizedError | av.error.HTTPForbiddenError):
        return (
            "wanted a login that it accepts, as in SCHEME://USER:PASSWORD@HOST/PATH, or with the "
            "password in a file, [source] password_file"
        )
    if isinstance(exc, av.error.HTTPNotFoundError):
        return "wanted an existing path; check the part after the host"
    if getattr(exc, "errno", None) == errno.EAFNOSUPPORT:
        return "wanted a network, which this service has not; edge service install opens it"
    if isinstance(exc, ConnectionRefusedError):
        return "wanted a server that listens there; check host, port and that the device is on"
    return "wanted a video stream; check the address, for example with ffprobe"


STREAM = SourceKind(
    lambda text: re.match(r"(?i)(rtsps?|https?)://[^/\s]", text) is not None,
    open_stream,
    example="rtsp://HOST/PATH",
    prefixes=("rtsp://", "rtsps://", "http://", "https://"),
    may_be_live=True,
)
