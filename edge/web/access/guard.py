"""Stands before the page and refuses what is not asked as it should be; it serves nothing.

In this order: a request with two readings, one too many, one for another name than this machine's,
from another site's page, without the token, a change without the header that our pages send.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import traceback
from collections.abc import Callable

from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge.web.access.answers import MOST_BYTES, Refusal, too_long, too_many
from edge.web.access.login import Login
from edge.web.access.rates import Rates
from edge.web.access.rules import Access

log = logging.getLogger(__name__)

CHANGES = "x-outrider"
"""Header of what changes something: another site's page cannot send it without being asked to."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; connect-src 'self'; font-src 'self'; manifest-src 'self'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer, with which a browser hides the Origin of our own form.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), display-capture=(), usb=()",
}
_RAW = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]
_SECURE = [(b"cross-origin-opener-policy", b"same-origin")]
"""Browsers complain of it on a page of plain http, where they do not heed it."""
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?")


class Guard:
    """The application ``app`` for those who may."""

    def __init__(self, app: ASGIApp, access: Access, login: Login) -> None:
        self._app = app
        self._access = access
        # A page asks some two times a second, and for a dozen files when it is opened.
        self._rates = Rates(burst=200, per_s=50)
        self._rules: tuple[Callable[[HTTPConnection], None], ...] = (
            _check_shape, self._check_rate, self._check_host, self._check_origin, login.check,
            _check_change,
        )  # fmt: skip
        self._told: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or let it through."""
        outgoing = _Outgoing(scope, receive, send)
        try:
            request = HTTPConnection(scope)
            for check in self._rules:
                check(request)
            await self._app(scope, outgoing.receive, outgoing.send)
        except Refusal as refusal:
            if not outgoing.begun:
                await refusal.answer()(scope, outgoing.receive, outgoing.send)
        except ClientDisconnect:  # in the middle of what it sent
            pass
        except Exception as exc:
            self._tell(exc, scope["path"])
            if not outgoing.begun:
                failed = Refusal(500, "the page has failed here; the run's log says how")
                await failed.answer()(scope, outgoing.receive, outgoing.send)

    def _tell(self, error: Exception, path: str) -> None:
        """Log a defect of our own, each once: a request may come again and again."""
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{type(error).__name__} at {frame.filename}:{frame.lineno}"
        if place not in self._told:
            self._told.add(place)
            log.error("web: %s has failed: %r", path, error, exc_info=error)

    def _check_rate(self, request: HTTPConnection) -> None:
        address = request.client.host if request.client else ""
        if wait_s := self._rates.wait_s(address):
            raise too_many("requests", wait_s)
        self._rates.take(address)

    def _check_host(self, request: HTTPConnection) -> None:
        """A name of another owner may lead here (DNS rebinding); an address cannot."""
        found = _HOST.fullmatch(request.headers.get("host", ""))
        name = found[1].strip("[]").rstrip(".").lower() if found else ""
        if name not in self._access.hosts and not _is_address(name):
            names = ", ".join(sorted(self._access.hosts))
            raise Refusal(
                421,
                f'got the host "{name}", wanted an address of this machine or one of {names}; '
                "[web] hosts takes more",
            )

    def _check_origin(self, request: HTTPConnection) -> None:
        """Who asks from a page asks from ours; programs send no Origin, and forms always do."""
        origin = request.headers.get("origin")
        if origin is None and not _is_login(request):
            return
        schemes = ("https",) if self._access.tls is not None else ("http", "https")
        host = request.headers["host"]
        if origin not in [f"{scheme}://{host}" for scheme in schemes]:
            raise Refusal(
                403,
                f'got the origin "{origin or ""}", wanted {schemes[0]}://{host}; a proxy must '
                "pass Host on as it came",
            )


class _Outgoing:
    """The answer to one request: with our headers, and the last where a body was left unread."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._head = scope.get("method") == "HEAD"
        self._headers = _RAW + _SECURE * (scope["scheme"] in ("https", "wss"))
        self._unread = _has_body(HTTPConnection(scope))
        self._receive = receive
        self._send = send
        self.begun = self._ended = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            self._unread = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            given = list(message.get("headers", ()))
            names = {name for name, _ in given}
            if b"cache-control" not in names:
                # Files are asked for again each time and are mostly as they were.
                given.append((b"cache-control", b"no-cache" if b"etag" in names else b"no-store"))
            if self._unread:
                given.append((b"connection", b"close"))
            message = {**message, "headers": [*given, *self._headers]}
        self.begun = True
        if not self._ended:
            if self._head and message.get("more_body"):  # a stream, of which HEAD wants no end
                self._ended, message = True, {"type": "http.response.body", "body": b""}
            await self._send(message)


def _check_shape(request: HTTPConnection) -> None:
    scope, headers = request.scope, request.headers
    if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD", "POST"):
        known = {"Allow": "GET, HEAD, POST"}
        raise Refusal(405, f"got {scope['method'][:20]}, wanted GET, HEAD or POST", known)
    if scope["http_version"] not in ("1.0", "1.1"):
        close = {"Connection": "close"}
        raise Refusal(400, f"got HTTP {scope['http_version']}, wanted 1.1", close)
    path = scope["path"]
    if not path.startswith("/") or path.startswith("//") or re.search(r"[\x00-\x1f\x7f\\]", path):
        raise Refusal(400, "got a path that is none of this page")
    lengths, transfer = headers.getlist("content-length"), headers.getlist("transfer-encoding")
    if len(lengths) + len(transfer) > 1:
        raise Refusal(400, "got two lengths of one body")
    if lengths and int(lengths[0]) > MOST_BYTES:
        raise too_long()


def _check_change(request: HTTPConnection) -> None:
    """A change is meant: other sites' pages and their forms cannot send this header."""
    changes = request.scope.get("method") == "POST" and not _is_login(request)
    if changes and request.headers.get(CHANGES) != "1":
        raise Refusal(403, "wanted the header X-Outrider: 1, as what changes something needs it")


def _is_login(request: HTTPConnection) -> bool:
    return request.scope.get("method") == "POST" and request.scope["path"] == "/login"


def _has_body(request: HTTPConnection) -> bool:
    headers = request.headers
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
