"""Connections that are too many, too slow or secured: what they get, and what is left of them."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from starlette.types import Receive, Scope, Send

from edge.web.access import connection as bounds
from tests.edge.web.access.certificates import certificates
from tests.edge.web.access.serving import serving
from tests.edge.web.access.stranger import DEADLINE_S, ask, hear
from tests.edge.web.equipment.served import Served, all_shown, served


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), DEADLINE_S)


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello"})


def test_of_200_connections_those_beyond_the_bound_are_told_and_closed(guarded: Served) -> None:
    process = psutil.Process(guarded.process.pid)
    health = f"GET /healthz HTTP/1.1\nHost: 127.0.0.1:{guarded.port}\n\n"
    until(lambda: ask(guarded, health).status == 200)
    before = process.num_fds()
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(connect(guarded.port)) for _ in range(200)]
        refused = [hear(each) for each in opened[bounds.MOST :]]
        assert {each.status for each in refused} == {503}
        assert refused[0].headers["connection"] == "close"
        assert refused[0].body == '{"error":"128 connections are open, wanted fewer"}'
        until(lambda: process.num_fds() <= before + bounds.MOST + 2)  # some of its own come and go
        opened[0].sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert hear(opened[0]).status in (200, 503)
    until(lambda: process.num_fds() <= before + 2)
    assert ask(guarded, health).status == 200


def until(holds: Callable[[], bool]) -> None:
    """Wait for what the other process does by itself."""
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


UPGRADE = "Upgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 13\n"
KEY = "Sec-WebSocket-Key: c2l4dGVlbiBvY3RldHMhIQ==\n"


@pytest.mark.parametrize(
    "begin",
    [
        "GET /stream.h264 HTTP/1.1\nContent-Length: 3\n",
        "GET /stream.h264 HTTP/1.1\nTransfer-Encoding: chunked\n",
        "POST /login HTTP/1.1\nContent-Length: 3\n",
        "POST /stream.h264 HTTP/1.1\n",
        "GET /stream.h264 HTTP/1.0\n",
    ],
)
def test_an_upgrade_that_nothing_would_answer_is_refused(guarded: Served, begin: str) -> None:
    """One that waits holds a place of the 128 for ever."""
    heard = ask(guarded, f"{begin}Host: 127.0.0.1\n{UPGRADE}{KEY}\n", body=b"tok")
    assert (heard.status, heard.headers["connection"]) == (400, "close")
    assert heard.body == '{"error":"an upgrade is a GET of HTTP/1.1 without a body"}'


def test_an_upgrade_that_is_not_answered_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "_HEAD_S", 0.3)

    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await receive()  # until the viewer is gone

    async def open_one(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await receive()

    head = f"GET / HTTP/1.1\nHost: a\n{UPGRADE}{KEY}\n".replace("\n", "\r\n").encode()
    with serving(silent) as here, here.connect() as waiting:
        waiting.sendall(head)
        assert hear(waiting).status == 0
    with serving(open_one) as here, here.connect() as taken:
        taken.sendall(head)
        assert hear(taken).status == 101
        taken.settimeout(0.6)
        with pytest.raises(TimeoutError):
            taken.recv(1)


def test_a_head_that_comes_byte_by_byte_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "_HEAD_S", 0.3)
    with serving(hello) as here, here.connect() as slow, here.connect() as silent:
        stopped = threading.Event()

        def trickle() -> None:
            with contextlib.suppress(OSError):
                for byte in b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 10_000:
                    slow.sendall(bytes([byte]))
                    if stopped.wait(0.02):
                        return

        sender = threading.Thread(target=trickle)
        sender.start()
        try:
            for each in (slow, silent):
                heard = hear(each)
                assert heard.status == 408
                assert heard.body == '{"error":"the request did not come within 0.3 s"}'
        finally:
            stopped.set()
            sender.join()


def test_a_second_request_of_a_connection_may_be_no_slower_than_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounds, "_HEAD_S", 0.3)
    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    with serving(hello) as here, here.connect() as kept:
        for _ in range(3):
            kept.sendall(request)
            assert hear(kept).body == "hello"
        kept.sendall(request[:-2])
        assert hear(kept).status == 408


def test_an_answer_that_takes_its_time_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "_HEAD_S", 0.1)
    asked, go = threading.Event(), threading.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        import asyncio

        asked.set()
        await asyncio.to_thread(go.wait)
        await hello(scope, receive, send)

    with serving(slow) as here, here.connect() as kept:
        kept.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert asked.wait(DEADLINE_S)
        threading.Timer(0.5, go.set).start()
        assert hear(kept).body == "hello"


def test_nonsense_in_a_body_whose_answer_is_under_way_ends_the_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun = threading.Event()

    async def early(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        begun.set()
        while (await receive())["type"] != "http.disconnect":
            pass

    with serving(early) as here, here.connect() as rude:
        rude.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert begun.wait(DEADLINE_S)
        rude.sendall(b"no chunk\r\n")
        with contextlib.suppress(ConnectionResetError):
            while rude.recv(4096):
                pass
    assert caplog.records == []


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Path]]:
    """A run that only those see who have a certificate, and their certificates."""
    pki = certificates(tmp_path_factory.mktemp("pki"))
    settings = pki / "car.toml"
    settings.write_text(
        '[web]\ntls_cert = "car.pem"\ntls_key = "car.key"\nclient_ca = "ca.pem"\n'
        '[source]\nuri = "synthetic:320x192@5"\n[output]\nsinks = ["web:0.0.0.0:0"]\n'
    )
    with served(settings, "--source", "synthetic:320x192@5", "--sink", "web:0.0.0.0:0") as run:
        yield run, pki
        run.stop()
    assert all_shown(run.said), run.said
    assert "Traceback" not in run.said


def status_by_tls(run: Served, context: ssl.SSLContext) -> int:
    """0 where the connection ends without an answer: in TLS 1.3 that comes after the handshake."""
    with (
        contextlib.suppress(ssl.SSLError),
        connect(run.port) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(b"GET /api/status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        return hear(connection).status
    return 0


def test_a_certificate_opens_what_is_closed_to_all_others(secured: tuple[Served, Path]) -> None:
    run, pki = secured
    assert run.url.startswith("https://")
    assert "open to those who have a certificate" in run.said
    stranger = ssl.create_default_context(cafile=str(pki / "ca.pem"))
    assert status_by_tls(run, stranger) == 0
    viewer = ssl.create_default_context(cafile=str(pki / "ca.pem"))
    viewer.load_cert_chain(pki / "viewer.pem", pki / "viewer.key")
    assert status_by_tls(run, viewer) == 200
    assert status_by_tls(run, certificate_of_another(pki)) == 0


def certificate_of_another(pki: Path) -> ssl.SSLContext:
    """A viewer with a certificate that another authority has signed."""
    folder = pki / "other"
    folder.mkdir()
    certificates(folder)
    context = ssl.create_default_context(cafile=str(pki / "ca.pem"))
    context.load_cert_chain(folder / "viewer.pem", folder / "viewer.key")
    return context


def test_plain_http_and_old_tls_get_nothing_where_there_is_tls(
    secured: tuple[Served, Path],
) -> None:
    run, _ = secured
    with connect(run.port) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        got = b""
        with contextlib.suppress(ConnectionResetError):
            while part := plain.recv(4096):
                got += part
        assert b"HTTP" not in got
