"""No command, and no library that one loads, calls home or writes but into folders of ours."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.edge.door import DEADLINE_S, EDGE
from tests.foreign_models import foreign_yolov8
from tests.tiny_models import tiny_street

ROOT = Path(__file__).parents[1]
ALONE = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-r", "-n"]
"""A network namespace of its own, in which there is nobody to reach."""
PROGRAMS = {
    "edge": EDGE,
    "edge-export": [sys.executable, "-c", "from export.start import main; main()"],
}
OURS = (".cache/outrider", ".local/state/outrider")
SEEN = '"$@" >&2; code=$?; cat /proc/net/snmp /proc/net/snmp6; exit $code'
TRAIN = "edge-export train --out . --splits none --synthetic 4 --size 64x64 --eval-every 0"
CAMERA = "--model tiny.onnx --source synthetic:96x64@30"


@pytest.mark.parametrize(
    "commands",
    [
        [
            f"edge run {CAMERA} --engine onnxruntime --frames 9 --sink a.mp4 --sink a.jsonl "
            "--sink record:films --sink web:127.0.0.1:0 --metrics m.json"
        ],
        pytest.param(["edge doctor"], marks=pytest.mark.slow),
        pytest.param(
            [
                "edge run --model foreign.onnx --source 'gst:videotestsrc num-buffers=5 ! "
                "video/x-raw,width=96,height=64' --sink null"
            ],
            marks=pytest.mark.slow,
        ),
        # Version 1.31 of ONNX Runtime looks its makers' address up nine seconds after its start.
        pytest.param(
            [f"edge profile {CAMERA} -o p --engine onnxruntime --seconds 12"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            [
                "edge check settings.toml",
                "edge service status",
                "edge latency --source none.mp4 --page 127.0.0.1:0",
            ],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            [
                f"{TRAIN} --epochs 1",
                "edge-export onnx last.pt -o trained.onnx",
                "edge-export average last.pt last.pt --out mean.pt",
            ],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            [
                "edge-export adopt foreign.onnx -o adopted.onnx",
                "edge-export evaluate adopted.onnx --data synthetic --limit 2",
                "edge-export verify adopted.onnx adopted.onnx",
                "edge-export fp16 adopted.onnx -o half.onnx",
                "edge-export check-tensorrt adopted.onnx",
                "edge-export build adopted.onnx",
                "edge-export inspect none.engine",
                "edge-export ensure settings.toml",
                "edge-export camvid-boxes none none",
            ],
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda commands: " ".join(commands[0].split()[:2]),
)
def test_nothing_is_sent_and_nothing_written_but_in_our_folders(
    commands: list[str], tmp_path: Path
) -> None:
    if subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode:
        pytest.skip(f"needs a network namespace of its own: {' '.join(ALONE)}")
    home, temporary, work = (tmp_path / name for name in ("home", "tmp", "work"))
    for folder in (home, temporary, work):
        folder.mkdir()
    tiny_street(work / "tiny.onnx")
    foreign_yolov8(work / "foreign.onnx")
    (work / "settings.toml").write_text('[output]\nsinks = ["null"]\n')
    env = {"HOME": str(home), "TMPDIR": str(temporary), "PATH": os.environ["PATH"]}
    env |= {"PYTHONPATH": str(ROOT)}
    for command in commands:
        program, *words = shlex.split(command)
        done = subprocess.run(
            [*ALONE, "sh", "-c", SEEN, "sh", *PROGRAMS[program], *words], cwd=work, env=env,
            capture_output=True, text=True, check=False, timeout=DEADLINE_S,
        )  # fmt: skip
        # Refused or not: it has loaded what it loads.
        assert "Traceback" not in done.stderr, done.stderr
        assert tried(done.stdout) == 0, f"{command}\n{done.stderr}"
        others = [path for path in home.rglob("*") if not path.is_dir()]
        assert [p for p in others if not str(p.relative_to(home)).startswith(OURS)] == [], command
        assert list(temporary.iterdir()) == [], command


def tried(counts: str) -> int:
    """Addresses that somebody wanted to reach; the kernel counts each where there is no way out."""
    lines = [line.split() for line in counts.splitlines()]
    four = dict(zip(*(line for line in lines if line[0] == "Ip:"), strict=True))
    six = {line[0]: line[1] for line in lines if len(line) == 2}
    return int(four["OutNoRoutes"]) + int(six["Ip6OutNoRoutes"])


def test_an_address_that_somebody_wants_to_reach_is_counted() -> None:
    if subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode:
        pytest.skip(f"needs a network namespace of its own: {' '.join(ALONE)}")
    call = "import socket; socket.socket(type=socket.SOCK_DGRAM).connect_ex(('192.0.2.1', 53))"
    words = [*ALONE, "sh", "-c", SEEN, "sh", sys.executable, "-c", call]
    assert tried(subprocess.run(words, capture_output=True, text=True, check=True).stdout) == 1
