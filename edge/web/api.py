"""The run's state as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from edge.run.view import RunView


async def status(request: Request) -> JSONResponse:
    """What the run is and how it is doing."""
    run: RunView = request.app.state.run
    return JSONResponse({"run": asdict(run.facts), "now": asdict(run.now())})
