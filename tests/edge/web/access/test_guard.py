"""The page as a stranger meets it: asked in a wrong way, from elsewhere, without the token."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from edge.web.access.guard import Guard
from edge.web.access.login import Login
from edge.web.access.rules import Access
from tests.edge.web.access.serving import serving
from tests.edge.web.access.stranger import TOKEN, Heard, ask, hear
from tests.edge.web.equipment.served import Served, served

HOST = "Host: 127.0.0.1\n"
BEARER = f"Authorization: Bearer {TOKEN}\n"
JSON = "Content-Type: application/json\n"
CHANGE = f"POST /api/settings HTTP/1.1\n{HOST}{BEARER}X-Outrider: 1\n{JSON}"
UPGRADE = (
    "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n"
)
PATHS = (
    "/", "/index.html", "/style.css", "/api/status", "/api/history", "/api/events",
    "/api/snapshot.jpg", "/api/settings", "/metrics", "/stream.mjpeg", "/stream.h264", "/logout",
    "/nothing", "/login/", "/login.html", "/healthz/", "/docs",
)  # fmt: skip


def get(run: Served, path: str, *headers: str, host: str = "127.0.0.1") -> Heard:
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", *headers]
    return ask(run, "".join(f"{line}\n" for line in lines) + "\n")


def error(heard: Heard) -> str:
    said = json.loads(heard.body)
    assert list(said) == ["error"]
    assert isinstance(said["error"], str)
    return said["error"]


@pytest.mark.parametrize("path", PATHS)
def test_without_the_token_everything_is_refused_whether_it_is_there_or_not(
    guarded: Served, path: str
) -> None:
    heard = get(guarded, path)
    assert heard.status == 401
    assert heard.headers["www-authenticate"] == "Bearer"
    assert error(heard) == "wanted the token as 'Authorization: Bearer TOKEN', or a login at /login"
    posted = ask(guarded, f"POST {path} HTTP/1.1\n{HOST}X-Outrider: 1\nContent-Length: 0\n\n")
    assert posted.status == 401


def test_a_browser_without_the_token_is_sent_to_the_login(guarded: Served) -> None:
    heard = get(guarded, "/", "Accept: text/html,application/xhtml+xml,*/*;q=0.8")
    assert (heard.status, heard.headers["location"]) == (303, "/login")


@pytest.mark.parametrize(
    "given",
    [
        "Bearer wrong-wrong-wrong-wrong",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        "Bearer",
        "Bearer \xff\xfe",
        f"Basic {TOKEN}",
        TOKEN,
    ],
)
def test_what_is_not_the_token_opens_nothing(guarded: Served, given: str) -> None:
    request = f"GET /api/status HTTP/1.1\n{HOST}Authorization: {given}\n\n".encode("latin-1")
    assert ask(guarded, request).status == 401
    assert get(guarded, f"/api/status?token={TOKEN}").status == 401
    for cookie in ("{0}=x; {0}=", f"{{0}}={TOKEN}"):
        cookie = cookie.format(f"outrider_session_{guarded.port}")
        assert get(guarded, "/api/status", f"Cookie: {cookie}").status == 401


def test_the_token_opens_what_there_is(guarded: Served) -> None:
    assert get(guarded, "/api/status", BEARER.strip()).status == 200
    assert get(guarded, "/", BEARER.strip()).status == 200
    assert get(guarded, "/nothing", BEARER.strip()).status == 404


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "evil.example:80", "a@b"]
)
@pytest.mark.parametrize("path", ["/api/status", "/healthz", "/login", "/"])
def test_a_name_that_only_leads_here_is_refused(guarded: Served, host: str, path: str) -> None:
    heard = get(guarded, path, BEARER.strip(), host=host)
    assert heard.status == 421
    assert "[web] hosts takes more" in error(heard)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "192.0.2.7:8090", "[::1]:8090", "[::1]"]
)
def test_addresses_and_names_of_this_machine_are_not(guarded: Served, host: str) -> None:
    assert get(guarded, "/api/status", BEARER.strip(), host=host).status == 200
    assert get(guarded, "/healthz", host=f"{socket.gethostname()}:80").status == 200


def test_a_request_names_one_host(guarded: Served) -> None:
    assert ask(guarded, f"GET /healthz HTTP/1.1\n{HOST}{HOST}\n").status == 400
    assert ask(guarded, "GET /healthz HTTP/1.1\n\n").status == 400
    assert ask(guarded, "GET /healthz HTTP/1.0\n\n").status == 421
    assert ask(guarded, "GET /healthz HTTP/1.1\nHost:\n\n").status == 421
    assert ask(guarded, f"GET /healthz HTTP/1.1\n{HOST} goes on\n\n").status == 421
    assert ask(guarded, f"GET http://evil.example/healthz HTTP/1.1\n{HOST}\n").status == 400


ORIGINS = ["http://evil.example", "null", "http://127.0.0.1:1", "file://", "https://localhost", ""]


@pytest.mark.parametrize("origin", ORIGINS)
def test_pages_of_other_origins_get_nothing(guarded: Served, origin: str) -> None:
    header = f"Origin: {origin}\n"
    for request in (
        f"GET /api/status HTTP/1.1\n{HOST}{BEARER}{header}\n",
        f"GET /stream.mjpeg HTTP/1.1\n{HOST}{BEARER}{header}\n",
        f"{CHANGE}{header}Content-Length: 2\n\n{{}}",
        f"GET /stream.h264 HTTP/1.1\n{HOST}{BEARER}{UPGRADE}{header}\n",
        f"POST /login HTTP/1.1\n{HOST}{header}Content-Length: 0\n\n",
    ):
        heard = ask(guarded, request)
        assert heard.status == 403, request
        assert "got the origin" in error(heard)


def test_our_own_origin_and_none_at_all_may_ask(guarded: Served) -> None:
    for header in ("", "Origin: http://127.0.0.1\n", "Origin: https://127.0.0.1\n"):
        assert ask(guarded, f"{CHANGE}{header}Content-Length: 2\n\n{{}}").status == 200


@pytest.mark.parametrize(
    "header", ["", "X-Outrider: 0\n", "X-Outrider:\n", "X-Requested-With: x\n"]
)
def test_a_change_without_our_header_is_refused(guarded: Served, header: str) -> None:
    request = f"POST /api/settings HTTP/1.1\n{HOST}{BEARER}{JSON}{header}Content-Length: 2\n\n{{}}"
    heard = ask(guarded, request)
    assert (heard.status, "X-Outrider: 1" in error(heard)) == (403, True)


def test_a_websocket_is_opened_for_nobody_without_the_token(guarded: Served) -> None:
    heard = ask(guarded, f"GET /stream.h264 HTTP/1.1\n{HOST}{UPGRADE}\n")
    assert heard.status == 401
    heard = ask(guarded, f"GET /stream.h264 HTTP/1.1\nHost: evil.example\n{BEARER}{UPGRADE}\n")
    assert heard.status == 421
    ours = "Origin: http://127.0.0.1\n"
    heard = ask(guarded, f"GET /stream.h264 HTTP/1.1\n{HOST}{BEARER}{UPGRADE}{ours}\n")
    assert heard.status == 101


@pytest.mark.parametrize(
    "path",
    [
        "/../pyproject.toml",
        "/..%2fapi.py",
        "/%2e%2e/api.py",
        "/static/../../api.py",
        "/%2e%2e%2f%2e%2e%2f%2e%2e%2f%2e%2e%2fetc/passwd",
        "/..%5c..%5capi.py",
        "/%00",
        "/index.html%00.css",
        "//etc/passwd",
        "//evil.example/..",
        "/" + "a" * 5000,
        "/%ff%fe",
        "/api/status%0d%0aX-Injected:%20yes",
    ],
)
def test_no_path_leads_out_of_the_page(guarded: Served, path: str) -> None:
    heard = get(guarded, path, BEARER.strip())
    assert heard.status in (400, 404), heard
    assert "x-injected" not in heard.headers
    assert "root:" not in heard.body


@pytest.mark.parametrize(
    "method", ["PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH", "LOOK"]
)
def test_other_methods_are_not_known(guarded: Served, method: str) -> None:
    heard = ask(guarded, f"{method} /api/status HTTP/1.1\n{HOST}{BEARER}X-Outrider: 1\n\n")
    assert heard.status == 405
    assert "wanted GET, HEAD or POST" in error(heard)
    assert "access-control-allow-origin" not in heard.headers


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/status"),
        ("POST", "/api/history"),
        ("POST", "/stream.mjpeg"),
        ("POST", "/"),
        ("POST", "/healthz"),
    ],
)
def test_each_place_knows_its_methods(guarded: Served, method: str, path: str) -> None:
    request = f"{method} {path} HTTP/1.1\n{HOST}{BEARER}X-Outrider: 1\nContent-Length: 0\n\n"
    assert ask(guarded, request).status == 405


def test_head_of_a_stream_ends(guarded: Served) -> None:
    heard = ask(guarded, f"HEAD /stream.mjpeg HTTP/1.1\n{HOST}{BEARER}Connection: close\n\n")
    assert (heard.status, heard.body) == (200, "")


@pytest.mark.parametrize(
    "kind", ["", "Content-Type: text/plain\n", "Content-Type: application/x-www-form-urlencoded\n"]
)
def test_a_change_is_json_and_says_so(guarded: Served, kind: str) -> None:
    head = f"POST /api/settings HTTP/1.1\n{HOST}{BEARER}X-Outrider: 1\n{kind}Content-Length: 2\n\n"
    heard = ask(guarded, head + "{}")
    assert heard.status == 415
    assert "wanted application/json" in error(heard)


def test_ten_megabytes_are_refused_at_their_first_line(guarded: Served) -> None:
    heard = ask(guarded, f"{CHANGE}Content-Length: 10000000\n\n")  # and not one byte of them
    assert heard.status == 413
    assert heard.headers["connection"] == "close"
    assert error(heard) == "got a longer body, wanted 65536 bytes or less"
    sent = ask(guarded, f"{CHANGE}Content-Length: 10000000\n\n", body=b" " * 10_000_000)
    assert sent.status == 413


def test_a_body_without_a_length_is_cut_at_the_same_place(guarded: Served) -> None:
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    heard = ask(guarded, f"{CHANGE}Transfer-Encoding: chunked\n\n", body=chunk * 100)
    assert heard.status == 413
    assert heard.headers["connection"] == "close"
    whole = b"2\r\n{}\r\n0\r\n\r\n"
    assert ask(guarded, f"{CHANGE}Transfer-Encoding: chunked\n\n", body=whole).status == 200


@pytest.mark.parametrize(
    "lengths",
    [
        "Content-Length: 2\nTransfer-Encoding: chunked\n",
        "Transfer-Encoding: chunked\nContent-Length: 2\n",
        "Content-Length: 2\nContent-Length: 3\n",
        "Content-Length: 2, 3\n",
        "Transfer-Encoding: chunked\nTransfer-Encoding: chunked\n",
        "Transfer-Encoding: xchunked\n",
        "Transfer-Encoding: chunked, identity\n",
        "Transfer-Encoding : chunked\n",
        "Transfer-Encoding:\n chunked\nContent-Length: 2\n",
        "Content-Length: +2\n",
        "Content-Length: -2\n",
        "Content-Length: 0x2\n",
        "Content-Length: 99999999999999999999999\n",
    ],
)
def test_a_request_with_two_readings_is_refused_and_what_follows_it_is_not_read(
    guarded: Served, lengths: str
) -> None:
    smuggled = b"0\r\n\r\nGET /api/status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    heard = ask(guarded, f"{CHANGE}{lengths}\n", body=smuggled)
    assert heard.status in (400, 413)
    assert heard.headers["connection"] == "close"
    assert "HTTP/1.1" not in heard.body


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS, where there is none
        b"GET / HTTP/3.0\n\n",
        b"GET /\n\n",
        b"get this\n\n",
        b"GET / HTTP/1.1\nHost: 127.0.0.1\nX: a\x00b\n\n",
        b"GET / HTTP/1.1\nHost: 127.0.0.1\nX: " + b"a" * 100_000 + b"\n\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\nHost: 127.0.0.1\n\n",
        b"GET / HTTP/1.1\nHost: 127.0.0.1\n" + b"X: a\n" * 20_000 + b"\n",
    ],
)
def test_what_is_no_request_is_answered_shortly_and_cut(guarded: Served, request_: bytes) -> None:
    heard = ask(guarded, request_)
    assert heard.status == 400
    assert heard.headers["connection"] == "close"
    assert "Traceback" not in heard.body


@pytest.mark.parametrize("path", ["/", "/login", "/healthz", "/api/status", "/nothing"])
def test_every_answer_tells_browsers_to_keep_to_this_page(guarded: Served, path: str) -> None:
    for headers in (get(guarded, path).headers, get(guarded, path, BEARER.strip()).headers):
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == policy["object-src"] == "'none'"
        assert policy["form-action"] == "'self'"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert "cross-origin-opener-policy" not in headers  # without TLS browsers complain of it
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "camera=()" in headers["permissions-policy"]
        assert headers["cache-control"] in ("no-store", "no-cache")
        assert "server" not in headers
    assert get(guarded, "/api/status", BEARER.strip()).headers["cache-control"] == "no-store"


def test_what_comes_behind_a_request_that_is_being_answered_is_not_read(guarded: Served) -> None:
    first = f"GET /api/status HTTP/1.1\n{HOST}{BEARER}\n".replace("\n", "\r\n").encode()
    with socket.create_connection(("127.0.0.1", guarded.port), 30) as connection:
        connection.sendall(first * 2000)  # 200 kB
        got = b""
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(65536):
                got += part
    assert 1 <= got.count(b"HTTP/1.1 200 OK") <= 2


def test_a_fault_of_our_own_is_logged_once_and_told_without_details(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def faulty(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError(f"/home/driver/{scope['path']}")

    access = Access(None, None, frozenset({"localhost"}))
    with serving(Guard(faulty, access, Login(access))) as here:
        for _ in range(3):
            with here.connect() as connection:
                connection.sendall(b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
                heard = hear(connection)
            assert heard.status == 500
            assert error(heard) == "the page has failed here; the run's log says how"
            assert heard.headers["x-content-type-options"] == "nosniff"
    (record,) = caplog.records
    assert record.getMessage() == "web: /x has failed: RuntimeError('/home/driver//x')"
    assert record.exc_info is not None


@pytest.mark.timing
def test_who_is_refused_all_the_time_costs_no_frame(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    rude = f"POST /api/settings HTTP/1.1\n{HOST}Content-Length: 70000\n\n"
    with served("--sink", "web:0.0.0.0:0", "--web-token", file) as run:
        until = time.monotonic() + 3
        while time.monotonic() < until:
            for number in range(2, 22):  # ten times what one address may ask
                ask(run, rude, source=f"127.0.1.{number}")
        said = run.stop()
    assert " 0 overwritten + 0 stale + 0 failed" in said, said
