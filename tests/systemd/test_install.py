"""Installing on any Linux machine: what it refuses, and what it would run."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import install
import pytest
from versions import Disk

from tests.edge.media_files import unprivileged
from tests.systemd.booted import booted
from tests.test_packaging import PROJECT, ROOT

SCRIPT = ROOT / "systemd" / "install.py"
VERSION = PROJECT["version"]
FITS = install.Facts(
    python=Path("/usr/bin/python3.12"),
    version=(3, 12),
    machine="x86_64",
    missing=(),
    disk=Disk(Path("/opt/outrider"), install.NEEDED_DISK, may_write=True, read_only=False),
)


def script(python: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [python, "-B", SCRIPT, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_dry_run_prints_every_command_with_its_reason_and_does_nothing(
    systems_python: Path, tmp_path: Path
) -> None:
    run = script(systems_python, "--dry-run", "--root", tmp_path)
    assert run.returncode == 0, run.stderr
    assert list(tmp_path.iterdir()) == []
    blocks = run.stdout.replace(str(tmp_path), "").strip().split("\n\n")[1:]
    assert all(block.startswith("# ") and block.count("\n") == 1 for block in blocks)
    commands = [block.split("\n")[1].removeprefix("PYTHONNOUSERSITE=1 ") for block in blocks]
    folder = f"/opt/outrider/{VERSION}"
    assert commands[0].startswith(f"cp -r {ROOT}/edge ")
    assert commands[1] == f"{systems_python} -m venv {folder}/venv"
    for command in commands[2:4]:
        assert f"--only-binary=:all: -c {folder}/source/constraints/py31" in command
    assert commands[3].endswith(f" '{folder}/source[web]'")
    assert commands[4].endswith(f"{folder}/venv/bin/edge doctor")
    assert commands[5].endswith("--source synthetic --engine openvino --sink null --frames 200")
    assert commands[6] == f"ln -sfn {VERSION} /opt/outrider/current"
    assert len(commands) == 7


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        *(
            (
                replace(FITS, python=Path(f"{top}/.pyenv/bin/python3.12")),
                f"{top}/.pyenv/bin/python3.12 lies where a service cannot see it (ProtectHome=, "
                "PrivateTmp=); take the system's: make install PYTHON=/usr/bin/python3",
            )
            for top in ("/home/me", "/tmp", "/var/tmp")
        ),
        (
            replace(FITS, python=Path("/usr/bin/python3.9"), version=(3, 9)),
            "/usr/bin/python3.9 is Python 3.9, wanted 3.10 to 3.13; "
            "make install PYTHON=/usr/bin/python3.12",
        ),
        (
            replace(FITS, missing=("python3.12-venv", "libgl1")),
            "packages are missing; sudo apt install -y python3.12-venv libgl1",
        ),
        (
            replace(FITS, disk=replace(FITS.disk, free_bytes=1 << 30)),
            "1.0 GiB are free for /opt/outrider, wanted 2; remove an old version there, or "
            "make room",
        ),
        (
            replace(FITS, disk=replace(FITS.disk, may_write=False)),
            "/opt/outrider cannot be written by this user; sudo make install",
        ),
    ],
    ids=["home", "tmp", "var tmp", "old python", "packages", "disk", "not root"],
)
def test_what_would_fail_later_is_refused_with_its_next_step(
    facts: install.Facts, reason: str
) -> None:
    assert install.reasons_against(FITS) == []
    assert install.reasons_against(facts) == [reason]


def test_an_interpreter_behind_a_link_is_judged_by_where_it_lies(tmp_path: Path) -> None:
    """What a service cannot see is the file itself, whatever leads to it."""
    link = tmp_path / "python3"
    link.symlink_to(sys.executable)
    facts = install.read_facts(tmp_path, executable=str(link))
    assert facts.python == Path(sys.executable).resolve()


@pytest.mark.parametrize("name", ["install", "command", "services", "packages", "versions"])
def test_a_python_that_is_too_old_gets_as_far_as_the_sentence(name: str) -> None:
    """The one of JetPack 5 can read the script; ``reasons_against`` says the rest."""
    text = (ROOT / "systemd" / f"{name}.py").read_text()
    ast.parse(text, feature_version=(3, 8))
    with pytest.raises(SyntaxError):
        ast.parse("match 1:\n    case 1: pass", feature_version=(3, 8))  # it does look


def test_one_who_is_not_root_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents):  # pytest closes its own to others
        if folder.owner() == tmp_path.owner() and folder.stat().st_mode & 0o055 != 0o055:
            folder.chmod(0o755)
    tmp_path.chmod(0o555)
    try:
        with unprivileged():
            disk = Disk.below(tmp_path / "opt/outrider")
    finally:
        tmp_path.chmod(0o755)
    assert (disk.may_write, disk.read_only) == (False, False)


def test_a_read_only_opt_is_refused_before_anything_is_written(
    shared: Path, systems_python: Path
) -> None:
    with booted(shared) as boot:
        boot.run("mount", "-o", "remount,ro", "/opt")
        run = boot.run(systems_python, "-B", SCRIPT, check=False)
        assert run.returncode == 1
        (line,) = run.stderr.splitlines()
        assert line.startswith("install: /opt/outrider lies on a file system that is mounted read-")
        boot.run("sh", "-c", line.partition("writable: sudo ")[2])  # the next step is one
        shown = boot.run(systems_python, "-B", SCRIPT, "--dry-run")
        assert f"ln -sfn {VERSION} /opt/outrider/current" in shown.stdout


@pytest.mark.parametrize("text", ["-1", "nan", "1e9", "soon"])
def test_a_trial_without_a_proper_length_is_refused(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        install.main(["--dry-run", f"--trial-s={text}"])
    assert "argument --trial-s" in capsys.readouterr().err
