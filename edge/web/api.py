"""A run's state and settings as JSON, and whether frames flow; it keeps nothing."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from edge.web.access.answers import Refusal, read_body
from edge.web.access.login import COOKIE
from engines.errors import SettingsError, SinkError

if TYPE_CHECKING:
    from edge.run.view import Moment, RunView
    from edge.web.live import Live

_CHANGE_S = 2.0
"""How long a change waits for the run, which takes it between two frames."""
_SHOWN = ("detect", "overlay")


async def status(request: Request) -> JSONResponse:
    """What the run is and how it is doing."""
    run: RunView = request.app.state.run
    return JSONResponse(
        {
            "run": asdict(run.facts),
            "now": asdict(run.now()),
            "settings": _settings(run),
            "machine": request.app.state.telemetry.newest.as_json(),
            "login": COOKIE in request.cookies,
            "picture": request.app.state.live.ways,
        }
    )


async def change(request: Request) -> JSONResponse:
    """Change settings of what is detected and drawn, until they are read again.

    Raises:
        Refusal: a value is wrong, or the run does not take it.
    """
    run: RunView = request.app.state.run
    values = _values(await read_body(request, kind="application/json"))
    try:
        await asyncio.wait_for(asyncio.wrap_future(run.change(values)), _CHANGE_S)
    except SettingsError as exc:
        raise Refusal(400, str(exc)) from exc
    except asyncio.TimeoutError as exc:
        error = f"the run did not take it within {_CHANGE_S:g} s: it ends, or something hangs"
        raise Refusal(503, error) from exc
    return JSONResponse(_settings(run))


async def snapshot(request: Request) -> Response:
    """The next picture in full size, with its overlay.

    Raises:
        Refusal: none came in time.
    """
    live: Live = request.app.state.live
    try:
        jpeg = await live.pictures.snapshot()
    except SinkError as exc:
        raise Refusal(503, str(exc)) from exc
    return Response(jpeg, media_type="image/jpeg")


async def healthz(request: Request) -> JSONResponse:
    """Whether frames flow, for whoever asks, and if not, the source's state; nothing else."""
    run: RunView = request.app.state.run
    now = run.now()
    if now.flowing:
        return JSONResponse({"flowing": True})
    return JSONResponse({"flowing": False, "reason": _why(now)}, 503)


def _settings(run: RunView) -> dict[str, Any]:
    return run.settings.model_dump(mode="json", include=set(_SHOWN))


def _values(body: bytes) -> dict[str, Any]:
    wanted = 'wanted an object of settings, such as {"detect.conf": 0.4}'
    try:
        values = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as exc:
        raise Refusal(400, f"got no JSON: {exc}; {wanted}") from exc
    if not isinstance(values, dict):
        raise Refusal(400, f"got JSON of another kind; {wanted}")
    return values


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")


def _why(now: Moment) -> str:
    state = "" if now.status is None else f"the source is {now.status.state}, "
    silent = "no frame yet" if now.age_ms is None else f"no frame for {now.silent_s:.0f} s"
    return state + silent
