"""A run's state and settings as JSON, and whether frames flow; it keeps nothing."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from edge.web.access.answers import Refusal, read_body
from edge.web.access.login import cookie_of
from engines.errors import SettingsError, SinkError

if TYPE_CHECKING:
    from edge.run.view import Moment, RunView
    from edge.web.live import Live

_CHANGE_S = 2.0
"""How long a change waits for the run, which takes it between two frames."""
_SHOWN = ("detect", "overlay")
_REASON = 200
"""Characters of why a clip is kept."""


async def status(request: Request) -> JSONResponse:
    """What the run is and how it is doing."""
    run: RunView = request.app.state.run
    return JSONResponse(
        {
            "run": asdict(run.facts),
            "now": asdict(run.now()),
            "verdict": run.verdict(request.app.state.history.recent_work).as_json(),
            "recording": [asdict(recording.state()) for recording in run.recordings],
            "blurred": run.settings.output.blur,
            "settings": _settings(run),
            "machine": request.app.state.telemetry.newest.as_json(),
            "login": cookie_of(request) in request.cookies,
            "picture": request.app.state.live.ways,
        }
    )


async def change(request: Request) -> JSONResponse:
    """Change settings of what is detected and drawn, until they are read again.

    Raises:
        Refusal: a value is wrong, or the run does not take it.
    """
    run: RunView = request.app.state.run
    values = await _values(request, 'settings, such as {"detect.conf": 0.4}')
    try:
        await asyncio.wait_for(asyncio.wrap_future(run.change(values)), _CHANGE_S)
    except SettingsError as exc:
        raise Refusal(400, str(exc)) from exc
    except asyncio.TimeoutError as exc:
        error = f"the run did not take it within {_CHANGE_S:g} s: it ends, or something hangs"
        raise Refusal(503, error) from exc
    return JSONResponse(_settings(run))


async def clip(request: Request) -> JSONResponse:
    """Keep a clip of now, in each recording of the run; answers with the name that the first gave.

    Raises:
        Refusal: the reason is none, nothing records, or none keeps one.
    """
    run: RunView = request.app.state.run
    values = await _values(request, '{"reason": "why"}')
    reason = values.get("reason")
    if set(values) != {"reason"} or not isinstance(reason, str) or not 0 < len(reason) <= _REASON:
        raise Refusal(400, f'wanted {{"reason": "why"}} alone, of 1 to {_REASON} characters')
    if not reason.isprintable():
        raise Refusal(400, "reason: got a character that cannot be printed, wanted a line of text")
    recordings = run.recordings
    if not recordings:
        raise Refusal(409, "nothing records this run, wanted a sink that does: --sink record:DIR")
    names, error = [], None
    for recording in recordings:
        try:
            names.append(recording.mark(reason))
        except SinkError as exc:
            error = exc
    if not names:
        raise Refusal(503, str(error)) from error
    return JSONResponse({"clip": names[0]})


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


async def _values(request: Request, what: str) -> dict[str, Any]:
    body, wanted = await read_body(request, kind="application/json"), f"wanted an object of {what}"
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
