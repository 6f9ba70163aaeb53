"""Runs the application on a thread of its own, with an event loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from edge.web.access.connection import Connection

log = logging.getLogger(__name__)

_MESSAGE_BYTES = 4096
"""Of what a viewer sends over a WebSocket: it has little to say."""
_TLS_S = 5.0
_GRACE_S = 0.15
"""At the end, in which viewers take what they were last sent."""
_CLOSE_S = 0.5
"""How long the end waits for the thread; the run's own end has 2 s."""


class _Loop(asyncio.SelectorEventLoop):
    """One that cuts connections whose TLS neither begins nor ends."""

    async def create_server(self, *args: Any, **kwargs: Any) -> asyncio.Server:
        """As asyncio's own."""
        if kwargs.get("ssl") is not None:
            kwargs["ssl_handshake_timeout"] = _TLS_S
            if sys.version_info >= (3, 11):
                kwargs["ssl_shutdown_timeout"] = _TLS_S
        return await super().create_server(*args, **kwargs)


class Server:
    """Serves at a listening socket from ``start`` to ``close``."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._server: uvicorn.Server | None = None

    @property
    def running(self) -> bool:
        """Whether it serves."""
        return self._thread is not None and self._thread.is_alive()

    def call(self, do: Callable[[], None]) -> None:
        """Have something done on the loop, from any thread; nothing once that is closed."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(do)

    def start(self, app: ASGIApp, tls: ssl.SSLContext | None) -> None:
        """Begin to serve; only with TLS where ``tls`` says how."""
        config = uvicorn.Config(
            app,
            http=Connection,
            ws="websockets-sansio",
            ws_max_size=_MESSAGE_BYTES,
            ws_per_message_deflate=False,  # pictures do not shrink
            lifespan="off",
            log_config=None,
            log_level="critical",  # it would log each malformed request
            access_log=False,
            server_header=False,
            proxy_headers=False,  # anybody may send them
        )
        config.load()
        config.ssl = tls
        self._server, self._loop = uvicorn.Server(config), _Loop()
        self._thread = threading.Thread(target=self._run, name="web server", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End all connections and the thread."""
        if self._thread is None or self._loop is None:
            self._listening.close()
            return
        self.call(self._end)
        self._thread.join(_CLOSE_S)

    def _end(self) -> None:
        assert self._server is not None
        assert self._loop is not None
        self._server.should_exit = True
        self._loop.call_later(_GRACE_S, self._abort)

    def _abort(self) -> None:
        assert self._server is not None
        for connection in list(self._server.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()  # Uvicorn would wait for who takes nothing

    def _run(self) -> None:
        assert self._server is not None
        assert self._loop is not None
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._server.serve(sockets=[self._listening]))
        except Exception:
            log.exception("the page's server has ended; the run goes on without it")
        finally:
            self._loop.close()
