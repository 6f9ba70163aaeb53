"""A real systemd as PID 1 of its own namespaces, by boot.sh of ../shared, and the app in it.

It ends with the test, and also where the test's process is killed. The machine's own systemd is
never asked: neither ``systemctl`` nor ``systemd-analyze`` may be called but through a boot.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
DEADLINE_S = 300
"""For one command inside."""
POLL_S = 0.05
APP = "/opt/outrider/current/venv"
"""Where ``install_app`` puts the app, as an installation does."""

_START = """
boot=$1 units=$2
trap 'rm -rf "$units"' EXIT
pid=$(bash "$boot" start "$units")
echo "$pid"  # an empty line for a boot that failed: the test waits for one
read -r _  # ends with the test's process, however that ends
if [ -n "$pid" ]; then
    bash "$boot" stop "$pid"
    while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
    exit
fi
for stage in $(grep -lsF "$units/." /var/tmp/boot.*/init | xargs -rn 1 dirname); do
    for outer in $(pgrep -f "^unshare .* $stage/init$"); do
        pkill -9 -P "$outer"
    done
    rm -rf "$stage"
done
"""
"""Starts a boot and waits for the end of its standard input to stop it, half started ones too."""

_APP = """
set -eu
root=$1 packages=$2 python=$3 version=$4
venv=/opt/outrider/$version/venv
site=$venv/lib/$python/site-packages
mkdir -p "$venv/bin" "$site" "$venv/share/outrider" /opt/outrider/packages
mount --bind "$packages" /opt/outrider/packages
ln -s "/usr/bin/$python" "$venv/bin/python"
printf 'home = /usr/bin\\ninclude-system-site-packages = false\\n' > "$venv/pyvenv.cfg"
echo /opt/outrider/packages > "$site/packages.pth"
cp -rp "$root/edge" "$root/engines" "$root/export" "$site"
rm -rf "$site/engines/built"
cp -rp "$root/systemd" "$venv/share/outrider"
for command in edge:edge.start edge-export:export.cli; do
    file="$venv/bin/${command%:*}"
    printf '#!%s\\nfrom %s import main\\nmain()\\n' "$venv/bin/python" "${command#*:}" > "$file"
    chmod 755 "$file"
done
ln -sfn "$version" /opt/outrider/current
"""


@dataclass(frozen=True, slots=True)
class Boot:
    """A booted systemd; all commands are run as root inside its namespaces."""

    script: Path
    pid: str

    def run(
        self,
        *words: str | Path,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        text: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Any command inside; ``text`` is its standard input. With ``check`` it must succeed."""
        done = subprocess.run(
            ["bash", str(self.script), "run", self.pid, *map(str, words)],
            env=os.environ | dict(env or {}),
            input=text or "",
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_S,
        )
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done

    def ctl(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """``systemctl`` inside."""
        return self.run("systemctl", "--no-pager", *words, check=check)

    def show(self, unit: str, *names: str) -> dict[str, str]:
        """Properties of a unit."""
        words = [f"--property={name}" for name in names]
        lines = self.ctl("show", unit, *words).stdout.splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def journal(self, *words: str) -> str:
        """``journalctl`` of this boot, such as ``journal("-u", "outrider")``.

        What a service printed last can still be on its way to the journal: wait with ``until`` for
        a line that is to come.
        """
        self.run("journalctl", "--sync")
        return self.run("journalctl", "-b", "--no-pager", *words).stdout

    def write(self, path: str, text: str) -> None:
        """Put a file inside, with the folders above it."""
        self.run("mkdir", "-p", os.path.dirname(path))
        self.run("tee", path, text=text)

    def until(self, true: Callable[[], bool], what: str, *, within_s: float = 60) -> None:
        """Ask again until ``true`` says so; the test fails with ``what`` after ``within_s``."""
        end = time.monotonic() + within_s
        while not true():
            assert time.monotonic() < end, f"after {within_s:.0f} s not: {what}"
            time.sleep(POLL_S)

    def install_app(self, version: str = "0.1.0") -> None:
        """Put the app of this checkout at ``/opt/outrider/VERSION/venv`` and make it current.

        Its packages are those of the test's own interpreter; nothing is built or downloaded.
        """
        packages = Path(np.__file__).resolve().parents[1]
        python = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        if not Path("/usr/bin", python).exists():
            lacking(f"/usr/bin/{python}, which services may see; the tests' own is {sys.prefix}")
        self.run("sh", "-c", _APP, "app", ROOT, packages, python, version)


def lacking(what: str) -> None:
    """Skip for want of something of the machine; a failure in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"needs {what}")
    pytest.skip(f"needs {what}")


@contextlib.contextmanager
def booted(shared: Path, units: Mapping[str, str] | None = None) -> Iterator[Boot]:
    """A booted systemd with ``units`` (path below the unit folder → content) in half a second."""
    script = shared / "systemd" / "boot.sh"
    if os.geteuid() != 0:
        lacking("root, to boot a systemd")
    for package, command in (("systemd", "systemctl"), ("dbus", "dbus-daemon")):
        if shutil.which(command) is None:
            lacking(f"the package {package}")
    with tempfile.TemporaryDirectory(prefix="units.", dir="/var/tmp") as folder:
        for name, content in (units or {}).items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        # Of two boots at once one fails to mount binfmt_misc, and boot.sh waits for a boot in
        # which nothing failed; no unit of ours needs it.
        Path(folder, "systemd-binfmt.service").symlink_to(os.devnull)
        # The keeper is in a session of its own, so that Ctrl-C reaches only the tests.
        with subprocess.Popen(
            ["bash", "-c", _START, "keeper", str(script), folder],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        ) as keeper:  # fmt: skip
            assert keeper.stdin is not None
            assert keeper.stdout is not None
            try:
                pid = keeper.stdout.readline().strip()
                assert pid, f"{script} booted nothing; its log is above"
                yield Boot(script, pid)
            finally:
                keeper.stdin.close()
                keeper.wait(DEADLINE_S)
