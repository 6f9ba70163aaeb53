"""Standard output that is full, closed or left by its reader: an error of one line, or none."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from edge.sources.video.media import av
from edge.stdout import outlive_terminal
from tests.edge.door import DEADLINE_S, EDGE
from tests.edge.pty_door import hung_up
from tests.tiny_models import tiny_street

DOCTOR = f"{sys.executable} -c 'from edge.start import main; main()' doctor --json"
EVALUATE = (
    f"{sys.executable} -c 'from export.cli import main; main()' evaluate none.onnx "
    "--data synthetic --json -"
)
BENCH = f"{sys.executable} -c 'from edge.start import main; main()' bench --json -"


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (f"{DOCTOR} >/dev/full", 5, "edge: standard output: cannot be written: No space left on"),
        (f"{DOCTOR} >&-", 5, "edge: standard output: it was closed before the start"),
        (f"{BENCH} >&-", 2, "edge: --json -: standard output is closed; name a file"),
        (f"{EVALUATE} >&-", 2, "edge-export: --json -: standard output is closed; name a file"),
        (f"set -o pipefail; {DOCTOR} | true", 1, ""),  # head: nobody wants to hear of it
    ],
)
def test_what_cannot_be_printed_is_told_in_one_line(command: str, code: int, said: str) -> None:
    done = subprocess.run(
        ["bash", "-c", command], stderr=subprocess.PIPE, text=True, check=False, timeout=DEADLINE_S
    )
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith(said)
    assert len(done.stderr.splitlines()) == bool(said)


def test_what_is_written_to_a_terminal_that_is_gone_goes_nowhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w", buffering=1) as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setattr(sys, "stderr", terminal)
        outlive_terminal()
        print("seen", flush=True)
        assert os.read(ours, 100) == b"seen\r\n"
        os.close(ours)
        for stream in (sys.stdout, sys.stderr, sys.stdout):
            print("nobody hears it", file=stream, flush=True)


def test_a_pipe_that_nobody_reads_still_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    pipe = os.fdopen(theirs, "w")
    monkeypatch.setattr(sys, "stdout", pipe)
    outlive_terminal()
    with pytest.raises(BrokenPipeError):
        print("nobody reads it", flush=True)
    with pytest.raises(BrokenPipeError):  # what is left in its buffer
        pipe.close()


@pytest.mark.parametrize("nohup", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_run_outlives_its_terminal_where_it_is_to_and_else_ends_in_order(
    nohup: bool, tmp_path: Path
) -> None:
    tiny_street(tmp_path / "tiny.onnx")
    words = ["run", "--model", "tiny.onnx", "--source", "synthetic:96x64@30", "--frames", "60"]
    words += ["--sink", "-", "--sink", "out.mp4", "--metrics", "m.json"]
    assert hung_up([*EDGE, *words], at='"frame": 3', nohup=nohup, cwd=tmp_path) == 0
    report = json.loads((tmp_path / "m.json").read_text())
    assert report["ended"] == ("frames" if nohup else "signal SIGHUP")
    assert (report["frames"]["rendered"] == 60) == nohup
    with av.open(str(tmp_path / "out.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) == report["frames"]["rendered"]


@pytest.mark.slow
def test_a_training_whose_terminal_is_gone_keeps_its_checkpoint(tmp_path: Path) -> None:
    words = ["train", "--out", ".", "--splits", "none", "--synthetic", "8", "--size", "64x64"]
    words += ["--eval-every", "0", "--epochs", "10000"]
    program = [sys.executable, "-c", "from export.cli import main; main()", *words]
    assert hung_up(program, at="epoch 2 ", cwd=tmp_path) == 129
    assert (tmp_path / "last.pt").exists()


@pytest.mark.slow
def test_a_measurement_whose_terminal_is_gone_ends_as_by_ctrl_c(tmp_path: Path) -> None:
    assert hung_up([*EDGE, "bench"], at="source, reading", cwd=tmp_path) == 129
