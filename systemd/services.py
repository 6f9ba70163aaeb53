"""Outrider's services while versions change: tried with a new one before that becomes current.

A trial is a drop-in below /run that lets a service start the new version. Until the link has moved,
everything leads back: a process of its own holds one end of a pipe, and as soon as the other end is
closed, by an error, Ctrl-C or ``kill -9``, it takes the drop-in away and starts the service on the
current version again. A power cut takes /run with it while ``current`` still names the old version.
It knows no more of a service than its name, and where systemd is not the machine's, there are none.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from versions import Refused, Step, current

UNITS = ("outrider.service", "outrider@*.service")
BOOTED = Path("/run/systemd/system")
"""There where systemd is the machine's, sd_booted(3); units and drop-ins of this boot lie in it."""
DROP_IN = "zz-trial.conf"  # after all others, which it must outdo
POLL_S = 1.0
SHOWN = ("Result", "ExecMainStatus", "ActiveState", "SubState", "NRestarts")


def running() -> list[str]:
    """Names of Outrider's services that run."""
    return _listed("--state=active,reloading")


def refreshing(base: Path) -> list[Step]:
    """The steps by which a current version writes its units, and what each instance opens."""
    if not BOOTED.is_dir():
        return []
    edge = str(base / "current/venv/bin/edge")
    return [Step("units, user and folders of this version", [edge, "service", "refresh"])]


def restart_all() -> list[str]:
    """Start anew what runs or failed, such as after a roll-back; returns the names.

    Raises:
        Refused: one did not become ready.
    """
    units = _listed("--state=active,reloading,activating,failed")
    if units:
        _systemctl("reset-failed", *units)
        restart(units)
    return units


def _listed(states: str) -> list[str]:
    if not BOOTED.is_dir():
        return []
    lines = _systemctl("list-units", states, "--plain", "--no-legend", *UNITS).splitlines()
    return [line.split()[0] for line in lines]


@contextlib.contextmanager
def trial(base: Path, name: str, *, seconds: float) -> Iterator[None]:
    """What runs, runs version ``name``: ready, then ``seconds`` long without a fault.

    Leaving by an error takes it back to the current version; else the drop-ins alone go.

    Raises:
        Refused: a service did not become ready, or failed or was started again in that time.
    """
    starts = {unit: _start_of(unit) for unit in running()}
    units = [unit for unit, start in starts.items() if f"{base}/current/" in start]
    for unit in sorted(set(starts) - set(units)):
        print(f"\n{unit} starts nothing of {base}/current: it is left as it is", flush=True)
    if not units:
        yield
        return
    builds = {build: _start_of(build) for build in map(_build_of, units)}
    tried = {
        unit: start.replace(f"{base}/current/", f"{base}/{name}/")
        for unit, start in (starts | builds).items()
        if f"{base}/current/" in start
    }
    print(f"\n# {' '.join(units)} on trial with {name}: ready, then {seconds:g} s", flush=True)
    with _way_back(base, units, list(tried)):
        for unit, start in tried.items():
            folder = BOOTED / f"{unit}.d"
            folder.mkdir(exist_ok=True)
            text = f"# A trial of {name}; its end or the next boot removes this.\n"
            (folder / DROP_IN).write_text(f"{text}[Service]\nExecStart=\nExecStart={start}\n")
        _systemctl("daemon-reload")
        restart(units)
        _watch(units, seconds)
        yield


def restart(units: list[str]) -> None:
    """Start services anew and wait until they are ready.

    Raises:
        Refused: one was not; with what systemd and the journal say of it.
    """
    try:
        _systemctl("restart", *units)
    except Refused as exc:
        failed = [unit for unit in units if _show(unit)["ActiveState"] != "active"] or units
        said = "\n".join(f"{unit} did not become ready: {_why(unit)}" for unit in failed)
        raise Refused(said) from exc


def _watch(units: list[str], seconds: float) -> None:
    end = time.monotonic() + seconds
    while True:
        for unit in units:
            now = _show(unit)
            # A restart by hand counts from 0, so a failure while others started is seen, too.
            if now["ActiveState"] not in ("active", "reloading") or now["NRestarts"] != "0":
                held = time.monotonic() - end + seconds
                raise Refused(f"{unit} was ready and failed after {held:.0f} s: {_why(unit)}")
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, POLL_S))


@contextlib.contextmanager
def _way_back(base: Path, units: list[str], tried: list[str]) -> Iterator[None]:
    """Undoes the trial of ``units`` unless the block ends well, whatever ends this process.

    ``tried`` are they and what is started for them: all that has a drop-in.
    """
    ours = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    closed, held = os.pipe()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ours)
    keeper = os.fork()
    if keeper == 0:
        os.close(held)
        os._exit(_undo(closed, units, tried))  # with these signals blocked
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    os.close(closed)
    good = False
    try:
        yield
        good = True
    finally:
        if good:
            os.write(held, b"good")
        os.close(held)
        failed = os.waitpid(keeper, 0)[1] != 0
        if not good:
            now = current(base)
            state = f"not ready on {now} either; systemctl status" if failed else f"back on {now}"
            print(f"{' '.join(units)}: {state}", file=sys.stderr, flush=True)


def _undo(closed: int, units: list[str], tried: list[str]) -> int:
    """Wait until the other end of the pipe is closed; returns 0 if all is as it should be."""
    try:
        os.setsid()  # what hangs up the installer's terminal does not end this
        good = os.read(closed, 4) == b"good"
        for unit in tried:
            (BOOTED / f"{unit}.d" / DROP_IN).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # something else is in it
                (BOOTED / f"{unit}.d").rmdir()
        _systemctl("daemon-reload")
        if not good:
            # Or a start limit that was used up refuses it, where a reload does not forget that.
            _systemctl("reset-failed", *units)
            _systemctl("stop", *tried)  # an engine that is being built, too
            _systemctl("start", *units)
    except BaseException:  # this process has no one above it
        return 1
    return 0


def _build_of(unit: str) -> str:
    """The unit that builds engines for an app's: outrider-build@front of outrider@front."""
    name = unit.rpartition("@")[2].removesuffix(".service")
    return f"outrider-build@{name}.service"


def _start_of(unit: str) -> str:
    """A service's ExecStart= as it is written, '' where it has none or there is no such unit."""
    try:
        text = _systemctl("cat", unit).replace("\\\n", " ")
    except Refused:
        return ""
    starts = re.findall(r"^\s*ExecStart\s*=(.*)$", text, re.MULTILINE)
    return starts[-1].strip() if starts else ""


def _show(unit: str) -> dict[str, str]:
    lines = _systemctl("show", f"--property={','.join(SHOWN)}", unit).splitlines()
    return dict(line.split("=", 1) for line in lines)


def _why(unit: str) -> str:
    """What systemd knows of a service, and its last lines, each on a line of its own."""
    shown = " ".join(f"{key}={value}" for key, value in _show(unit).items())
    journal = subprocess.run(
        ["journalctl", "--no-pager", "-b", "-q", "-n", "12", "-u", unit],
        capture_output=True, text=True, errors="replace", check=False,
    ).stdout  # fmt: skip
    return "\n    ".join([shown, *journal.splitlines()])


def _systemctl(*words: str) -> str:
    """What ``systemctl`` prints.

    Raises:
        Refused: it failed; with what it said.
    """
    try:
        return subprocess.run(
            ["systemctl", "--no-pager", *words],
            capture_output=True, text=True, errors="replace", check=True,
        ).stdout  # fmt: skip
    except subprocess.CalledProcessError as exc:
        raise Refused(f"systemctl {' '.join(words)}: {exc.stderr.strip()}") from exc
