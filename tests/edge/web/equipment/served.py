"""A real ``edge run`` with its page, as a process: where it listens, what it logs, how it ends."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any

from tests.edge.door import EDGE
from tests.tiny_models import tiny_street

DEADLINE_S = 60
"""For a start or an end on a machine that is busy with something else."""
USUAL = {
    "--source": "synthetic:320x192@30",
    "--engine": "onnxruntime",
    "--sink": "web:127.0.0.1:0",
}
_ADDRESS = re.compile(r"the page is at ((https?)://(?:\[.*\]|[^:/]+):(\d+)/)")
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one request."""

    status: int
    headers: Message[str, str]
    body: bytes


@dataclass
class Served:
    """One run; ``url`` ends in a slash, ``log`` grows with what it says on stderr."""

    process: subprocess.Popen[str]
    url: str = ""
    port: int = 0
    log: list[str] = field(default_factory=list)

    @property
    def said(self) -> str:
        """All it said so far, for the message of an assertion."""
        return "".join(self.log)

    def get(
        self,
        path: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
        **how: Any,
    ) -> Answer:
        """The whole answer for ``url`` + ``path``, whatever its status."""
        request = urllib.request.Request(self.url + path, data, dict(headers or {}), **how)
        try:
            with _DIRECT.open(request, timeout=DEADLINE_S) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as refused:
            with refused:
                return Answer(refused.code, refused.headers, refused.read())

    def stop(self) -> str:
        """End it in order, as Ctrl-C does; returns all it said."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.process.wait(DEADLINE_S)
        return self.said


@contextlib.contextmanager
def served(*arguments: str | Path, env: Mapping[str, str] | None = None) -> Iterator[Served]:
    """``edge run`` with ``arguments`` until the end of the block, which must be an orderly one.

    What they leave out is small and quick: a tiny network, ONNX Runtime, the synthetic street, a
    free port of the loopback. At 30 frames a second no frame drops here.

    Raises:
        AssertionError: it gave no address, with what it said instead; or it did not end with 0.
    """
    with tempfile.TemporaryDirectory() as folder:
        words = list(map(str, arguments))
        if "--model" not in words:
            tiny_street(Path(folder) / "tiny.onnx")
            words += ["--model", str(Path(folder) / "tiny.onnx")]
        for option, value in USUAL.items():
            if option not in words:
                words += [option, value]
        process = subprocess.Popen(
            [*EDGE, "run", *words],
            env=os.environ | {"DISPLAY": ""} | dict(env or {}),
            stderr=subprocess.PIPE,
            text=True,
        )
        run, known = Served(process), threading.Event()
        reader = threading.Thread(target=_read, args=(run, known))
        reader.start()
        try:
            assert known.wait(DEADLINE_S), run.said
            assert run.url, run.said
            yield run
            run.stop()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(DEADLINE_S)
            reader.join(DEADLINE_S)
        assert process.returncode == 0, run.said


def _read(run: Served, known: threading.Event) -> None:
    assert run.process.stderr is not None
    with run.process.stderr as lines:
        for line in lines:
            run.log.append(line)
            if match := _ADDRESS.search(line):
                run.url, run.port = match[1], int(match[3])
                known.set()
    known.set()


def all_shown(said: str) -> bool:
    """Whether a run that other tests ran beside rendered its frames, by the ledger in its words.

    On busy cores one may be overwritten now and then; what strangers hold up drops many.
    """
    ledger = re.search(
        r"frames: (\d+) captured = \d+ rendered \+ (\d+) overwritten \+ 0 stale \+ 0 failed", said
    )
    return ledger is not None and int(ledger[2]) <= 2 + int(ledger[1]) // 100
