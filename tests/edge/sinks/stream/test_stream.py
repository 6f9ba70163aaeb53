"""Streams to a real server, that is there, is not, dies, hangs and comes back."""

from __future__ import annotations

import logging
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from edge.settings.load import load_settings
from edge.sinks import open_sink
from edge.sinks.stream import connection
from edge.sinks.stream.sink import StreamSink
from edge.sources.live.status import SourceStatus
from edge.vision.types import Image
from tests.edge.gst_here import needs_gst
from tests.edge.loopback import answering, closed_port, served, silent
from tests.edge.sink_values import picture, result
from tests.field.rtsp_camera import missing
from tests.field.stream_server import StreamServer
from tests.field.timecode import coded

LOGIN = "bob:geheim"
SHORT_S = 1.5
"""Far less than the 5 s that a connection may be silent."""


@pytest.fixture
def server() -> Iterator[StreamServer]:
    lacks = missing(needs_gst())
    if lacks:
        assert not os.environ.get("CI"), lacks
        pytest.skip(lacks)
    server = StreamServer()
    yield server
    server.kill()


def _needs_openssl() -> None:
    if shutil.which("openssl") is None:
        message = "no openssl (apt install openssl)"
        assert not os.environ.get("CI"), message
        pytest.skip(message)


def _open(text: str) -> StreamSink:
    sink = open_sink(text, fps=25.0)
    assert isinstance(sink, StreamSink)
    return sink


@contextmanager
def _running(sink: StreamSink, image: Image | None = None) -> Iterator[None]:
    """Frames at 25 a second, or the view of no signal where an image is given."""
    over = threading.Event()
    lost = SourceStatus("cam", "reconnecting", 0, "unplugged")

    def run() -> None:
        number = 0
        while not over.wait(0.04):
            now_ns = time.monotonic_ns()
            shown = coded(now_ns) if sink.wants_image else None
            if image is None:
                sink.write(result(number, t_capture_ns=now_ns), shown, frame_age_ms=0)
            else:
                sink.signal(lost, image if sink.wants_image else None, at_ns=now_ns)
            number += 1

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(10)
        assert not thread.is_alive()


def test_frames_and_the_view_of_no_signal_come_out_at_the_server(
    server: StreamServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.serve(login=LOGIN)
    with caplog.at_level(logging.INFO):
        sink = _open(server.url(LOGIN))
        with _running(sink):
            came = server.next()
            assert (came["wh"], came["connection"]) == ([256, 128], 0)
            assert came["age_ms"] is not None  # its blocks can be read
        with _running(sink, picture((200, 200, 200), wh=(256, 128))):
            server.next(mean=200.0)
        sink.close()
    assert re.fullmatch(
        rf"rtsp://\*\*\*@127\.0\.0\.1:{server.port}/cam: connected, 256x128\n"
        rf"rtsp://\*\*\*@\S+: \d+ pictures sent, \d+ skipped, connection lost 0 times",
        "\n".join(caplog.messages),
    )


@pytest.mark.slow
def test_a_server_that_is_away_is_told_once_and_found_when_it_comes_dies_and_comes_back(
    server: StreamServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    sink = _open(server.url(LOGIN))
    with _running(sink):
        _until(lambda: len(caplog.messages) == 1)
        _until(lambda: not sink.wants_image)  # nothing is drawn for it meanwhile
        _until(lambda: sink.wants_image)
        _until(lambda: not sink.wants_image)  # one more attempt, and no more words
        server.serve(login=LOGIN)
        server.next()
        server.kill()
        _until(lambda: sink.lost == 1)
        server.serve(login=LOGIN)
        server.next()
    sink.close()
    told = [message.partition("/cam: ")[2] for message in caplog.messages]
    again = "; the run goes on, and it is tried again"
    assert told[0].startswith("cannot connect: Connection refused; wanted a server that listens")
    assert told[0].endswith(again)
    assert told[1] == told[3] == "connected, 256x128"
    assert re.fullmatch(f"the connection is lost: .*{again}", told[2])
    assert told[4].endswith("connection lost 1 times")
    assert "geheim" not in caplog.text


def _until(holds: object) -> None:
    assert callable(holds)
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end, "it never holds"
        threading.Event().wait(0.01)


def test_a_server_that_hangs_holds_up_neither_frames_nor_the_end(server: StreamServer) -> None:
    server.serve()
    sink = _open(server.url())
    with _running(sink):
        server.next()
    server.freeze()
    noise = _noise()

    def stuck() -> bool:
        sent = sink.sent
        _offer(sink, noise)
        threading.Event().wait(0.3)
        return sink.sent == sent

    longest = 0.0
    _until(stuck)
    started = time.monotonic()
    for _ in range(30):
        before = time.monotonic()
        _offer(sink, noise)
        longest = max(longest, time.monotonic() - before)
    sink.close()
    assert time.monotonic() - started < SHORT_S
    assert longest < SHORT_S / 3  # one that waits for the server waits for seconds
    assert not _sending()
    server.thaw()


def test_a_server_that_takes_nothing_is_left_and_found_again(
    server: StreamServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server.serve()
    sink = _open(server.url())
    with _running(sink):
        server.next(connection=0)
    monkeypatch.setattr(connection, "TIMEOUT_S", 0.3)
    server.freeze()
    noise = _noise()
    _until(lambda: _offer(sink, noise) and caplog.messages)
    assert "the server took nothing for 0.3 s" in caplog.messages[0]
    monkeypatch.undo()
    server.thaw()
    with _running(sink):
        server.next(connection=1)
    sink.close()


def _noise() -> list[Image]:
    """Pictures of which a few fill every buffer on the way."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (640, 1280, 3), np.uint8) for _ in range(4)]


def _sending() -> bool:
    """Whether the thread of a stream or its program is there."""
    programs = [" ".join(child.cmdline()) for child in psutil.Process().children()]
    threads = [thread.name for thread in threading.enumerate()]
    return "stream" in threads or any("edge.sinks.stream.sender" in text for text in programs)


def _offer(sink: StreamSink, images: list[Image]) -> bool:
    for number, image in enumerate(images):
        sink.write(result(number, t_capture_ns=time.monotonic_ns()), image, frame_age_ms=0)
    return True


def test_closing_does_not_wait_for_a_server_that_never_answers() -> None:
    asked = threading.Event()

    def hear(connection: socket.socket, over: threading.Event) -> None:
        asked.set()
        silent(connection, over)

    with served(hear) as port:
        sink = _open(f"rtsp://127.0.0.1:{port}/cam")
        sink.write(result(0), picture((0, 0, 0)), frame_age_ms=0)
        assert asked.wait(20)
        started = time.monotonic()
        sink.close()
        assert time.monotonic() - started < SHORT_S
        assert not _sending()


@pytest.mark.parametrize(
    ("login", "path", "words"),
    [
        ("", "", "401 Unauthorized .*; wanted a login that it accepts"),
        ("bob:falsch", "", "401 Unauthorized .*; wanted a login that it accepts"),
        (LOGIN, "/none", "404 Not Found; wanted a path at which it takes streams"),
    ],
)
def test_what_a_server_refuses_is_told_with_the_next_step(
    login: str, path: str, words: str, server: StreamServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.serve(login=LOGIN)
    sink = _open(server.url(login) + path)
    with _running(sink):
        _until(lambda: caplog.messages)
    sink.close()
    assert re.search(f"cannot connect: .*{words}", caplog.messages[0])
    assert not re.search("geheim|falsch", caplog.text)


def test_a_stream_begins_anew_when_pictures_are_of_another_size_for_good(
    server: StreamServer,
) -> None:
    server.serve()
    sink = _open(server.url())
    with _running(sink, picture((200, 200, 200), wh=(128, 128))):
        server.next(wh=[128, 128], connection=0)
    with _running(sink):
        server.next(wh=[128, 128], connection=0)  # fitted meanwhile
        came = server.next(wh=[256, 128])
        assert came["connection"] == 1
    sink.close()
    assert sink.lost == 0


def test_a_stream_may_be_encrypted(server: StreamServer, tmp_path: Path) -> None:
    _needs_openssl()
    both = tmp_path / "both.pem"
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj"
    subprocess.run(
        [*words.split(), "/CN=127.0.0.1", "-keyout", both, "-out", tmp_path / "certificate.pem"],
        check=True,
        capture_output=True,
    )
    both.write_text(both.read_text() + (tmp_path / "certificate.pem").read_text())
    server.serve(login=LOGIN, certificate=str(both))
    sink = _open(server.url(LOGIN).replace("rtsp:", "rtsps:"))
    with _running(sink):
        assert server.next()["age_ms"] is not None
    sink.close()


def test_the_password_may_lie_in_a_file_that_is_read_at_every_connection(
    server: StreamServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "password"
    file.write_text("falsch\n")
    file.chmod(0o600)
    server.serve(login=LOGIN)
    sink = _open(server.url("bob"))
    sink.watch(_with_password_file(str(file)))
    with _running(sink):
        _until(lambda: caplog.messages)
        file.write_text("geheim\n")
        server.next()
    sink.close()
    assert not re.search("geheim|falsch", caplog.text)


def _with_password_file(file: str) -> Any:
    """What a sink asks of a run."""
    settings = load_settings(
        None, {"output.password_file": file, "output.sinks": ["rtsp://bob@h/x"]}, environ={}
    )
    return SimpleNamespace(settings=settings)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("401 Unauthorized", "wanted a login that it accepts"),
        ("404 Not Found", "wanted a path at which it takes streams"),
    ],
)
def test_what_a_server_of_whip_refuses_is_told(
    status: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    _needs_openssl()
    with served(answering(status)) as port:
        sink = _open(f"whip:http://bob:geheim@127.0.0.1:{port}/car/whip")
        with _running(sink):
            _until(lambda: caplog.messages)
        sink.close()
    assert re.search(f"whip:http://.*cannot connect: .*{status}.*{words}", caplog.messages[0])
    assert "geheim" not in caplog.text


def test_a_host_that_nobody_knows_is_told(caplog: pytest.LogCaptureFixture) -> None:
    sink = _open(f"rtsp://nobody.invalid:{closed_port()}/cam")
    with _running(sink):
        _until(lambda: caplog.messages)
    sink.close()
    assert "cannot connect: " in caplog.messages[0]
