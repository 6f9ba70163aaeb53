"""What is served where: the table of routes; each endpoint stands in a file of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from edge.web.access.answers import Refusal
from edge.web.access.guard import Guard
from edge.web.access.login import Login
from edge.web.access.rules import Access
from edge.web.api import change, clip, healthz, snapshot, status
from edge.web.history import History, history
from edge.web.live import Live
from edge.web.prometheus import metrics, registry_of

if TYPE_CHECKING:
    from edge.run.view import RunView
    from edge.telemetry.telemetry import Telemetry

STATIC = Path(__file__).resolve().parent / "static"


def build(run: RunView, access: Access, live: Live, kept: History, telemetry: Telemetry) -> ASGIApp:
    """The application of one run, for those whom ``access`` lets in."""
    login = Login(access)
    app = Starlette(
        routes=routes_of(login, live),
        exception_handlers={Refusal: _refuse, HTTPException: _unknown},
    )
    # No route: it would take what an endpoint of the same path has no method for.
    app.router.default = StaticFiles(directory=STATIC, html=True)
    app.router.redirect_slashes = False
    app.state.run, app.state.live = run, live
    app.state.history, app.state.telemetry = kept, telemetry
    app.state.metrics = registry_of(run, telemetry)
    return Guard(app, access, login)


def routes_of(login: Login, live: Live) -> list[BaseRoute]:
    """Each endpoint's place, beside the files of the page; docs/openapi.json describes them."""
    return [
        Route("/api/status", status),
        Route("/api/history", history),
        Route("/api/snapshot.jpg", snapshot),
        Route("/api/settings", change, methods=["POST"]),
        Route("/api/clip", clip, methods=["POST"]),
        Route("/healthz", healthz),
        Route("/login", login.page),
        Route("/login", login.enter, methods=["POST"]),
        Route("/logout", login.leave, methods=["POST"]),
        Route("/metrics", metrics, middleware=[Middleware(GZipMiddleware)]),
        *live.routes,
    ]


def _unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    got = f"{request.method} {request.url.path}"
    words = {404: "nothing is there", 405: "that is not done there"}
    said = words.get(error.status_code, error.detail)
    return Refusal(
        error.status_code, f"got {got}: {said}; docs/openapi.json has all there is", error.headers
    ).answer()


def _refuse(_: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)
    return refusal.answer()
