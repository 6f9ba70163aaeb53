"""Real servers on 127.0.0.1 that behave well or badly, for the tests of network streams."""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

import cv2
import numpy as np

from edge.sources.video.media import av
from tests.edge.media_files import level

Handler = Callable[[socket.socket, threading.Event], None]
OK = b"HTTP/1.1 200 OK\r\n"


@contextlib.contextmanager
def served(handler: Handler, port: int = 0) -> Iterator[int]:
    """A server that hands each connection to ``handler(connection, over)``; gives its port."""
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", port))
    threads: list[threading.Thread] = []

    def handle(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            handler(connection, over)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                thread = threading.Thread(target=handle, args=(connection,))
                thread.start()
                threads[:] = [t for t in threads if t.is_alive()] + [thread]

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        over.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in [acceptor, *threads]:
            thread.join(10)


def closed_port() -> int:
    """A port of this machine at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def silent(connection: socket.socket, over: threading.Event) -> None:
    """Accept and never answer."""
    over.wait(30)


def answering(status: str, body: bytes = b"") -> Handler:
    """One HTTP answer."""

    def handle(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode() + body)

    return handle


def then_silent(content_type: str, body: bytes) -> Handler:
    """A header and some of a stream, then nothing more."""

    def handle(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(OK + f"Content-Type: {content_type}\r\n\r\n".encode() + body)
        over.wait(30)

    return handle


def then_closed(content_type: str, body: bytes) -> Handler:
    """A stream that its sender ends."""

    def handle(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(OK + f"Content-Type: {content_type}\r\n\r\n".encode() + body)

    return handle


def endless_mjpeg(*, fps: float, frames: int | None = None) -> Handler:
    """Motion JPEG as cameras serve it: a picture per part, without timestamps.

    After ``frames`` it sends nothing more.
    """
    kind = "multipart/x-mixed-replace; boundary=frame"
    return paced(kind, itertools.islice(map(mjpeg_part, itertools.count()), frames), fps=fps)


def paced(content_type: str, pieces: Iterable[bytes], *, fps: float, ends: bool = False) -> Handler:
    """A stream without a length, a piece at a time; then silent or closed."""
    kept = list(pieces) if ends else pieces

    def handle(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(OK + f"Content-Type: {content_type}\r\n\r\n".encode())
        for piece in kept:
            if over.wait(1 / fps):
                return
            connection.sendall(piece)
        if not ends:
            over.wait(30)

    return handle


def jpeg(number: int) -> bytes:
    """A flat picture of that number."""
    image = np.full((48, 64, 3), level(number % 25), np.uint8)
    return cv2.imencode(".jpg", image)[1].tobytes()


def mjpeg_part(number: int) -> bytes:
    """One part of a Motion JPEG answer."""
    picture = jpeg(number)
    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
    return head.encode() + picture + b"\r\n"


def files(folder: Path) -> Handler:
    """A plain web server that knows byte ranges, as a video with its index at the end needs."""

    def handle(connection: socket.socket, over: threading.Event) -> None:
        with connection.makefile("rb") as requests:
            while line := requests.readline():
                name = line.split()[1].decode().strip("/").partition("?")[0]
                start = 0
                while (header := requests.readline().strip()) != b"":
                    if header.lower().startswith(b"range: bytes="):
                        start = int(header.partition(b"=")[2].partition(b"-")[0])
                data = (folder / name).read_bytes()
                body = data[start:]
                head = (
                    "HTTP/1.1 206 Partial Content\r\nAccept-Ranges: bytes\r\n"
                    f"Content-Range: bytes {start}-{len(data) - 1}/{len(data)}\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n"
                )
                connection.sendall(head.encode() + body)

    return handle


def transport_stream(count: int) -> bytes:
    """An MPEG transport stream of flat frames at 25 fps."""
    target = io.BytesIO()
    with av.open(target, "w", format="mpegts") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        assert isinstance(stream, av.video.stream.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.options = {"bf": "0"}
        for number in range(count):
            image = np.full((48, 64, 3), level(number % 25), np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return target.getvalue()


def rtsp(
    *,
    frames: int,
    fps: float,
    lose: range = range(0),
    by_tcp: str = "sends",
    units: list[list[bytes]] | None = None,
) -> Handler:
    """An RTSP camera (RFC 2326) with H.264 over its TCP connection (RFC 6184), then silence.

    Frames in ``lose`` are never sent. Asked for TCP it 'sends', is 'silent', or answers with a
    status of refusal; asked for UDP it sends. ``units`` are coded pictures other than its own.
    """
    units = units or [h264_frame(number) for number in range(frames)]
    sdp = (
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=cam\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
        "a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:track1\r\n"
    )

    def handle(connection: socket.socket, over: threading.Event) -> None:
        with (
            connection.makefile("rb") as requests,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        ):
            send(connection, over, cast("BinaryIO", requests), datagrams)

    def send(
        connection: socket.socket,
        over: threading.Event,
        requests: BinaryIO,
        datagrams: socket.socket,
    ) -> None:
        playing, status, port = False, "200 OK", 0
        while not playing:
            verb = requests.readline().partition(b" ")[0].decode()
            if not verb:
                return
            headers = {}
            while (line := requests.readline().strip()) != b"":
                key, _, value = line.decode().partition(":")
                headers[key.lower()] = value.strip()
            extra, body = "", ""
            if verb == "OPTIONS":
                extra = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
            elif verb == "DESCRIBE":
                extra, body = "Content-Type: application/sdp\r\n", sdp
            elif verb == "SETUP":
                wanted = re.search(r"client_port=(\d+)-(\d+)", headers["transport"])
                transport = "RTP/AVP/TCP;unicast;interleaved=0-1"
                port = int(wanted[1]) if wanted else 0
                if wanted:
                    transport = f"RTP/AVP;unicast;{wanted[0]};server_port=6970-6971"
                elif by_tcp not in ("sends", "silent"):
                    status = by_tcp
                extra = f"Session: 1\r\nTransport: {transport}\r\n"
            elif verb == "PLAY":
                extra, playing = "Session: 1\r\n", True
            answer = f"RTSP/1.0 {status}\r\nCSeq: {headers['cseq']}\r\n{extra}"
            connection.sendall(f"{answer}Content-Length: {len(body)}\r\n\r\n{body}".encode())
            status = "200 OK"
        if by_tcp == "silent" and not port:
            over.wait(30)
        sequence = 0
        for number, nals in enumerate(units):
            if number not in lose:
                for i, nal in enumerate(nals):
                    last = i == len(nals) - 1
                    stamp = 90_000 + round(number * 90_000 / fps)  # FFmpeg takes 0 for unknown
                    head = struct.pack(">BBHII", 0x80, 96 | last << 7, sequence, stamp, 7)
                    if port:
                        datagrams.sendto(head + nal, ("127.0.0.1", port))
                    else:
                        framed = struct.pack(">cBH", b"$", 0, 12 + len(nal)) + head + nal
                        connection.sendall(framed)
                    sequence += 1
            if over.wait(1 / fps):
                return
        over.wait(30)

    return handle


def h264_frame(number: int) -> list[bytes]:
    """One picture, decodable by itself, as H.264 NAL units without start codes."""
    return h264_units(range(number, number + 1), key_every=1)[0]


def h264_units(numbers: range, *, key_every: int) -> list[list[bytes]]:
    """The NAL units of each picture; those of a key frame begin with its parameters."""
    codec = av.CodecContext.create("libx264", "w")
    assert isinstance(codec, av.VideoCodecContext)
    codec.width, codec.height, codec.pix_fmt = 64, 48, "yuv420p"
    codec.framerate = 25  # type: ignore[assignment]  # PyAV takes whole numbers too
    keys = f"keyint={key_every}:min-keyint={key_every}:scenecut=0"
    more = f"repeat-headers=1:info=0:annexb=1:{keys}"
    codec.options = {"tune": "zerolatency", "x264-params": more}
    packets = []
    for number in numbers:
        image = np.full((48, 64, 3), level(number % 25), np.uint8)
        packets += codec.encode(av.VideoFrame.from_ndarray(image, format="bgr24"))
    packets += codec.encode(None)
    return [
        [nal.rstrip(b"\0") for nal in bytes(p).split(b"\0\0\1") if nal.strip(b"\0")]
        for p in packets
    ]
