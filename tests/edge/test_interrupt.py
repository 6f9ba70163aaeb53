"""Signals to a command that is no run: one line, one code, within 2 s, at any moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.edge.door import EDGE
from tests.tiny_models import tiny_street

EXPORT = [sys.executable, "-c", "from export.start import main; main()"]
ENDED = "x: interrupted, did not finish\n"
LISTENS = """
import os, signal, sys, time
from pathlib import Path
from edge.interrupt import Interrupt
interrupt = Interrupt("x")
interrupt.begin()
"""
STUCK = """
import ctypes, threading
from engines.files import scratch
mutex = ctypes.create_string_buffer(64)
lock = ctypes.CDLL(None).pthread_mutex_lock
with scratch(Path(sys.argv[1])):
    threading.Timer(0.2, print, ["stuck"], {"flush": True}).start()
    lock(mutex), lock(mutex)  # for ever, without Python's lock, as a graph that does not end
"""


def run(code: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """A process that ends by itself."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([*map(str, words), *sys.path])},
    )  # fmt: skip


def ended_by(number: int, child: subprocess.Popen[str]) -> tuple[int, str, float]:
    """Exit code, the last of stderr, and how long it took."""
    sent = time.monotonic()
    child.send_signal(number)
    said = child.communicate(timeout=60)[1]
    return child.returncode, said, time.monotonic() - sent


@pytest.mark.timing
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_does_not_come_back_to_python_is_ended_and_leaves_nothing(
    number: int, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LISTENS + STUCK, str(tmp_path)], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert child.stdout.readline() == "stuck\n"
        code, said, took_s = ended_by(number, child)
    assert (code, said) == (128 + number, ENDED)
    assert took_s < 2
    assert list(tmp_path.iterdir()) == []


def test_an_import_is_not_interrupted_but_ended_with_the_process(tmp_path: Path) -> None:
    """A library takes what is raised in it for a fault of its own, or swallows it."""
    (tmp_path / "library.py").write_text(
        "import signal\ntry:\n signal.raise_signal(15)\nexcept BaseException:\n print('mine')\n"
    )
    done = run(LISTENS + "import library\nprint('goes on')", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (143, "", ENDED)


def test_before_the_command_begins_it_is_ended_too() -> None:
    done = run(LISTENS.replace("interrupt.begin()", "") + "signal.raise_signal(2)")
    assert (done.returncode, done.stderr) == (130, ENDED)


def test_elsewhere_it_is_raised_once_and_what_follows_does_not_stop_the_clearing_up() -> None:
    code = """
try:
    signal.raise_signal(15)
finally:
    signal.raise_signal(2)
    print(interrupt.code)
"""
    done = run(LISTENS + code)
    assert done.stdout == "143\n"
    assert done.stderr.endswith("\nKeyboardInterrupt\n")


def test_what_has_ended_keeps_its_code() -> None:
    done = run(LISTENS + "interrupt.done()\nos.kill(os.getpid(), 15)\nsys.exit(4)")
    assert (done.returncode, done.stderr) == (4, "")


def test_what_is_ignored_from_the_start_stays_ignored() -> None:
    ignored = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    done = run(ignored + LISTENS + "os.kill(os.getpid(), 1)\nprint('goes on')")
    assert (done.returncode, done.stdout) == (0, "goes on\n")


@pytest.mark.slow
def test_a_step_that_must_be_whole_is_not_ended_by_force() -> None:
    code = """
from export.tensorrt.build.signals import signals_wait
with signals_wait():
    os.kill(os.getpid(), 15)
    time.sleep(2.5)
    print("whole", flush=True)
"""
    done = run(LISTENS + code)
    assert done.stdout == "whole\n"
    assert done.stderr.endswith("\nKeyboardInterrupt\n")


def endless(path: Path) -> None:
    """``tiny_street`` with a Loop behind its first node whose condition stays true."""
    tiny_street(path)
    model = onnx.load(str(path))
    info = helper.make_tensor_value_info
    number, yes, real = TensorProto.INT64, TensorProto.BOOL, TensorProto.FLOAT
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["on_"]), helper.make_node("Sin", ["v"], ["v_"])],
        "body",
        [info("i", number, []), info("on", yes, []), info("v", real, [1])],
        [info("on_", yes, []), info("v_", real, [1])],
    )
    first, *others = model.graph.node
    image, first.output[0] = first.output[0], "cast"
    looped = [
        helper.make_node("ReduceMax", ["cast"], ["most"], keepdims=0),
        helper.make_node("Reshape", ["most", "line"], ["start"]),
        helper.make_node("Loop", ["", "true", "start"], ["end"], body=body),
        helper.make_node("Add", ["cast", "end"], [image]),
    ]
    del model.graph.node[:]
    model.graph.node.extend([first, *looped, *others])
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.array([1]), "line"),
            numpy_helper.from_array(np.array(True), "true"),
        ]
    )
    onnx.save(model, str(path))


@pytest.mark.slow
@pytest.mark.timing
@pytest.mark.parametrize(
    ("command", "code"),
    [
        ([*EXPORT, "evaluate", "m.onnx", "--data", "synthetic", "--engine", "onnxruntime"], 143),
        ([*EDGE, "bench", "--model", "m.onnx"], 143),
        ([*EDGE, "run", "--model", "m.onnx", "--source", "synthetic", "--sink", "null"], 0),
    ],
)
def test_an_endless_graph_is_gone_within_2_s(command: list[str], code: int, tmp_path: Path) -> None:
    endless(tmp_path / "m.onnx")
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "DISPLAY": ""},
    ) as child:  # fmt: skip
        time.sleep(3)  # it says nothing when it has begun to run
        assert child.poll() is None
        got, said, took_s = ended_by(signal.SIGTERM, child)
    assert got == code, said
    assert took_s < 2
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [[*EDGE, "check", "s.toml"], [*EXPORT, "evaluate", "m.onnx", "--data", "synthetic"]],
)
def test_at_any_moment_of_the_start_it_is_one_line_and_the_code(
    command: list[str], tmp_path: Path
) -> None:
    tiny_street(tmp_path / "m.onnx")
    (tmp_path / "s.toml").write_text('[model]\nfiles = ["m.onnx"]\n')
    ended = 0
    for moment in range(4, 28, 3):
        number = (signal.SIGINT, signal.SIGTERM)[moment % 2]
        with subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        ) as child:  # fmt: skip
            time.sleep(moment * 0.05)
            code, said, _ = ended_by(number, child)
        if code in (0, -number):  # it was done, or Python itself was not there yet
            continue
        ended += 1
        assert (code, said.count("did not finish")) == (128 + number, 1), (moment, said)
        assert "Traceback" not in said
    assert ended
