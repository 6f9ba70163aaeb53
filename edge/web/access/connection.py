"""One connection to the page, cut when it is one too many or too slow; others answer it."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST = 128
"""Connections in all: a browser has six of its own, a viewer's picture one of them."""
_PIECE_BYTES = 8 * 1024
"""Of a request's head h11 takes 16 KiB, and the rest of the piece."""
_HEAD_S = 10.0
"""How long the first lines of a request may take, counted from the last answer's end."""


class Connection(H11Protocol):
    """Uvicorn's own HTTP/1.1 with bounds that it has not."""

    _slow: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Take it, or answer 503 and close it."""
        super().connection_made(transport)
        if len(self.connections) > MOST:
            self._refuse("503 Service Unavailable", f"{MOST} connections are open, wanted fewer")
        else:
            self._await_request()

    def data_received(self, data: bytes) -> None:
        """Read on, in pieces: h11 asks how long a request's head is only when a piece has no end.

        What comes behind a request that is being answered is not read, and the last: it is some
        other program's, as no browser sends it.
        """
        for at in range(0, len(data), _PIECE_BYTES):
            if self._answering and self.conn.their_state is h11.DONE:
                self.cycle.keep_alive = False
                return
            try:
                super().data_received(data[at : at + _PIECE_BYTES])
            except h11.LocalProtocolError:  # nonsense in a body, while the answer is under way
                self.transport.abort()
            if self._answering:
                self._stop_waiting()
            if self.transport.is_closing() or self.transport.get_protocol() is not self:
                return

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def on_response_complete(self) -> None:
        """Wait for the next request, if it has not come yet."""
        self._stop_waiting()
        super().on_response_complete()
        if not self.transport.is_closing() and not self._answering:
            self._await_request()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand it over, with its first lines complete, and cut it where it is not answered.

        One with a body is refused: what takes it over would wait for frames and never answer.
        """
        self._stop_waiting()
        bodies = {b"content-length", b"transfer-encoding"} & {name for name, _ in event.headers}
        if event.method != b"GET" or event.http_version != b"1.1" or bodies:
            self._refuse("400 Bad Request", "an upgrade is a GET of HTTP/1.1 without a body")
            return
        transport = self.transport
        super().handle_websocket_upgrade(event)

        def cut() -> None:
            if not getattr(transport.get_protocol(), "handshake_complete", True):
                transport.abort()

        self.loop.call_later(_HEAD_S, cut)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of it."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _await_request(self) -> None:
        error = f"the request did not come within {_HEAD_S:g} s"
        self._slow = self.loop.call_later(_HEAD_S, self._refuse, "408 Request Timeout", error)

    def _stop_waiting(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None

    def _refuse(self, status: str, error: str) -> None:
        body = f'{{"error":"{error}"}}'
        self.transport.write(
            f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
            f"\r\nConnection: close\r\n\r\n{body}".encode()
        )
        self.transport.close()
