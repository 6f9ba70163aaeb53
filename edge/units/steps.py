"""Files to write or remove and commands to run, each with its reason: done, or only told."""

from __future__ import annotations

import difflib
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engines.errors import OutriderError, SettingsError
from engines.files import write_whole

Say = Callable[[str], None]
DEADLINE_S = 4000
"""For one command: a start waits for its engines, which outrider-build@ may build for an hour."""


@dataclass(frozen=True, slots=True)
class Write:
    """A file that will have this text; ``copy_of`` is where the text can be read now."""

    reason: str
    path: Path
    text: str
    copy_of: Path | None = None
    mode: int = 0o644

    @property
    def old(self) -> str | None:
        """What is there now, None for nothing."""
        try:
            return self.path.read_text(errors="replace")
        except OSError:
            return None

    def tell(self) -> str:
        """The file as an operator wants to read it: new ones whole, changed ones as a diff."""
        old = self.old
        if old == self.text:
            return f"# {self.reason}\nkeep {self.path}, as it is"
        if old is not None:
            change = difflib.unified_diff(
                old.splitlines(), self.text.splitlines(), "now", "then", lineterm="", n=1
            )
            return f"# {self.reason}\nchange {self.path}\n" + _indented("\n".join(change))
        if self.copy_of is not None:
            return f"# {self.reason}\nwrite {self.path}, a copy of {self.copy_of}"
        return f"# {self.reason}\nwrite {self.path}\n" + _indented(self.text.rstrip("\n"))

    def do(self) -> None:
        """Write it in one step.

        Raises:
            OSError: it cannot be written.
        """
        if self.old == self.text:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, self.text.encode())
        self.path.chmod(self.mode)


@dataclass(frozen=True, slots=True)
class Remove:
    """A file or a whole folder that will be gone; a unit's folder goes with its last file."""

    reason: str
    path: Path
    if_empty: bool = False
    """Only a folder in which nothing is left then."""

    def tell(self) -> str:
        """What goes."""
        empty = " if it is empty" if self.if_empty else ""
        return f"# {self.reason}\nremove {self.path}{'/' if self.path.is_dir() else ''}{empty}"

    def do(self) -> None:
        """Remove it, where it is there.

        Raises:
            OSError: it cannot be removed.
        """
        if self.if_empty:
            if self.path.is_dir() and not any(self.path.iterdir()):
                self.path.rmdir()
        elif self.path.is_dir() and not self.path.is_symlink():
            shutil.rmtree(self.path)
        else:
            self.path.unlink(missing_ok=True)
        folder = self.path.parent
        if folder.name.endswith(".service.d") and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


@dataclass(frozen=True, slots=True)
class Command:
    """A program to run; ``may_fail`` where nothing depends on it."""

    reason: str
    words: tuple[str, ...]
    may_fail: bool = False
    otherwise: str = ""
    """The next step where it failed, beside what it said itself."""

    def tell(self) -> str:
        """The command line."""
        return f"# {self.reason}\n{shlex.join(self.words)}"

    def do(self) -> None:
        """Run it.

        Raises:
            OutriderError: it failed, or is not there.
        """
        try:
            done = subprocess.run(
                self.words,
                stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                check=False, timeout=DEADLINE_S,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as exc:
            if self.may_fail:
                return
            raise OutriderError(f"{shlex.join(self.words)}: {exc}{self.otherwise}") from exc
        if done.returncode and not self.may_fail:
            said = " ".join((done.stderr or done.stdout).split()) or f"exit {done.returncode}"
            said = said.removesuffix(".") if self.otherwise else said
            raise OutriderError(f"{shlex.join(self.words)}: {said}{self.otherwise}")


Step = Write | Remove | Command


def perform(steps: Sequence[Step], say: Say) -> None:
    """Do all of it; nothing is begun where a folder cannot be written.

    Raises:
        SettingsError: a file cannot be written or removed.
        OutriderError: a command failed.
    """
    for step in steps:
        if isinstance(step, (Write, Remove)):
            _check_writable(step.path)
    for step in steps:
        if isinstance(step, Write) and step.old == step.text:
            continue
        say(step.tell().splitlines()[1])  # what, without why
        try:
            step.do()
        except OSError as exc:
            raise SettingsError(
                f"{exc.filename or step.tell()}: {exc.strerror}; stopped there. Make room or make "
                "it writable, and run this again"
            ) from exc


def _check_writable(path: Path) -> None:
    there = path.parent
    while not there.exists():
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK, effective_ids=True):
        why = "cannot be written" if there.is_dir() else "is no folder"
        raise SettingsError(
            f"{path}: {there} {why} here, so nothing was begun. On a read-only system: mount "
            "-o remount,rw / first; for an image: --root DIR"
        )


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.splitlines())
