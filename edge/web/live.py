"""The live picture as a response that never ends: JPEG after JPEG (Motion JPEG)."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from starlette.types import Receive, Scope, Send

from edge.web.pictures import Pictures
from edge.web.viewers import Newest

_BOUNDARY = b"outrider-picture"
_NEXT = b"\r\n--" + _BOUNDARY + b"\r\nContent-Type: image/jpeg\r\n\r\n"
"""Ends one picture and begins the next: Chrome shows one only when it sees that."""
_PATIENCE_S = 10.0
"""A viewer who takes nothing for so long has left without saying so."""


class MotionJpeg:
    """An ASGI endpoint: every viewer gets the newest picture when it has taken the one before."""

    def __init__(self, pictures: Pictures, newest: Newest) -> None:
        self._pictures = pictures
        self._newest = newest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one viewer until it leaves."""
        left = asyncio.create_task(_left(receive))
        headers = [
            (b"content-type", b"multipart/x-mixed-replace; boundary=" + _BOUNDARY),
            (b"cache-control", b"no-store"),
        ]
        self._pictures.viewers += 1
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": _NEXT[2:], "more_body": True})
            async with aclosing(aiter(self._newest)) as pictures:
                async for jpeg in pictures:
                    if left.done():
                        return
                    body = {"type": "http.response.body", "body": jpeg + _NEXT, "more_body": True}
                    await asyncio.wait_for(send(body), _PATIENCE_S)
        except TimeoutError:
            return
        finally:
            self._pictures.viewers -= 1
            left.cancel()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
