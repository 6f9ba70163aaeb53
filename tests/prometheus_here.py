"""Debian's Prometheus and promtool for tests: as they are, or as a server that scrapes a run."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.edge.loopback import closed_port

DEADLINE_S = 60
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def program(name: str) -> str:
    """The program, or the test skips and says what is lacking, and fails where CI is set."""
    found = shutil.which(name)
    if found is None:
        text = f"needs {name} (apt install prometheus)"
        if os.environ.get("CI"):
            pytest.fail(text)
        pytest.skip(text)
    return found


def promtool(*arguments: str | Path, cwd: Path | None = None, stdin: str = "") -> str:
    """What it says where all is well.

    Raises:
        AssertionError: something is not, with what it says.
    """
    done = subprocess.run(
        [program("promtool"), *map(str, arguments)],
        cwd=cwd, input=stdin, capture_output=True, text=True, check=False, timeout=DEADLINE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class Prometheus:
    """A server that is asked over HTTP."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1/"

    def ask(self, what: str, **parameters: str) -> Any:
        """The ``data`` of an answer.

        Raises:
            AssertionError: it is an error, such as that of a query that is none.
        """
        url = f"{self._url}{what}?{urllib.parse.urlencode(parameters)}"
        try:
            with _DIRECT.open(url, timeout=DEADLINE_S) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as refused:
            if refused.code == 503:  # it has begun to listen, and not to answer
                raise
            raise AssertionError(f"{parameters}: {refused.read().decode()}") from refused

    def query(self, text: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each series that an instant query gives now."""
        found = self.ask("query", query=text)
        return [(series["metric"], float(series["value"][1])) for series in found["result"]]

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait until it is so."""
        for _ in range(DEADLINE_S * 10):
            with contextlib.suppress(urllib.error.URLError):
                if holds():
                    return
            threading.Event().wait(0.1)
        raise AssertionError(f"not so after {DEADLINE_S} s: {what}; {self.ask('targets')}")


@contextlib.contextmanager
def prometheus(config: Path) -> Iterator[Prometheus]:
    """A real server with that file, until the end of the block; its data lies beside the file."""
    port = closed_port()
    process = subprocess.Popen(
        [
            program("prometheus"),
            f"--config.file={config}",
            f"--storage.tsdb.path={config.parent / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    server = Prometheus(port)
    try:
        server.until(lambda: bool(server.ask("status/buildinfo")), "it answers")
        yield server
    finally:
        process.terminate()
        _, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, said
