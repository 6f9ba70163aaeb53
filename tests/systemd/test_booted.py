"""The boot that other tests stand on: a systemd of its own that ends whatever becomes of a test."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.systemd.booted import ROOT, booted

DIES = """
import os, signal, sys
from pathlib import Path
from tests.systemd.booted import booted
with booted(Path(sys.argv[1])) as boot:
    print(boot.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_boot_runs_units_and_is_gone_after_its_block(shared: Path) -> None:
    unit = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/echo hello from within\n"
    with booted(shared, {"hello.service": unit}) as boot:
        boot.ctl("start", "hello")
        assert boot.show("hello", "ActiveState", "Result") == {
            "ActiveState": "active",
            "Result": "success",
        }
        boot.until(lambda: "hello from within" in boot.journal("-u", "hello"), "its line is there")
        assert Path("/proc", boot.pid).exists()
    assert not Path("/proc", boot.pid).exists()


def test_a_boot_ends_with_the_process_that_asked_for_it(shared: Path) -> None:
    died = subprocess.run(
        [sys.executable, "-c", DIES, str(shared)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert died.returncode == -signal.SIGKILL, died.stderr
    pid = int(died.stdout)
    ended = os.pidfd_open(pid) if Path(f"/proc/{pid}").exists() else None
    if ended is not None:
        assert select.select([ended], [], [], 30)[0], "the boot outlived its test"
        os.close(ended)


@pytest.mark.slow
def test_a_boot_that_fails_is_told_and_not_waited_for(shared: Path) -> None:
    """One unit that fails is enough for boot.sh to see no boot, as binfmt's beside another was."""
    broken = "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nExecStart=/bin/false\n"
    wants = "[Unit]\nWants=broken.service\n"
    with (
        pytest.raises(AssertionError, match=r"boot\.sh booted nothing"),
        booted(shared, {"broken.service": broken, "dbus.socket.d/broken.conf": wants}),
    ):
        pass


def test_a_boot_mounts_nothing_that_another_at_the_same_moment_mounts(shared: Path) -> None:
    with booted(shared) as boot:
        assert boot.show("systemd-binfmt", "LoadState") == {"LoadState": "masked"}


def test_the_app_that_a_boot_installs_is_this_checkout(shared: Path) -> None:
    with booted(shared) as boot:
        boot.install_app()
        asked = boot.run("/opt/outrider/current/venv/bin/edge", "--help")
        assert "real-time detection" in asked.stdout
        found = boot.run(
            "/opt/outrider/current/venv/bin/python", "-c", "import edge; print(edge.__file__)"
        )
        assert found.stdout.startswith("/opt/outrider/current/venv/lib/")
