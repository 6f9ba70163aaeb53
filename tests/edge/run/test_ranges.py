"""NVIDIA's tools hear of each stage by name, on its thread; without them nothing is wrapped."""

from __future__ import annotations

import builtins
import importlib.util
import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from edge.run.parts import Parts
from edge.run.ranges import named
from tests.edge.door import edge

LISTENER = Path(__file__).with_name("nvtx_listener.cpp")


def _parts() -> Parts:
    def never(*_: object) -> Any:
        raise AssertionError("opened too early")

    return Parts(never, never, never, never)


@pytest.fixture
def listener(tmp_path: Path) -> Path:
    """What nsys brings: a library that NVTX calls."""
    compiler, package = shutil.which("g++"), importlib.util.find_spec("nvtx")
    if compiler is None or package is None:
        text = "needs g++ (apt install g++) and the package nvtx (pip install 'outrider[nvtx]')"
        if os.environ.get("CI"):
            pytest.fail(text)
        pytest.skip(text)
    library = tmp_path / "listener.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, LISTENER], check=True)
    return library


def test_a_listener_hears_every_stage_on_its_thread(listener: Path, tmp_path: Path) -> None:
    heard = tmp_path / "heard.txt"
    done = edge(
        *("run", "--source", "synthetic:320x192@30", "--frames", "5", "--quiet"),
        *("--sink", tmp_path / "out.mp4"),
        env={"NVTX_INJECTION64_PATH": str(listener), "NVTX_HEARD": str(heard)},
    )
    assert done.returncode == 0, done.stderr
    ranges: Counter[str] = Counter()
    threads: dict[str, set[str]] = {}
    running: dict[str, list[str]] = {}
    for line in heard.read_text().splitlines():
        what, number, *rest = line.split()
        if what in ("push", "start"):
            domain, name = rest
            assert domain == "outrider"
            ranges[name] += 1
        if what == "push":
            threads.setdefault(name, set()).add(number)
            running.setdefault(number, []).append(name)
        elif what == "pop":
            running[number].pop()
    assert set(ranges) == {"capture", "letterbox", "infer", "decode", "overlay", "sinks"}
    assert ranges["sinks"] == ranges["overlay"] == 5
    assert ranges["infer"] >= 5
    assert heard.read_text().count("\nend ") == ranges["infer"]
    assert not any(running.values()), "ranges without an end"
    assert all(len(on) == 1 for on in threads.values())
    assert threads["letterbox"] == threads["decode"]
    assert threads["overlay"] == threads["sinks"]
    assert len(threads["capture"] | threads["letterbox"] | threads["sinks"]) == 3


def test_without_a_listener_nothing_is_wrapped() -> None:
    parts = _parts()
    assert named(parts, {}) is parts
    assert named(parts, {"NSYS_PROFILING_SESSION_ID": "1"}) is not parts


def test_a_listener_without_the_package_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name == "nvtx":
            raise ImportError
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    parts = _parts()
    assert named(parts, {"NVTX_INJECTION64_PATH": "/x.so"}) is parts
    assert "pip install 'outrider[nvtx]'" in caplog.text
