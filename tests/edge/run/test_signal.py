"""A camera that is absent, goes and comes back, through the whole app and what systemd hears."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.sources.video.media import av
from tests.edge import loopback
from tests.edge.door import DEADLINE_S, EDGE
from tests.edge.service.notifications import Receiver
from tests.tiny_models import tiny_street


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    tiny_street(path)
    return str(path)


@contextlib.contextmanager
def service(
    tmp_path: Path, model: str, url: str, *words: str, watchdog_s: float = 4.0
) -> Iterator[tuple[subprocess.Popen[str], Receiver]]:
    """``edge run`` as systemd starts it, on short deadlines."""
    settings = tmp_path / "car.toml"
    settings.write_text(
        f'[source]\nuri = "{url}"\nstall_s = 0.5\nopen_timeout_s = 1.5\nread_timeout_s = 1\n'
        f'retry_s = 0.5\n[model]\nfiles = ["{model}"]\n'
    )
    with Receiver(tmp_path / "notify") as systemd:
        environ = os.environ | {
            "DISPLAY": "",
            "NOTIFY_SOCKET": systemd.address,
            "WATCHDOG_USEC": str(round(watchdog_s * 1e6)),
        }
        app = subprocess.Popen(
            [*EDGE, "run", str(settings), *words], env=environ, stderr=subprocess.PIPE, text=True
        )
        try:
            yield app, systemd
        finally:
            app.kill()
            app.communicate(timeout=DEADLINE_S)


def heard_until(systemd: Receiver, wanted: str, key: str = "STATUS") -> dict[str, str]:
    end = time.monotonic() + 60
    while wanted not in (message := systemd.message()).get(key, ""):
        assert time.monotonic() < end, f"systemd never heard {wanted!r}, but {message}"
    return message


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_camera_that_is_absent_goes_and_comes_back(tmp_path: Path, model: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as place:
        port = place.getsockname()[1]
    film, log, metrics = tmp_path / "o.mp4", tmp_path / "o.jsonl", tmp_path / "m.json"
    words = ("--sink", film, "--sink", log, "--metrics", metrics)
    url = f"http://viewer:S3CR3T@127.0.0.1:{port}/live"
    with service(tmp_path, model, url, *map(str, words)) as (app, systemd):
        ready = systemd.until("READY")[-1]
        assert ready["STATUS"].startswith("reconnecting, no frame yet")
        heard_until(systemd, "1", "WATCHDOG")  # fed by attempts that end, although none succeeds
        heard_until(systemd, "1", "WATCHDOG")
        for _ in range(2):
            with camera(port):
                heard_until(systemd, "live, ")
                heard_until(systemd, "1", "WATCHDOG")
            heard_until(systemd, "reconnecting, last frame ")
        app.send_signal(signal.SIGTERM)
        assert systemd.until("STOPPING")[-1]["STATUS"] == "ended: signal SIGTERM"
        _, said = app.communicate(timeout=DEADLINE_S)
    assert app.returncode == 0, said
    assert "S3CR3T" not in said + log.read_text() + metrics.read_text()
    assert said.count("cannot be opened: Connection refused") <= 3  # once for each outage
    report = json.loads(metrics.read_text())
    frames = report["frames"]
    assert frames["captured"] == sum(
        n for name, n in frames.items() if name not in ("captured", "source_gaps")
    )
    assert report["signal"]["reconnects"] == 1
    assert report["signal"]["state"] == "reconnecting"
    assert report["signal"]["without_s"] > 1
    lines = lines_of(log)
    ids = [line["frame"] for line in lines if "frame" in line]
    assert ids == sorted(set(ids))
    assert max(line["frame_age_ms"] for line in lines if "frame" in line) < 2000
    states = [line["state"] for line in lines if "event" in line]
    # A connection may be refused, or accepted and cut, before the next one lives.
    assert [s for i, s in enumerate(states) if s != states[i - 1] or i == 0] == [
        *("reconnecting", "live", "reconnecting", "live", "reconnecting"),
    ]
    # The view of no signal was filmed, too, from the first frame on.
    assert len(pictures(film)) > frames["rendered"]


def pictures(film: Path) -> list[Any]:
    with av.open(str(film)) as container:
        return list(container.decode(video=0))


@contextlib.contextmanager
def camera(port: int) -> Iterator[None]:
    """Motion JPEG at 50 fps on a port of its own, until the block ends."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", port), reuse_port=True) as listener:
        connections: list[socket.socket] = []

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connections.append(listener.accept()[0])
                    handler = loopback.endless_mjpeg(fps=50)
                    threading.Thread(target=answer, args=(handler, connections[-1])).start()

        def answer(handler: loopback.Handler, connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                handler(connection, over)

        acceptor = threading.Thread(target=serve)
        acceptor.start()
        try:
            yield
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
    acceptor.join(10)


def test_frames_that_never_get_through_are_not_shown_as_live_and_starve_the_watchdog(
    tmp_path: Path, model: str
) -> None:
    log = tmp_path / "o.jsonl"
    with loopback.served(loopback.endless_mjpeg(fps=50)) as port:
        url = f"http://127.0.0.1:{port}/live"
        with service(tmp_path, model, url, "--sink", str(log)) as (app, systemd):
            heard_until(systemd, "1", "READY")
            settings = tmp_path / "car.toml"
            settings.write_text(settings.read_text() + "[pipeline]\nmax_age_ms = 0.001\n")
            app.send_signal(signal.SIGHUP)
            heard_until(systemd, "live, last frame ")
            systemd.waiting()
            heard = [systemd.message() for _ in range(2)]  # STATUS, every other second
            assert not any("WATCHDOG" in message for message in heard)
            settings.write_text(settings.read_text().replace("0.001", "1000"))
            app.send_signal(signal.SIGHUP)
            heard_until(systemd, "1", "WATCHDOG")
            app.send_signal(signal.SIGTERM)
            _, said = app.communicate(timeout=DEADLINE_S)
    assert app.returncode == 0, said
    assert said.count("frames come, but all are older than max_age_ms") == 1
    events = [(e["state"], e["reason"]) for e in lines_of(log) if "event" in e]
    assert events == [
        ("live", "frames come, but all are older than max_age_ms"),
        ("live", ""),
    ]


def test_a_settings_file_that_does_not_answer_holds_no_stop(tmp_path: Path, model: str) -> None:
    """A dead network drive is played by a pipe that nobody writes to."""
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(loopback.served(loopback.endless_mjpeg(fps=50)))
        app, systemd = stack.enter_context(service(tmp_path, model, f"http://127.0.0.1:{port}/"))
        heard_until(systemd, "1", "READY")
        (tmp_path / "car.toml").unlink()
        os.mkfifo(tmp_path / "car.toml")
        app.send_signal(signal.SIGHUP)
        heard_until(systemd, "1", "RELOADING")
        app.send_signal(signal.SIGTERM)
        began = time.monotonic()
        app.wait(timeout=DEADLINE_S)
        assert time.monotonic() - began < 10
        assert app.returncode == 0


def test_a_sink_that_another_run_writes_to_is_refused_at_a_reload(
    tmp_path: Path, model: str
) -> None:
    taken = (tmp_path / "taken.jsonl").open("w")
    fcntl.flock(taken, fcntl.LOCK_EX)
    with taken, contextlib.ExitStack() as stack:
        port = stack.enter_context(loopback.served(loopback.endless_mjpeg(fps=50)))
        app, systemd = stack.enter_context(service(tmp_path, model, f"http://127.0.0.1:{port}/"))
        heard_until(systemd, "1", "READY")
        settings = (tmp_path / "car.toml").read_text()
        for sink in ("taken.jsonl", "a\\u0000b.jsonl"):
            (tmp_path / "car.toml").write_text(f'{settings}[output]\nsinks = ["{sink}"]\n')
            app.send_signal(signal.SIGHUP)
            heard_until(systemd, "1", "RELOADING")
            heard_until(systemd, "1", "READY")
        heard_until(systemd, "1", "WATCHDOG")
        app.send_signal(signal.SIGTERM)
        _, said = app.communicate(timeout=DEADLINE_S)
    assert app.returncode == 0, said
    assert said.count("the old ones stay") == 2
    assert "another run writes to it" in said


def test_a_read_that_hangs_ends_the_app_with_5_after_its_sinks_are_closed(
    tmp_path: Path, model: str
) -> None:
    """A call that never comes back is played by a source whose reads sleep after the fifth."""
    log = tmp_path / "o.jsonl"
    program = (
        "import time\n"
        "from edge.sources.video.video import VideoSource\n"
        "read = VideoSource._read\n"
        "def hang(self):\n"
        "    return read(self) if self._next_id < 5 else time.sleep(600)\n"
        "VideoSource._read = hang\n"
        "from edge.start import main\n"
        "main()\n"
    )
    with loopback.served(loopback.endless_mjpeg(fps=50)) as port:
        settings = tmp_path / "car.toml"
        settings.write_text(
            f'[source]\nuri = "http://127.0.0.1:{port}/"\nreconnect = true\nstall_s = 0.3\n'
            "read_timeout_s = 0.5\nhang_s = 0.5\n"
            f'[model]\nfiles = ["{model}"]\n[output]\nsinks = ["{log}"]\n'
        )
        began = time.monotonic()
        done = subprocess.run(
            [EDGE[0], "-c", program, "run", str(settings)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 5, done.stderr
    assert time.monotonic() - began < 30
    assert "only a new process can try again" in done.stderr
    states = [line["state"] for line in lines_of(log) if "event" in line]
    assert states == ["stalled", "reconnecting", "failed"]


def test_deadlines_that_outlast_the_watchdog_are_refused(tmp_path: Path, model: str) -> None:
    url = f"http://127.0.0.1:{loopback.closed_port()}/"
    with service(tmp_path, model, url, watchdog_s=1.5) as (app, _):
        _, said = app.communicate(timeout=DEADLINE_S)
    assert app.returncode == 2
    assert "together 3.5 s, wanted less than the service's watchdog of 1.5 s" in said
    assert "WatchdogSec" in said
