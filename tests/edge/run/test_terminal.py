"""What a run shows on a terminal: a bar for what ends, a line for what is live, else nothing."""

from __future__ import annotations

import shlex
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.metrics.ledger import Counts
from edge.run.parts import Limits
from edge.run.terminal import Bound, bound_of, in_words
from edge.run.view import Moment
from edge.sources.live.status import SourceStatus
from tests.edge.door import EDGE, edge
from tests.edge.media_files import write_video
from tests.edge.pty_door import on_terminal
from tests.tiny_models import tiny_street


def moment(
    *, captured: int, rendered: int, overwritten: int = 0, fps: float | None = 25.0
) -> Moment:
    in_flight = captured - rendered - overwritten
    return Moment(
        counts=Counts(captured, rendered, overwritten, 0, 0, 0, in_flight),
        status=None,
        signal=None,
        fps=fps,
        age_ms=40.0,
        silent_s=0.0 if fps else 7.2,
        flowing=fps is not None,
    )


@pytest.mark.parametrize(
    ("limits", "frames", "bound"),
    [
        (Limits(), None, None),
        (Limits(), 0, None),
        (Limits(), 40, Bound(30, 40)),  # 20 rendered and 10 dropped have been dealt with
        (Limits(), 29, None),  # a file that has more than it says
        (Limits(frames=80), None, Bound(20, 80)),
        (Limits(frames=80), 40, Bound(30, 40)),  # 30/40 > 20/80
        (Limits(frames=22), 40, Bound(20, 22)),  # 20/22 > 30/40
        (Limits(seconds=4), None, Bound(3, 4, frames=False)),
        (Limits(seconds=2), None, Bound(2, 2, frames=False)),
        (Limits(seconds=4, frames=80), 1000, Bound(3, 4, frames=False)),
    ],
)
def test_what_ends_a_run_first_is_its_bar(
    limits: Limits, frames: int | None, bound: Bound | None
) -> None:
    now = moment(captured=31, rendered=20, overwritten=10)
    assert bound_of(now, limits, frames=frames, ran_s=3.0) == bound


def test_a_file_tells_its_frames_and_a_live_source_how_it_does() -> None:
    def said(now: Moment, bound: Bound | None, *, live: bool) -> str:
        return in_words(now, bound, live=live, age_p99_ms=61.4 if live else None)

    whole = moment(captured=21, rendered=20)
    some = moment(captured=31, rendered=20, overwritten=10)
    none = moment(captured=30, rendered=20, overwritten=10, fps=None)
    status = SourceStatus("cam", "reconnecting", 0)
    assert said(whole, Bound(20, 40), live=False) == "20/40 frames, 25.0 fps"
    assert said(whole, None, live=False) == "20 frames, 25.0 fps"
    assert said(some, Bound(30, 40), live=False) == "30/40 frames, 25.0 fps, dropped 10"
    seconds = Bound(3, 7.6, frames=False)
    assert said(whole, seconds, live=False) == "20 frames, 25.0 fps, 5 s left"
    assert said(some, None, live=True) == "25.0 fps, age p99 61 ms, dropped 10"
    held = replace(whole, source_delay_ms=2170.4)
    assert said(held, None, live=True) == (
        "25.0 fps, age p99 61 ms, source delay 2170 ms, dropped 0"
    )
    lost = Moment(none.counts, status, None, None, 40.0, none.silent_s, flowing=False)
    assert said(lost, None, live=True) == (
        "no frame for 7 s, age p99 61 ms, dropped 10, reconnecting"
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    tiny_street(path)
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve of them: more than half a second at 20 a second."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(12):
        cv2.imwrite(str(folder / f"{number}.png"), np.zeros((64, 96, 3), np.uint8))
    return folder


def run(model: Path, *words: str | Path) -> list[str]:
    return [*EDGE, "run", "--model", str(model), "--engine", "onnxruntime", *map(str, words)]


@pytest.mark.parametrize("kind", ["folder", "file that says wrongly how many"])
def test_all_frames_are_100_percent_under_whole_log_lines(
    kind: str, model: Path, images: Path, tmp_path: Path
) -> None:
    source = images
    if kind != "folder":  # by its length and rate there would be 60
        source = write_video(tmp_path / "a.mkv", count=12, times=[*range(11), 59])
    lines = tmp_path / "lines"
    with lines.open("w") as stdout:
        words = ("--source", source, "--sink", "-", "--verbose")
        drawn = on_terminal(run(model, *words), stdout=stdout)
    assert drawn.code == 0, drawn.text
    assert len(lines.read_text().splitlines()) == 12
    (at,) = (n for n, line in enumerate(drawn.lines) if "%|" in line)
    assert drawn.lines[at].startswith("100%|")
    assert "| 12/12 frames" in drawn.lines[at]
    assert drawn.lines[at + 1].startswith("stage ")
    assert all(line[2] == ":" for line in drawn.lines[:at])  # HH:MM:SS level name: message


def test_a_live_source_has_a_line_that_ctrl_c_wipes_away(model: Path) -> None:
    def interrupt(text: str, child: subprocess.Popen[bytes]) -> None:
        if "age p99" in text:
            child.send_signal(signal.SIGINT)

    words = ("--source", "synthetic:96x64@30", "--sink", "null")
    drawn = on_terminal(run(model, *words), on_text=interrupt)
    assert drawn.code == 0, drawn.text
    assert " fps, age p99 " in drawn.text
    assert ", dropped " in drawn.text
    assert "%|" not in drawn.text
    assert drawn.lines[0].startswith("stage ")


@pytest.mark.parametrize("behind", ["", " | cat"])
def test_json_lines_on_the_terminal_are_not_torn(behind: str, model: Path, images: Path) -> None:
    command = shlex.join(run(model, "--source", images, "--sink", "-")) + behind
    drawn = on_terminal(["sh", "-c", command])
    assert drawn.code == 0, drawn.text
    assert "%|" not in drawn.text
    assert '{"frame": ' in drawn.text


def test_a_quiet_run_says_nothing(model: Path, images: Path) -> None:
    drawn = on_terminal(run(model, "--source", images, "--sink", "null", "--quiet"))
    assert (drawn.code, drawn.text) == (0, "")


def test_what_is_no_terminal_gets_no_codes_and_a_quiet_run_still_says_what_is_wrong(
    model: Path, images: Path
) -> None:
    words = run(model, "--source", images, "--sink", "null")[len(EDGE) :]
    piped = edge(*words)
    assert piped.returncode == 0
    assert "\r" not in piped.stderr
    assert "\x1b" not in piped.stderr
    assert "stage " in piped.stderr
    assert "%|" not in piped.stderr
    failed = edge(*words, "--source", "none.mp4", "--quiet")
    assert failed.returncode == 3
    assert "none.mp4: no such file" in failed.stderr
    assert len(failed.stderr.splitlines()) == 1
