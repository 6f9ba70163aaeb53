"""SIGHUP in a service: settings are read again while frames go on, and systemd is told."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from edge.sources.video.media import av
from tests.edge.door import DEADLINE_S, EDGE
from tests.edge.service.notifications import Receiver
from tests.tiny_models import tiny_street

SOURCE = "synthetic:96x64@30"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    tiny_street(path)
    return str(path)


class Service:
    """``edge run`` as systemd starts it, with the settings that can be changed meanwhile."""

    def __init__(self, systemd: Receiver, folder: Path, model: str, **sections: str) -> None:
        self.systemd, self.folder, self.model = systemd, folder, model
        self.write(**sections)
        with (folder / "stderr").open("w") as stderr:
            self.process = subprocess.Popen(
                [*EDGE, "run", "car.toml", "--metrics", "m.json"],
                cwd=folder,
                env=os.environ | {"DISPLAY": "", "NOTIFY_SOCKET": systemd.address},
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            for line in self.process.stdout:
                self._lines.put(line)
        self._lines.put(None)

    def write(self, **sections: str) -> None:
        """Other settings, by section; always with the model, and with JSON lines on stdout."""
        given = {"source": f'uri = "{SOURCE}"', "output": 'sinks = ["-"]'} | sections
        text = f'[model]\nfiles = ["{self.model}"]\n'
        text += "".join(f"[{name}]\n{lines}\n" for name, lines in given.items())
        (self.folder / "car.toml").write_text(text)

    def hang_up(self) -> None:
        """SIGHUP, then what systemd has to hear, until all is done."""
        before_us = time.monotonic_ns() // 1000
        self.process.send_signal(signal.SIGHUP)
        reloading = self.systemd.until("RELOADING")[-1]
        assert before_us <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
        assert "STATUS" not in self.systemd.until("READY")[-1]  # the one before stays

    def lines(self, count: int) -> list[dict[str, Any]]:
        """The next lines of frames on stdout."""
        lines = []
        for _ in range(count):
            line = self._lines.get(timeout=DEADLINE_S)
            assert line is not None, (self.folder / "stderr").read_text()
            lines.append(json.loads(line))
        return lines

    def rest(self) -> list[dict[str, Any]]:
        """The lines that were not asked for, after the end."""
        return self.lines(self._lines.qsize() - 1)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()

    def said(self) -> str:
        """Stop it in order; what it logged."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(DEADLINE_S)
        self._reader.join()
        stderr = (self.folder / "stderr").read_text()
        assert self.process.returncode == 0, stderr
        assert "Traceback" not in stderr
        return stderr


@contextlib.contextmanager
def service(folder: Path, model: str, **sections: str) -> Iterator[Service]:
    with Receiver(folder / "notify") as systemd:
        run = Service(systemd, folder, model, **sections)
        try:
            systemd.until("READY")
            yield run
        finally:
            run.kill()


def test_a_threshold_changes_without_a_lost_frame(model: str, tmp_path: Path) -> None:
    wait = f'uri = "{SOURCE}"\npolicy = "wait"'
    with service(tmp_path, model, source=wait, detect="conf = 0.2") as run:
        before = run.lines(20)
        run.write(source=wait, detect="conf = 1.0")
        run.hang_up()
        told_ns = time.monotonic_ns()
        lines = run.lines(1)
        while lines[-1]["t_capture_ns"] < told_ns:
            lines += run.lines(1)
        lines += run.lines(20)
        said = run.said()
        lines += run.rest()
    assert before[-1]["detections"]
    assert not any(line["detections"] for line in lines if line["t_capture_ns"] >= told_ns)
    assert [line["frame"] for line in lines] == list(range(20, 20 + len(lines)))
    assert "the settings were read again: detect.conf" in said
    frames = json.loads((tmp_path / "m.json").read_text())["frames"]
    assert frames["rendered"] == 20 + len(lines)
    assert frames["dropped_overwritten"] == frames["failed"] == frames["source_gaps"] == 0


def test_a_recorder_that_is_added_records_as_the_same_edit_says(model: str, tmp_path: Path) -> None:
    films = 'sinks = ["-", "record:films"]'
    car = {
        "record": 'event_classes = ["car"]\nevent_score = 0.1\nevent_s = 0',
        "detect": 'classes = ["car"]',
    }
    with service(tmp_path, model) as run:
        run.lines(5)
        run.write(output=films, record='event_classes = ["cat"]')  # nothing is taken
        run.hang_up()
        assert not (tmp_path / "films").exists()
        run.write(output=films, **car, overlay="boxes = false")
        run.hang_up()
        run.lines(40)
        run.write(output=films, record=car["record"], detect='classes = ["pedestrian"]')
        run.hang_up()
        run.lines(5)
        said = run.said()
    assert "event_classes" in said.split("the old ones stay: ")[1]
    assert "is none of [detect] classes" in said.split("the old ones stay: ")[2]
    assert "only a restart changes them" not in said
    (clip,) = (tmp_path / "films" / "clips").glob("clip-*.mp4")
    assert "car" in clip.name


NONSENSE: list[tuple[dict[str, str], str]] = [
    ({"detect": "conf = 2"}, r"detect\.conf: got 2, wanted 0 to 1"),
    ({"detect": "conf = "}, "not valid TOML"),
    ({"detect": 'classes = ["bus"]'}, "'bus' is not one of the model's box classes"),
    ({"detect": "conf = 1.0", "output": 'sinks = ["-", "no/a.jsonl"]'}, "there is no folder"),
    ({"detect": "conf = 1.0", "output": 'sinks = ["a.doc"]'}, r'sink: got ".*a\.doc"'),
]


def test_nonsense_is_told_and_the_old_settings_stay(model: str, tmp_path: Path) -> None:
    with service(tmp_path, model, detect="conf = 0.0") as run:
        for sections, _ in NONSENSE:
            run.write(**sections)
            run.hang_up()
        told_ns = time.monotonic_ns()
        lines = run.lines(1)
        while lines[-1]["t_capture_ns"] < told_ns:
            lines = run.lines(1)
        assert all(line["detections"] for line in lines + run.lines(5))
        said = run.said()
    told = [line for line in said.splitlines() if "the old ones stay" in line]
    for line, (_, reason) in zip(told, NONSENSE, strict=True):
        assert re.search(f" error .*the old ones stay: .*{reason}", line), line


def test_sinks_come_and_go_between_frames_and_the_kept_one_goes_on(
    model: str, tmp_path: Path
) -> None:
    kept, film, lines = tmp_path / "kept.jsonl", tmp_path / "a.mp4", tmp_path / "b.jsonl"
    with service(tmp_path, model, output='sinks = ["-", "kept.jsonl", "a.mp4"]') as run:
        run.lines(10)
        run.write(output='sinks = ["b.jsonl", "kept.jsonl", "-"]', overlay="legend = false")
        run.hang_up()
        with av.open(str(film)) as container:  # closed, so it can be played to its end
            shown = sum(1 for _ in container.decode(video=0))
        run.lines(30)
        said = run.said()
    numbers = [json.loads(line)["frame"] for line in kept.read_text().splitlines()]
    later = [json.loads(line)["frame"] for line in lines.read_text().splitlines()]
    assert later == numbers[-len(later) :]
    assert shown + len(later) == len(numbers)
    assert "read again: overlay.legend, output.sinks" in said


def test_what_only_a_restart_changes_is_named_and_left(model: str, tmp_path: Path) -> None:
    with service(tmp_path, model) as run:
        run.lines(1)
        other = 'uri = "synthetic:32x32@5"\nstall_s = 9.0'
        run.write(source=other, pipeline="frames = 1\nmax_age_ms = 5000.0", log="verbose = true")
        run.hang_up()
        assert len(run.lines(20)) == 20
        run.hang_up()  # named again as long as it is so
        said = run.said()
    left = (
        "left as they are, only a restart changes them: source.uri, source.stall_s, pipeline.frames"
    )
    assert said.count(left) == 2
    assert "read again: pipeline.max_age_ms, log.verbose" in said
    assert "read again: nothing to change" in said


def test_a_new_output_over_the_source_that_is_still_read_is_refused(
    model: str, tmp_path: Path
) -> None:
    from tests.edge.media_files import write_video

    write_video(tmp_path / "in.mp4", count=3, fps=1, times=[0, 1, 3600])
    playing = 'uri = "in.mp4"\npolicy = "drop"'
    with service(tmp_path, model, source=playing) as run:
        run.write(output='sinks = ["in.mp4"]')  # beside another source
        run.hang_up()
        said = run.said()
    assert "in.mp4: would be written over the source" in said
    with av.open(str(tmp_path / "in.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 3


def test_a_hangup_while_the_model_loads_is_answered_when_all_is_open(
    model: str, tmp_path: Path
) -> None:
    early = """
import os, signal
from edge.run.signals import hold_signals
hold_signals()  # as edge.start does, before NumPy starts its threads
import edge.run.app
opened = edge.run.app._open_perception
def hang_up(*given):
    os.kill(os.getpid(), signal.SIGHUP)
    return opened(*given)
edge.run.app._open_perception = hang_up
from edge.start import main
main()
"""
    arguments = ["--source", SOURCE, "--model", model, "--frames", "30", "--sink", "null"]
    with Receiver(tmp_path / "notify") as systemd:
        run = subprocess.run(
            [sys.executable, "-c", early, "run", *arguments],
            env=os.environ | {"DISPLAY": "", "NOTIFY_SOCKET": systemd.address},
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_S,
        )
        assert run.returncode == 0, run.stderr
        told = systemd.until("STOPPING")
    assert "the settings were read again: nothing to change" in run.stderr
    # systemd hears of no reload before the service is ready.
    ready = next(i for i, message in enumerate(told) if "READY" in message)
    assert not any("RELOADING" in message for message in told[:ready])
