"""What is found on each frame, as server-sent events; nothing is done where nobody listens."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING

from starlette.types import Receive, Scope, Send

from edge.vision.record import as_record
from edge.web.access.answers import Refusal
from edge.web.viewers import Newest, Seats, left, until_first

if TYPE_CHECKING:
    from edge.vision.types import Result

_BEAT_S = 15.0
"""Between two signs of life where no frame comes: proxies end what is silent for a minute."""
_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would hand on 4 KiB at a time
]


class Events:
    """An ASGI endpoint: every listener gets the newest frame's when it has taken the one before.

    At most ``most`` listen; ``call`` has something done on the server's loop.
    """

    def __init__(self, most: int, call: Callable[[Callable[[], None]], None]) -> None:
        self._seats = Seats(most)
        self._call = call
        self._newest = Newest()
        self._next: deque[tuple[Result, float]] = deque(maxlen=1)

    def offer(self, result: Result, frame_age_ms: float) -> None:
        """Take one frame; the record is made on the server's thread, and once for all."""
        if self._newest.readers:
            self._next.append((result, frame_age_ms))
            self._call(self._put)

    def close(self) -> None:
        """Send the end to all who listen."""
        self._call(self._newest.close)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one listener until it leaves or the run ends."""
        with self._seats.one() as free:
            if not free:
                raise Refusal(503, self._seats.full, {"Retry-After": "5"})
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            await until_first(self._send(send), _beat(send), left(receive))

    async def _send(self, send: Send) -> None:
        async with aclosing(self._newest.read()) as events:
            async for event in events:
                await _write(send, event)
                await _write(send, b"")  # waits until that is taken: the next is then the newest
        await send({"type": "http.response.body", "body": b""})

    def _put(self) -> None:
        if not self._next:
            return  # an earlier call has taken it
        result, frame_age_ms = self._next.pop()
        record = as_record(result, frame_age_ms=frame_age_ms)
        text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
        self._newest.put(f"data: {text}\n\n".encode())


async def _beat(send: Send) -> None:
    while True:
        await _write(send, b":\n\n")
        await asyncio.sleep(_BEAT_S)


async def _write(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})
