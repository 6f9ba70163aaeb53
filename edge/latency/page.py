"""The pattern on a page, for the screen of a phone or another machine; it serves nothing else.

The page draws by itself, on the app's clock: it asks for that again and again, and is wrong by half
of its quickest question and answer at most.
"""

from __future__ import annotations

import json
import threading
import time
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from edge.web.address import Address, listen, read_address
from engines.errors import SettingsError, SinkError

SILENT_S = 10.0
"""A client that says nothing for so long is left."""


class Page:
    """A screen that is looked at by a browser; ``hold_s`` of the pattern is told to it.

    Raises:
        SettingsError: ``text`` is no ADDRESS:PORT.
        SinkError: nothing can be served there.
    """

    def __init__(self, text: str) -> None:
        try:
            address = read_address(f"web:{text}")
            listening = listen(address)
        except SettingsError as exc:
            raise SettingsError(
                f'--page: got "{text}", wanted ADDRESS:PORT of this machine, such as 0.0.0.0:8091'
            ) from exc
        except SinkError as exc:
            raise SinkError(
                f"--page {text}: nothing can be served there; wanted an address of this machine "
                "and a port where nothing listens"
            ) from exc
        port = listening.getsockname()[1]
        self.url = Address(address.host, port).reachable().url()
        self.name = f"page {self.url}"
        self._trip_ms = 0.0
        self._hold_s = 0.0
        self._server = ThreadingHTTPServer(
            (address.host, port), _handler(self), bind_and_activate=False
        )
        self._server.daemon_threads = True
        self._server.socket.close()
        self._server.socket = listening
        self._thread = threading.Thread(target=self._server.serve_forever, name="latency page")
        self._thread.start()
        self._closed = False

    def refresh(self, hold_s: float) -> bool:
        """Have the page show each pattern for so long."""
        self._hold_s = hold_s
        return True

    @property
    def clock_ms(self) -> float:
        """By how much the page's clock may be wrong: half of its quickest question and answer."""
        return self._trip_ms / 2

    def now(self, trip_ms: float | None) -> dict[str, float]:
        """What the page asks for; it says how long its quickest answer took."""
        self._trip_ms = trip_ms if trip_ms is not None else self._trip_ms
        return {"ms": time.monotonic_ns() / 1e6, "hold_ms": self._hold_s * 1e3}

    def close(self) -> None:
        """Serve nothing more; safe to call twice."""
        if not self._closed:
            self._closed = True
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()


@cache
def _html() -> bytes:
    return (Path(__file__).parent / "page.html").read_bytes()


def _handler(page: Page) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = SILENT_S

        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            if asked.path == "/now":
                answer = json.dumps(page.now(_number(asked.query))).encode()
                self._send(200, "application/json", answer)
            elif asked.path == "/":
                self._send(200, "text/html; charset=utf-8", _html())
            else:
                self._send(404, "text/plain", b"the page is at /\n")

        def _send(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing of single requests."""

    return Handler


def _number(query: str) -> float | None:
    """The trip that the page tells, where it is one."""
    try:
        told = float(parse_qs(query)["trip_ms"][0])
    except (KeyError, ValueError):
        return None
    return told if 0 <= told < 1e6 else None
