"""Versions of Outrider side by side in one folder: made by steps, made current, rolled back.

It knows neither what a version is made of nor what runs with it. ``current`` and ``previous`` are
links and move in one step each, so that a power cut leaves the old version or the new one. Plain
standard library, for Python 3.10 and later.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

MARKER = "installed.json"
"""Written when a version has passed everything; a folder without it is a failed attempt."""


@dataclass(frozen=True)
class Step:
    """One thing to do and why: a command, or an action that ``words`` describe."""

    reason: str
    words: list[str]
    environ: Mapping[str, str] = field(default_factory=dict)
    action: Callable[[], None] | None = None

    def __str__(self) -> str:
        environ = "".join(f"{key}={shlex.quote(value)} " for key, value in self.environ.items())
        return f"# {self.reason}\n{environ}{shlex.join(self.words)}"


class Refused(Exception):
    """The installation cannot begin or go on; the message has one line for each reason."""


@dataclass(frozen=True)
class Plan:
    """A version to install: its name, the steps that make and prove it in a folder of that name."""

    version: str
    steps: Callable[[str], list[Step]]
    record: Mapping[str, object] = field(default_factory=dict)
    """What the marker keeps beside the version."""
    against: list[str] = field(default_factory=list)
    """Why this machine cannot take it; the steps are asked for only where there is nothing."""


@dataclass(frozen=True)
class Disk:
    """What of the folder of all versions decides whether one more can be written there."""

    base: Path
    free_bytes: int
    may_write: bool
    read_only: bool

    @staticmethod
    def below(base: Path) -> Disk:
        """Look at ``base``, or at the folder where it would be made."""
        there = base
        while not there.exists():
            there = there.parent
        return Disk(
            base,
            shutil.disk_usage(there).free,
            os.access(there, os.W_OK, effective_ids=True),
            bool(os.statvfs(there).f_flag & os.ST_RDONLY),
        )

    def reasons_against(self, needed_bytes: int, goal: str) -> list[str]:
        """Why no version fits, each with its next step; ``goal`` is what root should make."""
        found = []
        if self.free_bytes < needed_bytes:
            found.append(
                f"{self.free_bytes / 2**30:.1f} GiB are free for {self.base}, wanted "
                f"{needed_bytes / 2**30:.0f}; remove an old version there, or make room"
            )
        if self.read_only:
            found.append(
                f"{self.base} lies on a file system that is mounted read-only; make it writable: "
                f"sudo mount -o remount,rw $(findmnt -n -o TARGET -T {self.base.parent})"
            )
        elif not self.may_write:
            found.append(f"{self.base} cannot be written by this user; sudo {goal}")
        return found


def base_below(root: Path) -> Path:
    """The folder of all versions; ``root`` is '/' but for tests and images."""
    return root.absolute() / "opt/outrider"


def perform(step: Step, folder: Path) -> None:
    """Do one step.

    Raises:
        Refused: it failed.
    """
    print(f"\n{step}", flush=True)
    try:
        if step.action is not None:
            step.action()
            return
        # Neither in the checkout nor with somebody's PYTHONPATH: what is installed is what runs.
        environ = {**os.environ, **step.environ}
        environ.pop("PYTHONPATH", None)
        subprocess.run(step.words, cwd=folder, env=environ, check=True)
    except subprocess.CalledProcessError as exc:
        raise Refused(f"exit code {exc.returncode} of: {shlex.join(step.words)}") from exc
    except OSError as exc:
        raise Refused(f"{step.reason}: {exc}") from exc


if TYPE_CHECKING:  # a Python that is too old has to get as far as being told so
    Trial = Callable[[Path, str], contextlib.AbstractContextManager[None]]
    """By base and name: all that runs, runs that version; leaving by an error undoes it."""


def install(base: Path, plan: Plan, trial: Trial | None = None) -> str:
    """Make a version, prove it, make it the current one; returns its name.

    Raises:
        Refused: a step or the trial failed or another installation runs; the current one stays.
    """
    base.mkdir(parents=True, exist_ok=True)
    os.umask(0o022)  # the service's user reads what root installs
    with _locked(base):
        name = free_name(base, plan.version)
        folder = base / name
        shutil.rmtree(folder, ignore_errors=True)  # a failed attempt
        folder.mkdir()
        try:
            for step in plan.steps(name):
                perform(step, folder)
            os.sync()  # a vehicle's power may go at any time
            with trial(base, name) if trial else contextlib.nullcontext():
                (folder / MARKER).write_text(
                    json.dumps({"version": plan.version, **plan.record}) + "\n"
                )
                os.sync()
                switch(base, name)
        except Refused as exc:
            stays = f"{current(base) or 'nothing'} stays current"
            raise Refused(f"{exc}\n{stays}; what there is of {folder} is for looking at") from exc
    return name


def free_name(base: Path, version: str) -> str:
    """``version``, or with the first number behind it that no finished installation has.

    What is current is one, even where somebody took its marker away.
    """
    name, count = version, 1
    while (base / name / MARKER).exists() or name == current(base):
        count += 1
        name = f"{version}-{count}"
    return name


def current(base: Path) -> str:
    """The name of the current version, '' where there is none."""
    return _target(base / "current")


def switch(base: Path, name: str) -> None:
    """Make ``name`` the current version in one step, and what was current the previous one."""
    was = current(base)
    if was and was != name:
        _point(base / "previous", was)
    _point(base / "current", name)


def roll_back(base: Path) -> str:
    """Make the previous version current and the other way round; returns its name.

    Raises:
        Refused: there is none.
    """
    was, name = current(base), _target(base / "previous")
    # An installation that was cut off between the two links leaves both at the old version.
    if name in ("", was) or not (base / name / MARKER).is_file():
        raise Refused(f"{base} has no earlier version to go back to (current is {was or 'none'})")
    disk = Disk.below(base)
    against = disk.reasons_against(0, "make rollback")
    if against:
        raise Refused("\n".join(against))
    with _locked(base):
        _point(base / "current", name)
        if was:
            _point(base / "previous", was)
    return name


@contextlib.contextmanager
def _locked(base: Path) -> Iterator[None]:
    with (base / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise Refused(f"another installation into {base} is running; wait for it") from exc
        yield


def _target(link: Path) -> str:
    return os.readlink(link) if link.is_symlink() else ""


def _point(link: Path, name: str) -> None:
    fresh = link.with_name(f".{link.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(name)
    os.replace(fresh, link)  # whoever opens it sees the old one or the new one
