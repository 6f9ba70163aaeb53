"""What is found on each frame as server-sent events, of a real run and to slow listeners."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np

from edge.vision.types import Detections
from edge.web.events import Events
from tests.edge.sink_values import result
from tests.edge.web.access.serving import Serving, serving
from tests.edge.web.equipment.served import DEADLINE_S, served

OUTPUT = Path(__file__).resolve().parents[3] / "docs" / "OUTPUT.md"
ASK = b"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def test_a_listener_hears_of_every_frame_what_a_line_of_jsonl_says(tmp_path: Path) -> None:
    lines = tmp_path / "out.jsonl"
    settings = tmp_path / "car.toml"
    settings.write_text("[web]\nmax_viewers = 1\n")
    with (
        served(settings, "--sink", "web:127.0.0.1:0", "--sink", lines) as run,
        contextlib.closing(HTTPConnection("127.0.0.1", run.port, timeout=DEADLINE_S)) as page,
    ):
        page.request("GET", "/api/events")
        answer = page.getresponse()
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.headers["cache-control"] == "no-store"
        another = run.get("api/events")
        assert (another.status, b"[web] max_viewers" in another.body) == (503, True)
        heard: list[dict[str, Any]] = []
        while len(heard) < 10:
            line = answer.readline().decode().rstrip("\n")
            if line.startswith("data: "):
                heard.append(json.loads(line.removeprefix("data: ")))
            else:
                assert line in ("", ":")
        ending = threading.Thread(target=run.stop)
        ending.start()
        assert answer.read().endswith(b"\n")  # whole, and then the end
        ending.join()
    written = {
        record["frame"]: record for record in map(json.loads, lines.read_text().splitlines())
    }
    frames = [record["frame"] for record in heard]
    assert frames == sorted(set(frames))
    for record in heard:
        assert record == written[record["frame"]]
    assert [key for key in heard[0] if f"`{key}`" not in OUTPUT.read_text()] == []


def test_nothing_is_done_while_nobody_listens() -> None:
    called: list[Callable[[], None]] = []
    events = Events(1, called.append)
    events.offer(result(0), 1.0)
    assert called == []


def listen(here: Serving) -> socket.socket:
    """A connection on which the answer has begun: from now on frames are taken for it."""
    connection = here.connect()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    connection.sendall(ASK)
    got = b""
    while not got.endswith(b":\n\n\r\n"):  # the sign of life, in a chunk of its own
        got += connection.recv(1)
    return connection


def test_a_slow_listener_skips_frames_and_then_hears_the_newest() -> None:
    many = Detections(
        np.ones((100, 4), np.float32), np.ones(100, np.float32), np.zeros(100, np.int32),
        np.zeros(100, np.int32),
    )  # fmt: skip
    server: list[Serving] = []
    events = Events(2, lambda do: server[0].server.call(do))
    with serving(events) as here:
        server.append(here)
        with listen(here) as slow:
            for number in range(100):  # 1 MB
                taken = threading.Event()
                events.offer(result(number, detections=many), 1.0)
                here.server.call(taken.set)
                assert taken.wait(DEADLINE_S)
            got = b""
            while b'{"frame":99,' not in got:
                got += slow.recv(65536)
    frames = [int(part.split(b",")[0]) for part in got.split(b'data: {"frame":')[1:]]
    assert frames == sorted(set(frames))
    assert len(frames) < 50, len(frames)
