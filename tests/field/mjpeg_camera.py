"""An HTTP Motion JPEG camera for tests, with coded frames; it stalls, ends and comes back.

As a program it prints its address and serves until standard input ends.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import sys
import threading
import time
from pathlib import Path

import cv2

from tests.edge.loopback import OK, closed_port, served
from tests.field.timecode import WH, coded

ROOT = Path(__file__).resolve().parent.parent.parent


class MjpegCamera:
    """A camera at a fixed address of this machine; off until ``start``.

    Attributes:
        frames: after how many each connection is ended in order, None for never.
        stalled: set to send nothing more on connections that stay open.
        connections: how many there were.
    """

    def __init__(self, *, fps: float = 25, frames: int | None = None) -> None:
        self.port = closed_port()
        self.url = self.url_at(self.port)
        self.fps = fps
        self.frames = frames
        self.wh = WH
        self.stalled = threading.Event()
        self.connections = 0
        self._running = contextlib.ExitStack()

    @staticmethod
    def url_at(port: int) -> str:
        """Its address by way of a link at ``port``."""
        return f"http://127.0.0.1:{port}/video"

    def start(self) -> None:
        self._running.enter_context(served(self._answer, self.port))

    def stop(self) -> None:
        """End all connections and listen no more."""
        self._running.close()

    def _answer(self, connection: socket.socket, over: threading.Event) -> None:
        self.connections += 1
        connection.recv(65536)
        connection.sendall(OK + b"Content-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n")
        sent = 0
        while sent != self.frames and not over.wait(1 / self.fps):
            if not self.stalled.is_set():
                connection.sendall(_part(self.wh))
                sent += 1

    def __enter__(self) -> MjpegCamera:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _part(wh: tuple[int, int]) -> bytes:
    jpeg = cv2.imencode(".jpg", coded(time.monotonic_ns(), wh))[1].tobytes()
    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
    return head.encode() + jpeg + b"\r\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fps", type=float, default=25)
    parser.add_argument("--frames", type=int, help="after which each connection ends")
    given = parser.parse_args()
    with MjpegCamera(fps=given.fps, frames=given.frames) as camera:
        camera.start()
        print(camera.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
