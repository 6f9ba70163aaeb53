"""The live picture as a response that never ends: JPEG after JPEG (Motion JPEG)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing

from starlette.types import Message, Receive, Scope, Send

from edge.vision.types import Image
from edge.web.access.answers import Refusal
from edge.web.pictures import jpeg
from edge.web.viewers import Newest, Seats, left, until_first

_QUALITY = 80
"""JPEG's, at which text on the picture has no fringes that are seen at arm's length."""
_BOUNDARY = b"outrider-picture"
_NEXT = b"\r\n--" + _BOUNDARY + b"\r\nContent-Type: image/jpeg\r\n\r\n"
"""Ends one picture and begins the next: Chrome shows one only when it sees that."""


class MotionJpeg:
    """An ASGI endpoint: every viewer gets the newest picture when it has taken the one before.

    ``call`` has something done on the server's loop. A viewer who takes nothing is left by the
    kernel, as ``edge.web.address`` asks of it.
    """

    def __init__(self, seats: Seats, call: Callable[[Callable[[], None]], None]) -> None:
        self._seats = seats
        self._call = call
        self._newest = Newest()

    @property
    def wanted(self) -> bool:
        """Whether somebody looks."""
        return self._newest.readers > 0

    def encode(self, image: Image, at_ns: int) -> None:
        """Send all who look a picture; on the thread of the pictures."""
        part = jpeg(image, quality=_QUALITY) + _NEXT
        self._call(lambda: self._newest.put(part))

    def rest(self) -> None:
        """Nothing is kept between two pictures."""

    def close(self) -> None:
        """Send the end to all who look."""
        self._call(self._newest.close)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one viewer until it leaves or the run ends."""
        with self._seats.one() as free:
            if free:
                await self._serve(scope, receive, send)
                return
        refusal = Refusal(503, self._seats.full, {"Retry-After": "5"})
        await refusal.answer()(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [
            (b"content-type", b"multipart/x-mixed-replace; boundary=" + _BOUNDARY),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["method"] == "HEAD":
            await send(_body(b"", more=False))
        else:
            await until_first(self._send(send), left(receive))

    async def _send(self, send: Send) -> None:
        await send(_body(_NEXT[2:]))
        async with aclosing(self._newest.read()) as parts:
            async for part in parts:
                await send(_body(part))
                await send(_body(b""))  # waits until that is taken: the next is then the newest
        await send(_body(b"", more=False))


def _body(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}
