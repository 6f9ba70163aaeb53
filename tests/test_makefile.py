"""What make does before it installs anything: it names what the system lacks, in one line."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
OUTSIDE = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
"""The environment of someone who has not started the tests by make."""
NO_DISPLAY = "#!/bin/sh\n[ $1 != -c ]\n"
"""A Python that says so to whoever asks it, and that no package of the system's is missing."""


def make(*words: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run make as someone at a terminal would, outside the make that runs the tests."""
    return subprocess.run(
        ["make", *words],
        cwd=folder,
        env=OUTSIDE | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def system_packages() -> ModuleType:
    """The script that make and CI ask; it lies outside the packages."""
    path = ROOT / ".ci" / "system_packages.py"
    spec = importlib.util.spec_from_file_location("system_packages", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """What make reads, in a folder without a venv."""
    for name in ("Makefile", "pyproject.toml", "constraints", ".ci"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_plain_make_says_what_there_is_and_does_nothing(fresh: Path) -> None:
    run = make(folder=fresh)
    assert run.returncode == 0
    assert run.stdout.startswith("make run")
    assert not (fresh / ".venv").exists()


@pytest.mark.parametrize("goal", ["run", "test"])
def test_a_missing_python_is_one_apt_line(fresh: Path, goal: str) -> None:
    run = make(goal, "PYTHON=python3.99", folder=fresh)
    assert run.returncode != 0
    assert "    sudo apt install -y python3 python3-venv" in run.stderr.splitlines()
    assert not (fresh / ".venv").exists()


def test_a_changed_constraint_file_installs_anew_and_nothing_else_does(fresh: Path) -> None:
    (fresh / ".venv").mkdir()
    (fresh / ".venv" / ".run").touch()
    later = (fresh / ".venv" / ".run").stat().st_mtime + 10
    assert "pip install" not in make("-n", "run", folder=fresh).stdout
    os.utime(fresh / "constraints" / "py310.txt", (later, later))
    assert "pip install" in make("-n", "run", folder=fresh).stdout


@pytest.mark.parametrize(
    ("terminal", "opened"),
    [(True, "run --sink web"), (False, "run --sink out/street.mp4 --frames 300")],
)
def test_without_a_display_make_run_opens_a_page_on_a_terminal_alone(
    terminal: bool, opened: str, fresh: Path, noted: Path
) -> None:
    edge = noted.with_name("edge")
    edge.write_text('#!/bin/sh\necho "edge $@"\n')
    edge.chmod(0o755)
    noted.with_name("python").write_text(NO_DISPLAY)
    (fresh / ".venv" / ".run").touch()
    # "script" runs a command on a terminal of its own.
    command = ["script", "-qec", "make run", "/dev/null"] if terminal else ["make", "run"]
    done = subprocess.run(
        command,
        cwd=fresh,
        env=OUTSIDE,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert f"edge {opened}" in done.stdout, done
    assert ("http://127.0.0.1:8090/" in done.stdout) == terminal


@pytest.fixture
def noted(fresh: Path) -> Path:
    """What make called the venv's pip with, a line each: a Python that only notes its words.

    It has no wheels of the extra rtx, as on a machine for which NVIDIA makes none.
    """
    python = fresh / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        """#!/bin/sh
[ "$1" = -m ] || { echo py311; exit; }
echo "$@" >> "$(dirname "$0")/noted"
case "$*" in *rtx]*) echo 'No matching distribution' >&2; exit 1;; esac
"""
    )
    python.chmod(0o755)
    (fresh / ".ci" / "system_packages.py").write_text("")  # nothing is missing
    return python.parent / "noted"


def test_the_app_is_installed_with_its_page_and_without_tensorrt_for_rtx(
    fresh: Path, noted: Path
) -> None:
    run = make(".venv/.run", folder=fresh)
    assert run.returncode == 0, run.stderr
    assert noted.read_text().rstrip().endswith("-e .[web]")
    assert "rtx" not in noted.read_text()
    (fresh / ".venv" / ".test").touch()
    assert "pip install" not in make("-n", ".venv/.test", folder=fresh).stdout
    later = (fresh / ".venv" / ".run").stat().st_mtime + 10
    os.utime(fresh / "constraints" / "rtx.txt", (later, later))
    assert "pip install" not in make("-n", ".venv/.run", folder=fresh).stdout
    assert "pip install" in make("-n", ".venv/.test", folder=fresh).stdout


def test_a_machine_without_its_wheels_can_still_test_but_ci_cannot(
    fresh: Path, noted: Path
) -> None:
    run = make(".venv/.test", folder=fresh, CI="")
    assert run.returncode == 0, run.stderr
    assert "Once more without TensorRT for RTX" in run.stdout
    first, second = noted.read_text().splitlines()
    assert first.endswith("-c constraints/py311.txt -c constraints/rtx.txt -e .[test,rtx]")
    assert second.endswith("-c constraints/py311.txt -e .[test]")
    assert all("--only-binary=:all:" in line for line in (first, second))
    (fresh / ".venv" / ".test").unlink()
    assert make(".venv/.test", folder=fresh, CI="1").returncode != 0
    assert len(noted.read_text().splitlines()) == 3
    assert not (fresh / ".venv" / ".test").exists()


def test_this_machine_is_installed_and_rolled_back_by_the_python_that_is_named(
    tmp_path: Path,
) -> None:
    for goal, words in {"install": "", "rollback": " --rollback"}.items():
        printed = make("-n", goal, "ARGS=--dry-run", "PYTHON=python3.99").stdout
        assert printed == f"python3.99 -B systemd/install.py{words} --dry-run\n"
    run = make("rollback", f"ARGS=--root {tmp_path}", f"PYTHON={sys.executable}")
    assert "has no earlier version" in run.stderr


def test_a_bundle_is_made_for_the_python_and_machine_that_are_named(
    fresh: Path, noted: Path
) -> None:
    command = f"{noted.parent.relative_to(fresh)}/python systemd/make_bundle.py"
    plain = make("-n", "bundle", folder=fresh).stdout.replace("\\\n", " ")
    assert f"{command} " in plain
    assert "--machine" not in plain
    words = ("PYTHON_VERSION=3.10", "MACHINE=aarch64")
    named = make("-n", "bundle", *words, folder=fresh).stdout.replace("\\\n", " ").split()
    assert named[-4:] == ["--python-version", "3.10", "--machine", "aarch64"]


def test_a_jetson_is_installed_and_rolled_back_by_its_own_python(tmp_path: Path) -> None:
    for goal, words in {"install-jetson": "", "rollback-jetson": " --rollback"}.items():
        printed = make("-n", goal, "ARGS=--dry-run", "PYTHON=python3.99").stdout
        assert printed == f"/usr/bin/python3 -B systemd/install_jetson.py{words} --dry-run\n"
    run = make("rollback-jetson", f"ARGS=--root {tmp_path}")
    assert "has no earlier version" in run.stderr


@pytest.mark.parametrize(
    ("given", "printed"), [({}, "true"), ({"CI": ""}, "true"), ({"CI": "1"}, "1")]
)
def test_ci_tells_the_tests_that_a_skip_hides_something(
    given: dict[str, str], printed: str, tmp_path: Path
) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci")
    (tmp_path / ".ci" / "system_packages.py").write_text("")  # nothing is missing
    (tmp_path / "Makefile").write_text('test-ci:\n\t@echo "CI=$$CI"\n')
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "CI"))}
    run = subprocess.run(
        [tmp_path / ".ci" / "run"],
        env=inherited | given,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout) == (0, f"CI={printed}\n"), run.stderr


def test_what_is_missing_is_one_apt_line(
    system_packages: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(system_packages, "RUN", [("liba1", "liba-none.so.1"), ("sh", "sh")])
    monkeypatch.setattr(system_packages, "WINDOW", [("libb2", "libb-none.so.2")])
    monkeypatch.delenv("DISPLAY", raising=False)
    assert system_packages.main(["run"]) == 1
    assert capsys.readouterr().err.splitlines()[1:] == ["    sudo apt install -y liba1"]
    monkeypatch.setenv("DISPLAY", ":0")
    assert system_packages.main(["run"]) == 1
    assert capsys.readouterr().err.splitlines()[1:] == ["    sudo apt install -y liba1 libb2"]
    assert system_packages.main(["run", "--names"]) == 0
    assert capsys.readouterr().out == "liba1 libb2\n"


def test_gstreamer_is_wanted_for_the_tests_where_its_bindings_fit_the_python(
    system_packages: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "python3.1").touch()
    (tmp_path / f"python{sys.version_info[0]}.{sys.version_info[1]}").touch()
    (tmp_path / "other").symlink_to("python3.1")
    (tmp_path / "same").symlink_to(f"python{sys.version_info[0]}.{sys.version_info[1]}")
    monkeypatch.setattr(system_packages, "GSTREAMER", [("a-binding", f"{tmp_path}/**/a*.so")])
    for python, goal, wanted in [("same", "test", 1), ("same", "run", 0), ("other", "test", 0)]:
        monkeypatch.setattr(system_packages, "SYSTEM_PYTHON", str(tmp_path / python))
        assert system_packages.missing(goal, window=False).count("a-binding") == wanted
    monkeypatch.setattr(system_packages, "SYSTEM_PYTHON", str(tmp_path / "same"))
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "a.so").touch()
    assert "a-binding" not in system_packages.missing("test", window=False)


def test_pythons_headers_are_wanted_where_pycuda_can_be_built(
    system_packages: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def wanted(goal: str) -> bool:
        return any(name.endswith("-dev") for name in system_packages.missing(goal, window=False))

    monkeypatch.setattr(system_packages.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    monkeypatch.setattr(system_packages, "has_cuda_toolkit", lambda: True)
    assert wanted("test")
    assert not wanted("run")
    monkeypatch.setattr(system_packages, "has_cuda_toolkit", lambda: False)
    assert not wanted("test")
    monkeypatch.setattr(system_packages, "has_cuda_toolkit", lambda: True)
    (tmp_path / "Python.h").touch()
    assert not wanted("test")


def test_a_python_of_the_wrong_age_is_refused_by_name(
    system_packages: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 14, 0))
    assert system_packages.main(["test"]) == 1
    error = capsys.readouterr().err
    assert "Python 3.14, wanted 3.10 to 3.13: make test PYTHON=python3.12" in error
