"""Bodies that do not come to their end, and a run that does not answer."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edge.web import api
from edge.web.access import answers
from edge.web.access.answers import Refusal
from edge.web.access.guard import Guard
from edge.web.access.login import Login
from edge.web.access.rules import Access
from tests.edge.web.access.serving import serving
from tests.edge.web.access.stranger import hear

HEAD = (
    b"POST /api/settings HTTP/1.1\r\nHost: localhost\r\nX-Outrider: 1\r\n"
    b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n"
)


class DeafRun:
    """A run that takes no change, and what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[Future[None]] = []

    def change(self, values: Mapping[str, Any]) -> Future[None]:
        self.asked.append(Future())
        return self.asked[-1]


@pytest.fixture
def deaf() -> DeafRun:
    return DeafRun()


@pytest.fixture
def connection(deaf: DeafRun) -> Iterator[socket.socket]:
    async def refuse(_: Request, refusal: Exception) -> Response:
        assert isinstance(refusal, Refusal)
        return refusal.answer()

    route = Route("/api/settings", api.change, methods=["POST"])
    app = Starlette(routes=[route], exception_handlers={Refusal: refuse})
    app.state.run = deaf
    access = Access(None, None, frozenset({"localhost"}))
    with serving(Guard(app, access, Login(access))) as here, here.connect() as opened:
        yield opened


def test_a_body_that_does_not_come_is_not_waited_for(
    connection: socket.socket, deaf: DeafRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "_BODY_S", 0.2)
    connection.sendall(HEAD + b"{")
    heard = hear(connection)
    assert (heard.status, heard.headers["connection"]) == (408, "close")
    assert heard.body == '{"error":"the body did not come within 0.2 s"}'
    assert connection.recv(1) == b""
    assert deaf.asked == []


def test_a_run_that_takes_no_change_is_not_waited_for_and_takes_it_no_more(
    connection: socket.socket, deaf: DeafRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "_CHANGE_S", 0.2)
    connection.sendall(HEAD + b"{}")
    heard = hear(connection)
    assert heard.status == 503
    assert "the run did not take it within 0.2 s" in heard.body
    (asked,) = deaf.asked
    assert not asked.set_running_or_notify_cancel()


def test_a_body_that_is_announced_is_asked_for_only_where_it_is_wanted(
    connection: socket.socket,
) -> None:
    asking = HEAD.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
    connection.sendall(asking.replace(b"Length: 2", b"Length: 70000"))
    assert hear(connection).status == 413
