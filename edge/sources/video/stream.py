"""Network streams as a source: which texts mean one, and connecting in time; it decodes nothing."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import logging
import re
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from edge.sources.base import OpenedSource, SourceKind
from edge.sources.options import Policy, SourceOptions
from edge.sources.password import with_password
from edge.sources.timing.opening import late
from edge.sources.timing.pacing import Pacer
from engines.errors import SourceError
from engines.redact import redact

if TYPE_CHECKING:
    from av.container import InputContainer

    from edge.sources.video.ahead import Ahead

_log = logging.getLogger("edge")

_LOOK_S = 2.0
"""How long the beginning of what an HTTP server sends is looked at."""
_ONE_PICTURE = {"analyzeduration": "0", "fpsprobesize": "0"}
_ENDLESS_BYTES = 2**31 - 1
"""A length that servers state where they have none."""
_LOOK_SHARE = 0.6
"""Of the deadline, for FFmpeg's look at an RTSP stream; a stream joined between key frames may need
longer, and then goes on all the same."""
_TRANSPORTS = {"tcp": "tcp", "udp": "udp+udp_multicast"}


def open_stream(
    text: str, *, policy: Policy, stop: threading.Event, options: SourceOptions
) -> OpenedSource:
    """Open an rtsp or http URL; see ``_is_live`` for which of them are live.

    FFmpeg counts connecting and probing as two deadlines, and no deadline ends name resolution:
    whoever calls watches the clock.

    Raises:
        SourceError: refused, no answer in time, or not a video stream.
    """
    from edge.sources.video.video import VideoSource

    name = redact(text)
    until = time.monotonic() + options.open_timeout_s
    _resolve(text, name, options.open_timeout_s)
    if options.password_file is not None:
        text = with_password(text, options.password_file)
    try:
        if text.lower().startswith("rtsp"):
            connection = _open_rtsp(text, options, until)
        else:
            connection = _open_http(text, options, until)
    except Exception as exc:
        raise SourceError(
            redact(f"{name}: cannot be opened: {_said(exc)}; {_url_advice(exc, text)}")
        ) from exc
    pacer = Pacer(stop) if policy == "drop" and not connection.live else None
    playlist = connection.container.format.name == "hls" and not options.reconnect
    return VideoSource(
        connection.container,
        name=name,
        live=connection.live,
        pacer=pacer,
        stop=stop,
        options=options,
        feed=connection.feed,
        is_over=lambda: playlist and _is_over(text, options),
    )


@dataclass(frozen=True, slots=True)
class _Connection:
    container: InputContainer
    feed: Ahead
    live: bool


def _open_http(url: str, options: SourceOptions, until: float) -> _Connection:
    """Open what an HTTP server sends, looked at first: Motion JPEG goes a way of its own."""
    from edge.sources.video.ahead import Ahead
    from edge.sources.video.body import Body, BodyFile, clean_parts
    from edge.sources.video.media import av

    def timeouts_s() -> tuple[float, float]:
        return max(0.01, until - time.monotonic()), _silence_s(url, options)

    body = Body(url, timeouts_s=timeouts_s())
    endless = not 0 <= body.size < _ENDLESS_BYTES
    probe = {"analyzeduration": _probe_us(options)}
    try:
        jpeg = body.is_motion_jpeg(within_s=_LOOK_S)
        if jpeg:
            # By one picture: those of a slow camera are seconds apart.
            parts = BodyFile(clean_parts(body))
            container = av.open(parts, "r", format="mpjpeg", options=_ONE_PICTURE)
        elif endless and not body.is_text():
            # By this connection: a server may have one for everybody, or none after it.
            file = BodyFile(body.pieces(), name=urlsplit(url).path)
            container = av.open(file, "r", options=probe, metadata_errors="replace")
        else:
            body.close()
            container = av.open(
                url, "r", options=probe, timeout=timeouts_s(), metadata_errors="replace"
            )
    except BaseException as exc:
        body.close()
        raise body.failure or exc from None
    feed = Ahead(container, body=body)
    if container.duration is not None and not jpeg and not endless and not feed.begins():
        # An mp4 with its index at the end, of a server that knows no byte ranges.
        feed.close()
        container = _fetched(url, timeouts_s())
        feed = Ahead(container)
    live = _is_live(container, feed, endless=endless, reconnect=options.reconnect)
    if jpeg and live:
        feed.keep_newest()
    return _Connection(container, feed, live)


def _fetched(url: str, timeouts_s: tuple[float, float]) -> InputContainer:
    """What an HTTP server sends, opened when all of it is here."""
    from edge.sources.video.body import Body, stored
    from edge.sources.video.media import av

    body = Body(url, timeouts_s=timeouts_s)
    try:
        with stored(body) as path:
            if body.failure is not None:
                raise body.failure
            return av.open(path, "r", metadata_errors="replace")
    finally:
        body.close()


def _is_live(container: InputContainer, feed: Ahead, *, endless: bool, reconnect: bool) -> bool:
    """Whether what an HTTP server sends goes on; ``endless``: it states no length.

    It ends if its format states a duration (so does a playlist of HLS that says that it is whole)
    or its server a length. Without either it is live if it is to be opened again at its end; else
    the pace tells, see ``Ahead.is_live``.
    """
    from edge.sources.video.times import keeps_times

    if container.duration is not None:
        return False
    if container.format.name in ("hls", "dash"):  # the length is the playlist's
        return True
    return endless and (reconnect or feed.is_live(timed=keeps_times(container)))


def _open_rtsp(url: str, options: SourceOptions, until: float) -> _Connection:
    """Open an RTSP stream by TCP or, where its server does not send by that, by UDP."""
    from edge.sources.video.ahead import Ahead
    from edge.sources.video.media import av, reason

    def opened(transport: str, share: float = 1.0) -> _Connection:
        wanted = {
            "analyzeduration": _probe_us(options),
            "rtsp_transport": transport,
            # By three pictures FFmpeg tells the rate as well as by its usual twenty and opens
            # sooner: in 0.5 s instead of 1.1 at 25 fps, in 1.1 s instead of 2.6 at 10.
            "fpsprobesize": "3",
            # Of its sockets, a bit later than ours: at its own FFmpeg gives what it had kept
            # back, and that would be taken for a picture that has just come.
            "timeout": str(round((options.read_timeout_s + 0.25) * 1e6)),
        }
        within_s = max(0.01, share * (until - time.monotonic()))
        timeouts_s = within_s, options.read_timeout_s
        container = av.open(url, options=wanted, timeout=timeouts_s, metadata_errors="replace")
        return _Connection(container, Ahead(container), live=True)

    chosen = options.rtsp_transport
    # UDP loses packets without a trace; TCP delays instead, and the stream clock shows that.
    first = "udp" if chosen == "udp" else "tcp"
    by_udp_next = chosen == "auto" and not url.lower().startswith("rtsps")
    began, why = time.monotonic(), "nothing comes"
    try:
        connection = opened(_TRANSPORTS[first], _LOOK_SHARE)
        took_s, look_s = time.monotonic() - began, _LOOK_SHARE * (until - began)
        streams = connection.container.streams.video
        known = any(getattr(stream.codec_context, "width", 0) > 0 for stream in streams)
        if not by_udp_next or known or not options.read_timeout_s <= took_s < look_s:
            return connection
        connection.feed.close()
    except (av.error.ExitError, av.error.TimeoutError):
        return opened(_TRANSPORTS[first])  # it has not answered at all, so it may yet
    except av.error.FFmpegError as exc:
        # what another transport cannot help
        logins = av.error.HTTPUnauthorizedError | av.error.HTTPForbiddenError
        if not by_udp_next or isinstance(
            exc, logins | av.error.HTTPNotFoundError | ConnectionError
        ):
            raise
        why = reason(exc)
    _log.info("%s: by TCP %s; tries UDP", redact(url), why)
    return opened(_TRANSPORTS["udp"])


def _probe_us(options: SourceOptions) -> str:
    """How long FFmpeg may look: a quarter of the deadline, its own 5 s at most."""
    return str(int(min(5.0, options.open_timeout_s / 4) * 1e6))


def _silence_s(url: str, options: SourceOptions) -> float:
    """How long FFmpeg may wait for a packet: of HLS and DASH the next segment is seconds away.

    It must be back before the whole source counts as hung.
    """
    silence_s, latest_s = options.read_timeout_s, options.hang_s - options.read_timeout_s
    return max(silence_s, min(silence_s + options.max_delay_s, latest_s) if _segments(url) else 0)


def _is_over(url: str, options: SourceOptions) -> bool:
    """Whether a playlist of HLS says that it is whole: it has a length then.

    Where its server is gone FFmpeg tells the same end.
    """
    from edge.sources.video.media import av

    try:
        timeout = (options.open_timeout_s, options.read_timeout_s)
        with av.open(url, timeout=timeout, metadata_errors="replace") as container:
            return container.duration is not None
    except (av.error.FFmpegError, ValueError):
        return False


def _segments(url: str) -> str:
    """The suffix of a playlist of segments, by which its kind is known; empty for other URLs."""
    suffix = re.search(r"(?i)\.(m3u8?|mpd)($|[?;#&/])", url)
    return suffix[1].lower() if suffix else ""


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


def _said(exc: Exception) -> str:
    from edge.sources.video.media import av, reason

    return "it fell silent" if isinstance(exc, av.error.ExitError) else reason(exc)


def _url_advice(exc: Exception, url: str) -> str:
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
    if isinstance(exc, av.error.ExitError | av.error.TimeoutError):
        return "wanted data within read_timeout_s; check that the sender sends"
    if getattr(exc, "errno", None) == errno.EPROTONOSUPPORT:
        return 'wanted a server that sends like this; [source] rtsp_transport = "auto" tries all'
    if isinstance(exc, ConnectionRefusedError):
        return "wanted a server that listens there; check host, port and that the device is on"
    if _segments(url) == "mpd":
        return "no DASH is read here; wanted the same stream as HLS (.m3u8) or by RTSP"
    return "wanted a video stream; check the address, for example with ffprobe"


STREAM = SourceKind(
    lambda text: re.match(r"(?i)(rtsps?|https?)://[^/\s]", text) is not None,
    open_stream,
    example="rtsp://HOST/PATH",
    prefixes=("rtsp://", "rtsps://", "http://", "https://"),
    may_be_live=True,
)
