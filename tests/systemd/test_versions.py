"""Versions beside each other: which one is current at any time, whatever ends an installation."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import versions

from tests.test_packaging import ROOT

SCRIPT = ROOT / "systemd" / "install.py"


def roll_back(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, "--rollback", "--root", root],
        capture_output=True,
        text=True,
        check=False,
    )


def standing(base: Path) -> dict[str, str]:
    """What the two links show."""
    return {
        name: os.readlink(base / name)
        for name in ("current", "previous")
        if (base / name).is_symlink()
    }


Install = Callable[..., str]


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Installs by one command that writes the version down; ``command`` follows it."""

    def run(version: str, command: str = "exit 0") -> str:
        def plan(name: str) -> list[versions.Step]:
            text = f"echo {name} > name; {command}"
            return [versions.Step("the whole of it", ["sh", "-c", text])]

        return versions.install(versions.base_below(tmp_path), versions.Plan(version, plan))

    return run


def test_an_upgrade_stands_beside_the_old_version_and_rolls_back_by_one_command(
    install: Install, tmp_path: Path
) -> None:
    base = tmp_path / "opt/outrider"
    assert install("0.1.0") == "0.1.0"
    assert standing(base) == {"current": "0.1.0"}
    assert install("0.2.0") == "0.2.0"
    assert standing(base) == {"current": "0.2.0", "previous": "0.1.0"}
    assert (base / "current/name").read_text() == "0.2.0\n"
    run = roll_back(tmp_path)
    assert (run.returncode, run.stderr) == (0, "")
    assert "current is 0.1.0 again" in run.stdout
    assert standing(base) == {"current": "0.1.0", "previous": "0.2.0"}
    assert (base / "current/name").read_text() == "0.1.0\n"
    assert roll_back(tmp_path).returncode == 0  # and forward again
    assert standing(base) == {"current": "0.2.0", "previous": "0.1.0"}


def test_the_same_version_again_stands_beside_itself(install: Install, tmp_path: Path) -> None:
    assert [install("0.1.0") for _ in range(3)] == ["0.1.0", "0.1.0-2", "0.1.0-3"]
    assert standing(tmp_path / "opt/outrider") == {"current": "0.1.0-3", "previous": "0.1.0-2"}


def test_what_is_current_is_never_taken_for_a_failed_attempt(
    install: Install, tmp_path: Path
) -> None:
    install("0.1.0")
    (tmp_path / "opt/outrider/0.1.0" / versions.MARKER).unlink()
    assert install("0.1.0") == "0.1.0-2"
    assert (tmp_path / "opt/outrider/0.1.0/name").exists()


def test_a_step_that_fails_leaves_the_old_version_current(install: Install, tmp_path: Path) -> None:
    base = tmp_path / "opt/outrider"
    install("0.1.0")
    with pytest.raises(versions.Refused, match=r"exit code 4 of(.|\n)*0\.1\.0 stays current"):
        install("0.2.0", "exit 4")
    assert standing(base) == {"current": "0.1.0"}
    assert not (base / "0.2.0" / versions.MARKER).exists()
    assert install("0.2.0") == "0.2.0"  # the attempt is no version
    assert standing(base) == {"current": "0.2.0", "previous": "0.1.0"}


INSTALL = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import versions
step = versions.Step("the end of a battery", ["sh", "-c", "kill -KILL $PPID"])
base = versions.base_below(Path(sys.argv[2]))
versions.install(base, versions.Plan("0.2.0", lambda name: [step]))
"""


def test_an_installation_that_is_killed_leaves_the_old_version_current(
    install: Install, tmp_path: Path
) -> None:
    base = tmp_path / "opt/outrider"
    install("0.1.0")
    run = subprocess.run(
        [sys.executable, "-c", INSTALL, SCRIPT.parent, tmp_path], capture_output=True, check=False
    )
    assert run.returncode == -signal.SIGKILL
    assert standing(base) == {"current": "0.1.0"}
    assert install("0.2.0") == "0.2.0"  # neither its folder nor its lock is in the way
    assert standing(base) == {"current": "0.2.0", "previous": "0.1.0"}


def test_a_second_installation_at_the_same_time_is_refused(
    install: Install, tmp_path: Path
) -> None:
    install("0.1.0")
    with (tmp_path / "opt/outrider/.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(versions.Refused, match=r"another installation .* is running"):
            install("0.2.0")
    assert install("0.2.0") == "0.2.0"


def test_there_is_nothing_to_roll_back_to_at_first(install: Install, tmp_path: Path) -> None:
    run = roll_back(tmp_path)
    assert (run.returncode, "no earlier version" in run.stderr) == (1, True)
    install("0.1.0")
    run = roll_back(tmp_path)
    assert (run.returncode, "current is 0.1.0)" in run.stderr) == (1, True)
    assert standing(tmp_path / "opt/outrider") == {"current": "0.1.0"}


def test_an_upgrade_cut_off_between_its_two_links_leaves_nothing_to_roll_back_to(
    install: Install, tmp_path: Path
) -> None:
    install("0.1.0")
    (tmp_path / "opt/outrider/previous").symlink_to("0.1.0")  # and "current" was never moved
    run = roll_back(tmp_path)
    assert (run.returncode, "no earlier version" in run.stderr) == (1, True)


def test_what_root_installs_can_be_read_by_the_services_user(
    install: Install, tmp_path: Path
) -> None:
    before = os.umask(0o077)
    try:
        install("0.1.0", "mkdir folder")
    finally:
        os.umask(before)
    folder = tmp_path / "opt/outrider/current"
    modes = {path.name: path.stat().st_mode & 0o777 for path in (folder, *folder.iterdir())}
    assert modes == {"current": 0o755, "folder": 0o755, "name": 0o644, versions.MARKER: 0o644}


def test_a_base_that_cannot_take_a_version_is_told_with_the_next_step(tmp_path: Path) -> None:
    fits = versions.Disk(tmp_path / "opt/outrider", 2 << 30, may_write=True, read_only=False)
    assert fits.reasons_against(2 << 30, "make install") == []
    full = replace(fits, free_bytes=1 << 30)
    (reason,) = full.reasons_against(2 << 30, "make install")
    assert reason.startswith(f"1.0 GiB are free for {fits.base}, wanted 2;")
    (reason,) = replace(fits, may_write=False).reasons_against(0, "make install")
    assert reason == f"{fits.base} cannot be written by this user; sudo make install"
    (reason,) = replace(fits, may_write=False, read_only=True).reasons_against(0, "make install")
    assert "mounted read-only" in reason
    assert f"sudo mount -o remount,rw $(findmnt -n -o TARGET -T {tmp_path}/opt)" in reason
