"""What is served where: the table of routes; each endpoint stands in a file of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from edge.web.api import status
from edge.web.history import History, history
from edge.web.live import MotionJpeg
from edge.web.pictures import Pictures
from edge.web.viewers import Newest

if TYPE_CHECKING:
    from edge.run.view import RunView

STATIC = Path(__file__).resolve().parent / "static"


def build(run: RunView, pictures: Pictures, newest: Newest, kept: History) -> Starlette:
    """The application of one run."""
    app = Starlette(
        routes=[
            Route("/api/status", status),
            Route("/api/history", history),
            Route("/stream.mjpeg", MotionJpeg(pictures, newest)),
            Mount("/", StaticFiles(directory=STATIC, html=True)),
        ]
    )
    app.state.run, app.state.history = run, kept
    return app
