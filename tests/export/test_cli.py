"""The command itself: what it lists, what it imports, and how its errors end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from export.cli import commands
from tests.foreign_models import ultralytics

EDGE_EXPORT = "from export.cli import main; main()"
HEAVY = (
    "numpy", "cv2", "av", "onnx", "openvino", "onnxruntime", "pydantic", "torch", "matplotlib",
)  # fmt: skip


def edge_export(
    *arguments: str | Path, before: str = "", cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``edge-export`` in a process of its own; ``before`` is code that runs first."""
    return subprocess.run(
        [sys.executable, "-c", f"{before}\n{EDGE_EXPORT}", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def without(package: str) -> str:
    """Code after which ``package`` cannot be imported, as where it is not installed."""
    return f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {package!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name={package!r})
sys.meta_path.insert(0, Absent())
"""


def test_every_command_is_in_the_help_with_its_line() -> None:
    done = edge_export("--help")
    assert done.returncode == 0
    assert {"adopt", "evaluate", "onnx", "train"} <= set(commands.table)
    for name, (_, text) in commands.table.items():
        assert f"\n  {name} " in done.stdout
        assert text.split()[0] in done.stdout


def test_the_help_imports_nothing_heavy() -> None:
    before = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print('LOADED', *(set({HEAVY}) & set(sys.modules))))"
    )
    done = edge_export("--help", before=before)
    assert done.stdout.startswith("Usage: edge-export")
    assert done.stdout.endswith("LOADED\n")


@pytest.mark.parametrize("name", commands.table)
def test_every_command_explains_itself(name: str) -> None:
    done = CliRunner().invoke(commands, [name, "--help"], prog_name="edge-export")
    assert done.exit_code == 0
    assert done.stdout.startswith(f"Usage: edge-export {name}")
    assert done.stderr == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["onnx"],
        ["train", "--nonsense"],
        ["evaluate", "m", "--limit", "0"],
        ["fp16", "m", "--iou", "nan"],  # which is below no limit
        ["build", "m", "--iou", "nan"],
        ["build", "m", "--workspace", str(10**14)],
    ],
)
def test_wrong_usage_exits_2(arguments: list[str]) -> None:
    done = edge_export(*arguments)
    assert done.returncode == 2
    assert "Usage: edge-export" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["train", "--splits", "test"], 2, "--splits test: wanted train, val or both"),
        (["train", "--root", "none", "--device", "cpu"], 4, "none: no CamVid split 'train' here"),
        (["onnx", "none.pt"], 4, "none.pt: no such checkpoint"),
        (["evaluate", "none.onnx", "--data", "synthetic"], 4, "none.onnx: no such model file"),
        (["adopt", "none.onnx"], 4, "none.onnx: no such model file"),
    ],
)
def test_an_error_is_one_message_and_its_code(
    tmp_path: Path, arguments: list[str], code: int, says: str
) -> None:
    done = edge_export(*arguments, cwd=tmp_path)
    assert done.returncode == code
    assert f"edge-export: {says}" in done.stderr
    assert "Traceback" not in done.stderr
    assert "fault of Outrider" not in done.stderr


@pytest.mark.parametrize("name", ["train", "onnx"])
def test_without_torch_a_command_says_what_to_install(name: str) -> None:
    done = edge_export(name, "--help", before=without("torch"))
    assert done.returncode == 4
    assert f"edge-export: {name} needs torch, which is not installed here" in done.stderr
    assert "pip install -e '.[train]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["build", "inspect"])
def test_without_tensorrt_and_pycuda_its_commands_explain_themselves(name: str) -> None:
    absent = "import sys; sys.modules['tensorrt'] = sys.modules['pycuda'] = None"
    assert edge_export(name, "--help", before=absent).returncode == 0


@pytest.mark.parametrize("name", ["evaluate", "adopt"])
def test_what_a_machine_of_the_app_alone_can_do_needs_no_torch(name: str) -> None:
    assert edge_export(name, "--help", before=without("torch")).returncode == 0


def test_a_broken_installation_of_the_app_itself_is_shown_as_a_fault() -> None:
    done = edge_export("evaluate", "--help", before=without("cv2"))
    assert done.returncode == 5
    assert "this is a fault of Outrider" in done.stderr


def test_sigterm_leaves_nothing_half_made(tmp_path: Path) -> None:
    """The signal comes from within, while the unproven file lies there."""
    (tmp_path / "net.onnx").write_bytes(ultralytics().SerializeToString())
    before = """
import os, signal
import export.adopt.adopt
def prove(net, plan, unproven, *_):
    print(unproven.is_file(), os.listdir("."), unproven.parent)
    signal.raise_signal(signal.SIGTERM)  # to this thread: another may take it when all is done
export.adopt.adopt._prove = prove
"""
    done = edge_export("adopt", "net.onnx", before=before, cwd=tmp_path)
    assert done.stdout.startswith("True ['net.onnx'] ")  # nothing unproven beside the user's
    assert not Path(done.stdout.split()[-1]).exists()
    assert done.returncode == 128 + 15
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    assert "Traceback" not in done.stderr
