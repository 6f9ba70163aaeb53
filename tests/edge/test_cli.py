"""The command itself: what it imports, its exit codes, and what it says of its own faults."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from edge.cli import LazyGroup, commands, invoke
from engines.errors import DeviceError, SettingsError

HEAVY = ("numpy", "cv2", "av", "onnx", "openvino", "onnxruntime", "pydantic", "torch", "psutil")


@pytest.mark.parametrize("arguments", [[], ["run"], ["doctor"], ["check"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    # The options of "run" are made of the settings, and those bring what checks them.
    heavy = set(HEAVY) - ({"pydantic"} if arguments == ["run"] else set())
    code = f"""
import sys
from edge.cli import main
sys.argv = ["edge", *{arguments}, "--help"]
try:
    main()
except SystemExit as exc:
    assert exc.code == 0
print("LOADED", *({heavy} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage: edge" in done.stdout
    assert done.stdout.endswith("LOADED\n")


def test_every_command_is_in_the_help() -> None:
    command = [sys.executable, "-c", "from edge.cli import main; main()", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for name in commands.table:
        assert f"\n  {name} " in done.stdout


def _exit(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    """Exit code and stderr of a command that raises ``error``."""

    def fail() -> None:
        raise error

    group = click.Group(commands=[click.Command("fail", callback=fail)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["edge", "fail"])
        with pytest.raises(SystemExit) as caught:
            invoke(group, "edge")
    return caught.value.code, capsys.readouterr().err


def test_an_error_is_its_message_and_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert _exit(SettingsError("a\nb"), capsys) == (2, "edge: a\nedge: b\n")
    assert _exit(DeviceError("lost"), capsys) == (6, "edge: lost\n")


def test_in_the_journal_the_message_of_an_error_has_the_priority_of_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stderr = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{stderr.st_dev}:{stderr.st_ino}")
    assert _exit(SettingsError("a\nb"), capsys) == (2, "<3>edge: a\n<3>edge: b\n")


def test_ctrl_c_is_not_taken_for_success(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = _exit(KeyboardInterrupt(), capsys)
    assert code == 130
    assert text.strip() == "edge: interrupted, did not finish"


INTERRUPT_ON_IMPORT = """
import os, signal, sys
module = sys.argv.pop(1)
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == module:
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Finder)
from edge.start import main
main()
"""


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("edge.vision.perception", ["check", "car.toml"]),
        ("edge.machine.bench", ["bench"]),
        ("edge.machine.doctor", ["doctor"]),
    ],
)
def test_a_command_that_is_interrupted_says_so_in_one_line(
    module: str, arguments: list[str], tmp_path: Path
) -> None:
    (tmp_path / "car.toml").write_text("")
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPT_ON_IMPORT, module, *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr.strip() == "edge: interrupted, did not finish"


def test_a_fault_shows_where_it_is_but_no_credentials(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = _exit(RuntimeError("no rtsp://user:secret@cam/1"), capsys)
    assert code == 5
    assert "test_cli.py" in text
    assert "rtsp://***@cam/1" in text
    assert "secret" not in text


@pytest.mark.parametrize("arguments", [["nonsense"], ["run", "--nonsense"], ["run", "a", "b"]])
def test_wrong_usage_exits_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["edge", *arguments])
        with pytest.raises(SystemExit) as caught:
            invoke(commands, "edge")
    assert caught.value.code == 2
    assert "Usage: edge" in capsys.readouterr().err


def test_a_command_that_is_not_in_the_table_is_none() -> None:
    group = LazyGroup(table={}, help="")
    assert group.get_command(click.Context(group), "run") is None
