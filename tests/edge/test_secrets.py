"""A password goes in by every door and comes out by none: a canary, and a look at all there is."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

from tests.edge import loopback
from tests.edge.door import DEADLINE_S, EDGE
from tests.edge.service.notifications import Receiver
from tests.tiny_models import tiny_street

CANARY = "S3CR3T"
PATHS = (
    *("/", "/api/status", "/api/history", "/api/settings", "/api/events", "/metrics", "/healthz"),
    "/api/snapshot.jpg",
)
FORMS = ("u:{}@127.0.0.1:1/x", "http:/u:{}@127.0.0.1/x", "http://127.0.0.1:1/x?p={}")
"""More of them: tests/engines/test_redact.py."""
FILES = (
    *('[source]\nuri = "{}"', '[output]\nsinks = ["{}"]', '[output]\nsinks = "{}"'),
    *("[source]\nuri = {}", '[source]\n"{}" = 1', '[model]\nfiles = ["{}"]', '["{}"]\na = 1'),
    '[detect]\nclasses = ["{}"]',
)
COMMANDS = (
    "run --verbose --source",
    *("run", "run --sink", "run --model", "run --frames", "run --metrics", "run --sourc", ""),
    *("run --source-file", "run --sink-file", "run --sink web --web-token"),
    *("profile -o", "bench --source", "bench --beside", "latency --page", "check", "doctor"),
    *("service", "service install"),
)
EXPORTS = (
    *("", "adopt", "evaluate --data", "train --out t --init", "inspect", "ensure", "verify"),
    *("fp16", "onnx", "build", "check-tensorrt"),
)


def with_canary(folder: Path) -> list[str]:
    """The files that hold it, or are called so."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    return [
        str(path) for path in found if CANARY in str(path) or CANARY.encode() in path.read_bytes()
    ]


def fetched(url: str) -> bytes:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=0.5) as answer:
        body: bytes = answer.read1() if "events" in url else answer.read()  # events never end
        return body + str(answer.headers).encode()
    return b""


def test_a_run_that_knows_passwords_tells_nobody(tmp_path: Path) -> None:
    """Of its camera and of a server of streams that is away: in files, so that ps is clean, too."""
    tiny_street(tmp_path / "tiny.onnx")
    secrets, out = tmp_path / "secrets", tmp_path / "out"
    for folder in (secrets, out):
        folder.mkdir()
    page = loopback.closed_port()
    asked = threading.Event()

    def camera(connection: socket.socket, over: threading.Event) -> None:
        # The picture is asked for with the whole address.
        assert CANARY.encode() in connection.recv(65536, socket.MSG_PEEK)
        asked.set()
        loopback.endless_mjpeg(fps=50)(connection, over)

    with loopback.served(camera) as port, Receiver(tmp_path / "notify") as systemd:
        for name, text in (
            ("source", f"http://u:{CANARY}@127.0.0.1:{port}/live?p={CANARY}"),
            ("relay", f"rtsp://u:{CANARY}@127.0.0.1:{loopback.closed_port()}/car?x={CANARY}"),
        ):
            (secrets / name).write_text(text)
            (secrets / name).chmod(0o600)
        words = ["profile", "-o", "profile", "--verbose", "--model", "../tiny.onnx"]
        words += ["--source-file", "../secrets/source", "--sink-file", "../secrets/relay"]
        words += ["--sink", f"web:127.0.0.1:{page}", "--sink", "a.mp4", "--sink", "a.jsonl"]
        app = subprocess.Popen(
            [*EDGE, *words], cwd=out, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=os.environ | {"DISPLAY": "", "NOTIFY_SOCKET": systemd.address},
        )  # fmt: skip
        try:
            told = systemd.until("READY")
            assert asked.wait(10)
            while b"frames" not in (status := fetched(f"http://127.0.0.1:{page}/api/status")):
                assert app.poll() is None
            served = [status, *(fetched(f"http://127.0.0.1:{page}{path}") for path in PATHS)]
            shown = [
                Path(f"/proc/{app.pid}/{name}").read_bytes() for name in ("cmdline", "environ")
            ]
            told += systemd.until("STATUS")
            app.send_signal(signal.SIGTERM)
            said = app.communicate(timeout=DEADLINE_S)[0]
        finally:
            app.kill()
            app.wait()
    assert app.returncode == 0, said.decode()
    assert b"127.0.0.1" in said  # it did speak of them
    assert sum(map(bool, served)) >= 7
    assert CANARY.encode() not in b"".join([said, *served, *shown])
    assert CANARY not in str(told)
    assert with_canary(out) == []
    names = {path.name for path in out.rglob("*")}
    assert names >= {"a.mp4", "a.jsonl", "report.html", "trace.json", "metrics.json"}


ALL_COMMANDS = """
import json, sys
import edge.cli, export.cli
programs = {"edge": edge.cli.commands, "edge-export": export.cli.commands}
for program, *words in json.load(sys.stdin):
    sys.argv = [program, *words]
    try:
        edge.cli.invoke(programs[program], program)
    except SystemExit as exc:
        print("ENDED", exc.code, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_no_mistake_with_a_password_in_it_shows_it(form: str, tmp_path: Path) -> None:
    secret = form.replace("{}", CANARY)
    commands = [["edge", *words.split(), secret] for words in COMMANDS]
    commands += [["edge-export", *words.split(), secret] for words in EXPORTS]
    commands.append(["edge", "run", f"--sourc={secret}"])
    for number, text in enumerate(FILES):
        settings = tmp_path / f"{number}.toml"
        settings.write_text(text.replace("{}", secret))
        commands.append(["edge", "check", settings.name])
    done = subprocess.run(
        [sys.executable, "-c", ALL_COMMANDS], input=json.dumps(commands), cwd=tmp_path,
        env=os.environ | {"DISPLAY": ""}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, check=False, timeout=DEADLINE_S,
    )  # fmt: skip
    assert [line for line in done.stdout.splitlines() if CANARY in line] == []
    assert done.stdout.count("ENDED ") == len(commands), done.stdout
    assert "ENDED 0" not in done.stdout
    # What the "-o" of a command names, it may make.
    assert [p for p in with_canary(tmp_path) if not p.endswith(".toml")] == []
