"""What is answered to who may not, and how much of a request is read before."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse

MOST_BYTES = 64 * 1024
"""Of a request's body; a change of all settings is 1 KiB."""
_BODY_S = 10.0


class Refusal(Exception):
    """One request is not done; ``error`` says why, and what was wanted."""

    def __init__(self, status: int, error: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(error)
        self.status = status
        self._headers = dict(headers or {})

    def answer(self) -> JSONResponse:
        """As all errors of the page's API look."""
        error = str(self).encode(errors="backslashreplace").decode()  # JSON may hold half a sign
        return JSONResponse({"error": error}, self.status, self._headers)


def too_long() -> Refusal:
    """For a body that is not read to its end."""
    return Refusal(413, f"got a longer body, wanted {MOST_BYTES} bytes or less")


def too_many(what: str, wait_s: float) -> Refusal:
    """For who asks too often."""
    after = {"Retry-After": str(int(wait_s) + 1)}
    return Refusal(429, f"too many {what} of this address; wait {int(wait_s) + 1} s", after)


async def read_body(request: Request, *, kind: str) -> bytes:
    """The whole body, which says that it is of that media type.

    Raises:
        Refusal: it is not, is too long or takes too long.
    """
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != kind:
        raise Refusal(415, f'got a Content-Type of "{given[:60]}", wanted {kind}')
    try:
        return await asyncio.wait_for(_whole(request), _BODY_S)
    except asyncio.TimeoutError:
        raise Refusal(408, f"the body did not come within {_BODY_S:g} s") from None


async def _whole(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise too_long()
    return body
