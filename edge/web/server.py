"""Runs the application on a thread of its own, with an event loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette

log = logging.getLogger(__name__)

_CLOSE_S = 0.5
"""How long the end waits for the thread; the run's own end has 2 s."""


class Server:
    """Serves at a listening socket from ``start`` to ``close``."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._server: uvicorn.Server | None = None

    def call(self, do: Callable[[], None]) -> None:
        """Have something done on the loop, from any thread; nothing once that is closed."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(do)

    def start(self, app: Starlette) -> None:
        """Begin to serve."""
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=0,
        )
        self._server, self._loop = uvicorn.Server(config), asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="web server", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End all connections and the thread."""
        if self._thread is None or self._server is None:
            self._listening.close()
            return
        self._server.should_exit = True
        self._thread.join(_CLOSE_S)

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
