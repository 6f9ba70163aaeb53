"""The live picture without a run: a test hands pictures over and looks at what is served."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType

import cv2
import numpy as np
from starlette.applications import Starlette
from starlette.routing import BaseRoute

from edge.settings.settings import WebSettings
from edge.vision.types import Image
from edge.web.address import Address, listen
from edge.web.live import Live
from edge.web.server import Server

DEADLINE_S = 30
"""For one answer on a machine that is busy with something else."""
HOST = "127.0.0.1"
_BREAK = b"\r\n--outrider-picture\r\nContent-Type: image/jpeg\r\n\r\n"


class Shown:
    """Serves the live picture, and ``routes``, for the length of a with block."""

    def __init__(
        self,
        *,
        fps: float = 240,
        width: int = 960,
        most: int = 32,
        port: int = 0,
        routes: Sequence[BaseRoute] = (),
    ) -> None:
        listening = listen(Address(HOST, port))
        self.port: int = listening.getsockname()[1]
        self.url = f"http://{HOST}:{self.port}/"
        self.server = Server(listening)
        web = WebSettings(max_fps=fps, max_side_px=width, max_viewers=most)
        self.live = Live(web, self.server.call)
        self.pictures = self.live.pictures
        self.mjpeg = self.live.mjpeg
        self._app = Starlette(routes=[*self.live.routes, *routes])

    def __enter__(self) -> Shown:
        self.server.start(self._app, None)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End as the sink does."""
        self.pictures.close()
        self.server.close()

    def hand_over(self, image: Image) -> None:
        """Wait until one is wanted and give this one."""
        until(lambda: self.pictures.wanted)
        self.pictures.offer(image)

    def offer(self, image: Image) -> None:
        """Give this one if it is wanted, as the sink does."""
        if self.pictures.wanted:
            self.pictures.offer(image)


class Viewer:
    """One who looks at ``/stream.mjpeg`` over a socket, with nothing between."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection(HOST, port, timeout=DEADLINE_S)
        self._connection.request("GET", "/stream.mjpeg")
        self.answer = self._connection.getresponse()
        self._rest = b"\r\n" if self.answer.status == 200 else b""

    def parts(self) -> Iterator[Image]:
        """Each picture, (H, W, 3) BGR, as soon as the head of the next part is here."""
        while block := self.answer.read1():
            *whole, self._rest = (self._rest + block).split(_BREAK)
            for one in filter(None, whole):
                shown = cv2.imdecode(np.frombuffer(one, np.uint8), cv2.IMREAD_COLOR)
                assert shown is not None
                yield shown.astype(np.uint8)

    def next(self) -> Image:
        """The next picture."""
        return next(self.parts())

    def close(self) -> None:
        """Leave."""
        self.answer.close()
        self._connection.close()


@contextlib.contextmanager
def handing_over(hand_over: Callable[[int], None], *, fps: float = 30) -> Iterator[None]:
    """Call a function with 0, 1, 2 ... at that rate, on a thread of its own, until the end."""
    stop = threading.Event()

    def hand_all() -> None:
        number, due = 0, time.monotonic()
        while not stop.wait(max(0, due - time.monotonic())):
            hand_over(number)
            number += 1
            due += 1 / fps

    thread = threading.Thread(target=hand_all)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(DEADLINE_S)


def until(holds: Callable[[], object]) -> None:
    """Wait for what another thread brings about.

    Raises:
        AssertionError: it did not.
    """
    end = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < end, "it never held"
        threading.Event().wait(0.002)


def grey(value: int, wh: tuple[int, int] = (64, 48)) -> Image:
    """A picture of one grey, which a JPEG keeps to within 2."""
    return np.full((wh[1], wh[0], 3), value, np.uint8)
