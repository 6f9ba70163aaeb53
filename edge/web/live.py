"""What one sees live of a run: pictures, the ways to them, what is found; and where each stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.routing import BaseRoute, Route, WebSocketRoute

from edge.web.events import Events
from edge.web.h264 import H264
from edge.web.mjpeg import MotionJpeg
from edge.web.pictures import Pictures
from edge.web.viewers import Seats

if TYPE_CHECKING:
    from edge.settings.settings import WebSettings


class Live:
    """The live picture and what is found on it, within the bounds of ``web``.

    ``call`` has something done on the server's loop.

    Attributes:
        pictures: take what is to be shown.
        events: take what is found on each frame.
        routes: what is served of them.
    """

    def __init__(self, web: WebSettings, call: Callable[[Callable[[], None]], None]) -> None:
        seats = Seats(web.max_viewers)
        self.mjpeg = MotionJpeg(seats, call)
        self.h264 = H264(seats, call, fps=web.max_fps)
        self.events = Events(web.max_viewers, call)
        ways = (self.mjpeg, self.h264)
        self.pictures = Pictures(ways, fps=web.max_fps, longest=web.max_side_px)
        self.routes: list[BaseRoute] = [
            Route("/api/events", self.events, methods=["GET"]),
            Route("/stream.mjpeg", self.mjpeg, methods=["GET"]),
            WebSocketRoute("/stream.h264", self.h264.serve),
        ]

    @property
    def ways(self) -> dict[str, bool | str]:
        """How the picture can be seen: true, or why not."""
        return {"mjpeg": True, "h264": self.h264.why_not or True}

    def close(self) -> None:
        """End all who look or listen."""
        self.pictures.close()
        self.events.close()
