"""A terminal as a user has one, for a command or for this process: what is drawn, how it looks."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tests.edge.door import DEADLINE_S


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a command wrote to its terminal."""

    code: int
    text: str

    @property
    def lines(self) -> list[str]:
        """What stands there at the end, without the spaces behind it."""
        return screen(self.text)


def on_terminal(
    command: Sequence[str],
    *,
    columns: int = 100,
    env: Mapping[str, str] | None = None,
    stdout: int | IO[Any] | None = None,
    on_text: Callable[[str, subprocess.Popen[bytes]], object] = lambda *_: None,
) -> Drawn:
    """Run a command to its end on a terminal of ``columns``.

    Args:
        command: its words.
        columns: of the terminal.
        env: added to this process's.
        stdout: where standard output goes instead of the terminal.
        on_text: called with all text so far, and the process, whenever more has come.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    child = subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=theirs if stdout is None else stdout,
        stderr=theirs,
        env=os.environ | {"DISPLAY": "", "TERM": "xterm"} | dict(env or {}),
    )
    os.close(theirs)
    watch = threading.Timer(DEADLINE_S, child.kill)
    watch.start()
    got = b""
    try:
        while True:
            try:
                more = os.read(ours, 65536)
            except OSError:  # EIO: nobody has the terminal any more
                break
            if not more:
                break
            got += more
            on_text(got.decode(errors="replace"), child)
        code = child.wait()
    finally:
        watch.cancel()
        os.close(ours)
    return Drawn(code, got.decode(errors="replace"))


def hung_up(command: Sequence[str], *, at: str, nohup: bool = False, cwd: Path) -> int:
    """The exit code of a command whose terminal goes away when it has written ``at`` there.

    ``nohup``: it ignores SIGHUP, as under nohup(1); else the system sends it that signal.
    """
    ours, theirs = pty.openpty()
    words = [sys.executable, "-c", _OF_A_SESSION, str(int(nohup)), *command]
    child = subprocess.Popen(
        words, stdin=theirs, stdout=theirs, stderr=theirs, cwd=cwd, start_new_session=True,
        env=os.environ | {"DISPLAY": "", "TERM": "xterm", "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    os.close(theirs)
    watch = threading.Timer(DEADLINE_S, child.kill)
    watch.start()
    got = b""
    try:
        while at.encode() not in got:
            got += os.read(ours, 65536)  # EIO: it ended before
        os.close(ours)
        return child.wait()
    finally:
        watch.cancel()
        child.kill()
        child.wait()


_OF_A_SESSION = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGHUP, signal.SIG_IGN if sys.argv[1] == "1" else signal.SIG_DFL)
os.execv(sys.argv[2], sys.argv[2:])
"""


def screen(text: str) -> list[str]:
    """The lines of a terminal that is wide enough, after this was written to it."""
    lines: list[str] = []
    for written in text.replace("\r\n", "\n").split("\n"):
        line = ""
        for piece in written.split("\r"):
            head, *cleared = re.split(r"\x1b\[K", piece)
            line = head + line[len(head) :]
            for rest in cleared:
                line = line[: len(head)] + rest
                head += rest
        lines.append(line.rstrip())
    return lines


class Terminal:
    """A terminal as this process's stderr."""

    def __init__(self) -> None:
        self.ours, theirs = pty.openpty()
        self.stderr = os.fdopen(theirs, "w", buffering=1)
        self.resize(60)

    def resize(self, columns: int) -> None:
        size = struct.pack("HHHH", 24, columns, 0, 0)
        fcntl.ioctl(self.stderr.fileno(), termios.TIOCSWINSZ, size)

    def text(self) -> str:
        """All that was written since the last call."""
        self.stderr.flush()
        os.set_blocking(self.ours, False)
        read = b""
        try:
            while more := os.read(self.ours, 65536):
                read += more
        except BlockingIOError:
            pass
        return read.decode()


@contextlib.contextmanager
def a_terminal() -> Iterator[Terminal]:
    """Not a fixture: pytest puts its own stderr in place before it calls the test."""
    terminal, before = Terminal(), sys.stderr
    sys.stderr = terminal.stderr
    try:
        yield terminal
    finally:
        sys.stderr = before
        terminal.stderr.close()
        os.close(terminal.ours)
