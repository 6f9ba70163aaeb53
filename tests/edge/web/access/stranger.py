"""Speaks to a page byte for byte, as clients that keep to no rule do."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass

from tests.edge.web.equipment.served import Served

TOKEN = "8QmGk0cWz5uXo2LtR4sVb7Ya"
DEADLINE_S = 30


@dataclass(frozen=True, slots=True)
class Heard:
    """All that came back until the other side closed."""

    status: int
    headers: dict[str, str]
    body: str


def ask(
    run: Served, request: str | bytes, *, body: bytes = b"", source: str = "127.0.0.1"
) -> Heard:
    """Send a request as it stands, but for line ends, and hear the answer to its end.

    ``source`` is the address it comes from, any of 127.0.0.0/8.
    """
    head = request.encode() if isinstance(request, str) else request
    to = ("127.0.0.1", run.port)
    with socket.create_connection(to, DEADLINE_S, (source, 0)) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(head.replace(b"\n", b"\r\n") + body)
        return hear(connection)


def hear(connection: socket.socket) -> Heard:
    """What an open connection gives until it is closed, or its first whole answer."""
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while not _is_whole(got) and (part := connection.recv(65536)):
            got += part
    head, _, body = got.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:])
    status = int(lines[0].split()[1]) if got else 0
    return Heard(status, {name.lower(): value for name, value in headers.items()}, body.decode())


def _is_whole(got: bytes) -> bool:
    head, found, body = got.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return bool(found) and len(body) >= int(line.split(b":")[1])
    return bool(found) and head.startswith((b"HTTP/1.1 101", b"HTTP/1.1 204"))
