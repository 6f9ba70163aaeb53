"""ONNX Runtime reports nothing to anybody: its one import ends its telemetry."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from engines.onnxruntime import open_session
from tests.tiny_models import tiny_street

ROOT = Path(__file__).resolve().parents[2]

RUN = """
import sys, time
from pathlib import Path
from engines import open_engine
engine = open_engine(Path(sys.argv[1]), engine="onnxruntime")
engine.submit(0)
engine.wait(0)
engine.close()
time.sleep(float(sys.argv[2]))
names, numbers = [l.split() for l in Path("/proc/self/net/snmp").read_text().splitlines()][:2]
six = dict(l.split() for l in Path("/proc/self/net/snmp6").read_text().splitlines())
print(dict(zip(names, numbers))["OutNoRoutes"], six["Ip6OutNoRoutes"])
"""
LOOKS_UP_AFTER_S = 12
"""Version 1.31 looks its makers' address up nine seconds after its first session."""
ALONE = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-r", "-n"]
"""A network namespace of its own, in which there is nobody to reach."""


def run(start: list[str], folder: Path, *, seconds: float) -> str:
    """Run a tiny model and wait; what the program prints. ``folder`` is home and cache."""
    tiny_street(folder.parent / "tiny.onnx")
    folder.mkdir()
    env = {"HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache"), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [*start, sys.executable, "-c", RUN, str(folder.parent / "tiny.onnx"), str(seconds)],
        cwd=ROOT, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_run_leaves_nothing_in_the_users_folders(tmp_path: Path) -> None:
    run([], tmp_path / "home", seconds=0)
    assert list((tmp_path / "home").rglob("*")) == []


def test_nothing_is_printed_over_an_operator_whose_name_is_no_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Nameless", ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    data = model.SerializeToString().replace(b"Nameless", b"Nameles\xff")
    with pytest.raises(ValueError, match="utf-8"):
        open_session(data)
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_a_run_sends_nothing_and_looks_no_name_up(tmp_path: Path) -> None:
    if subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode:
        pytest.skip(f"needs a network namespace of its own: {' '.join(ALONE)}")
    # Where there is no way out, the kernel counts every address that somebody wanted to reach.
    counts = run(ALONE, tmp_path / "home", seconds=LOOKS_UP_AFTER_S)
    assert counts.split() == ["0", "0"]
    assert list((tmp_path / "home").rglob("*")) == []
