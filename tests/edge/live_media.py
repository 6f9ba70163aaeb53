"""A live transport stream from a real server: by HLS, in bursts or smoothly."""

from __future__ import annotations

import io
import socket
import threading
import time
from itertools import pairwise

import numpy as np

from edge.sources.video.media import av
from tests.edge.loopback import OK, Handler
from tests.edge.media_files import level

FPS = 25


def pieces(count: int, *, first: int = 0) -> list[bytes]:
    """A transport stream that begins with a key frame, cut behind each of its frames.

    A flat frame's level tells its number modulo 25; its time is ``first`` + number periods.
    """
    target, cut = io.BytesIO(), [0]
    with av.open(target, "w", format="mpegts", options={"flush_packets": "1"}) as container:
        stream = container.add_stream("libx264", rate=FPS)
        assert isinstance(stream, av.video.stream.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.options = {"tune": "zerolatency", "preset": "ultrafast", "g": str(FPS)}
        for number in range(first, first + count):
            image = np.full((48, 64, 3), level(number % 25), np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts = number
            container.mux(stream.encode(frame))
            cut.append(target.tell())
        container.mux(stream.encode(None))
    data = target.getvalue()
    cut[-1] = len(data)
    return [data[a:b] for a, b in pairwise(cut)]


def hls(*, segments: int) -> Handler:
    """A playlist that grows by a segment of a second each second, and ends a second after the last.

    The first is there at the first request.
    """
    media = [b"".join(pieces(FPS, first=FPS * n)) for n in range(segments)]
    began: list[float] = []

    def handle(connection: socket.socket, over: threading.Event) -> None:
        name = connection.recv(65536).split()[1].decode().strip("/")
        if not began:
            began.append(time.monotonic())
        there = 1 + int(time.monotonic() - began[0])
        body = media[int(name[1:-3])] if name.endswith(".ts") else _playlist(there, segments)
        head = f"Content-Length: {len(body)}\r\nContent-Type: application/octet-stream\r\n"
        connection.sendall(OK + head.encode() + b"Connection: close\r\n\r\n" + body)

    return handle


def _playlist(there: int, segments: int) -> bytes:
    lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:1", "#EXT-X-MEDIA-SEQUENCE:0"]
    for n in range(min(there, segments)):
        lines += ["#EXTINF:1.0,", f"s{n}.ts"]
    lines += ["#EXT-X-ENDLIST"] if there > segments else []
    return "\n".join([*lines, ""]).encode()


def relay(*, frames: int, burst: int) -> Handler:
    """A transport stream over HTTP, ``burst`` frames at a time, when the last of them was taken."""
    media = pieces(frames)

    def handle(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(OK + b"Content-Type: video/mp2t\r\n\r\n")
        began = time.monotonic()
        for number in range(0, frames, burst):
            if over.wait(max(0.0, began + (number + burst) / FPS - time.monotonic())):
                return
            connection.sendall(b"".join(media[number : number + burst]))
        over.wait(30)

    return handle
