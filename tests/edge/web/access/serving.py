"""A server of the page's kind in the test's own process, with an application of the test's own."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

from starlette.types import ASGIApp

from edge.web.address import Address, listen
from edge.web.server import Server
from tests.edge.web.access.stranger import DEADLINE_S


@dataclass(frozen=True, slots=True)
class Serving:
    """Where it is, and the server itself."""

    port: int
    server: Server

    def connect(self) -> socket.socket:
        """A connection to it."""
        return socket.create_connection(("127.0.0.1", self.port), DEADLINE_S)


@contextlib.contextmanager
def serving(app: ASGIApp, tls: ssl.SSLContext | None = None) -> Iterator[Serving]:
    """Serve ``app`` until the end of the block."""
    listening = listen(Address("127.0.0.1", 0))
    server = Server(listening)
    server.start(app, tls)
    try:
        yield Serving(listening.getsockname()[1], server)
    finally:
        server.close()
