"""The fuzz suite finds what it is there to find; the inputs made by hand are met as they should."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.fuzz import mutate
from tests.fuzz.judge import faults
from tests.fuzz.process import Ended

MESSAGE = b"edge: a.png: not a picture, wanted one. Check the path.\n"


def ended(code: int = 3, err: bytes = MESSAGE, **more: object) -> Ended:
    fields = {"argv": ["edge"], "seconds": 1.0, "cpu_s": 1.0, "peak_mb": 10.0, "out": b""}
    return Ended(**{**fields, "code": code, "err": err, **more})  # type: ignore[arg-type]


def judged(one: Ended, folder: Path) -> list[str]:
    return faults(one, folder, ["a.png"], ["b.json"], (0, 3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.png").write_bytes(b"no picture")
    return tmp_path


def test_one_message_with_an_exit_code_of_the_table_is_right(folder: Path) -> None:
    assert judged(ended(), folder) == []
    (folder / "b.json").write_text("{}")
    assert judged(ended(0, b""), folder) == []


@pytest.mark.parametrize(
    ("one", "fault"),
    [
        (ended(5), "ended with 5, wanted one of [0, 3]"),
        (ended(-11), "ended with -11, wanted one of [0, 3]"),
        (ended(err=b""), "said nothing"),
        (ended(err=b"edge: a\x1b[2J\n"), "stderr has the control character '\\x1b'"),
        (ended(err="edge: \u202egnp\n".encode()), "stderr has the control character '\\u202e'"),
        (ended(err=b"edge: \xff\n"), "stderr is not UTF-8"),
        (ended(argv=["-"], out=b'{}\n{"a"'), "stdout is no JSON: b'{}\\n{\"a\"'"),
        (ended(out=b"\x00"), "stdout has the control character '\\x00'"),
        (ended(err=b"edge: " + b"x" * 9_000), "said 9006 characters"),
        (ended(err=b"Traceback (most recent call last):\n"), "showed a traceback"),
        (
            ended(err=b"[h264 @ 0x55] error\n" + MESSAGE),
            "let a library speak: '[h264 @ 0x55] error'",
        ),
        (ended(cpu_s=11.0), "took 11.0 s of a core, more than 10"),
        (ended(peak_mb=2_000.0), "took 2000 MB, more than 1500"),
        (ended(-9, timed_out=True, seconds=30.0), "did not end within 30 s"),
        (ended(left=["tmp/x"]), "left tmp/x"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_is_told(one: Ended, fault: str, folder: Path) -> None:
    assert judged(one, folder) == [fault]


def test_what_lies_in_the_folder_afterwards_is_told(folder: Path) -> None:
    (folder / "a.png").unlink()
    (folder / "c.part").write_bytes(b"")
    (folder / "b.json").write_text("{")
    left, removed, broken = judged(ended(), folder)
    assert left == "left c.part in its folder"
    assert removed == "removed a.png"
    assert broken.startswith("b.json: cannot be read: ")


def test_a_seed_decides_what_is_damaged() -> None:
    data = bytes(range(256)) * 4
    first, again, other = (
        [mutate.damaged(rng, data, [data]) for _ in range(20)]
        for rng in (random.Random(1), random.Random(1), random.Random(2))
    )
    assert first == again != other
    assert sum(one != data for one in first) >= 19


@pytest.mark.slow
def test_the_inputs_made_by_hand_and_a_few_of_every_kind_are_met_with_one_message() -> None:
    """`make test-all` has five minutes of them, with a seed of its own."""
    command = [sys.executable, "-m", "tests.fuzz", "--cases", "2", "--seed", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
