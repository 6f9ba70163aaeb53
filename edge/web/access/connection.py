"""One connection to the page, cut when it is one too many or too slow; others answer it."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST = 128
"""Connections in all: a browser has six of its own, a viewer's picture one of them."""
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
        """Read on, until a request is whole."""
        try:
            super().data_received(data)
        except h11.LocalProtocolError:  # nonsense behind a request that is being answered
            self.transport.abort()
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """Wait for the next request, if it has not come yet."""
        self._stop_waiting()
        super().on_response_complete()
        if not self.transport.is_closing() and self.cycle.response_complete:
            self._await_request()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand it over, with its first lines complete."""
        self._stop_waiting()
        super().handle_websocket_upgrade(event)

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
