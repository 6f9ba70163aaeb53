"""All that one needs to look: the pictures, each way to them and its place on the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.routing import BaseRoute, Route, WebSocketRoute

from edge.web.h264 import H264
from edge.web.mjpeg import MotionJpeg
from edge.web.pictures import Pictures
from edge.web.viewers import Seats

if TYPE_CHECKING:
    from edge.settings.settings import WebSettings


class Live:
    """The live picture, within the bounds of ``web``.

    ``call`` has something done on the server's loop.

    Attributes:
        pictures: take what is to be shown.
        routes: what is served of them.
    """

    def __init__(self, web: WebSettings, call: Callable[[Callable[[], None]], None]) -> None:
        seats = Seats(web.max_viewers)
        self.mjpeg = MotionJpeg(seats, call)
        self.h264 = H264(seats, call, fps=web.max_fps)
        ways = (self.mjpeg, self.h264)
        self.pictures = Pictures(ways, fps=web.max_fps, longest=web.max_side_px)
        self.routes: list[BaseRoute] = [
            Route("/stream.mjpeg", self.mjpeg, methods=["GET"]),
            WebSocketRoute("/stream.h264", self.h264.serve),
        ]
