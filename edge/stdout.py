"""Prints a text on standard output whole, or raises; outlives the terminal it was started on."""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
from typing import Any, TextIO

from engines.errors import SettingsError, SinkError


def check_stdout(option: str) -> None:
    """Refuse "-" in a process that was started without a standard output.

    Raises:
        SettingsError: names the option.
    """
    if sys.stdout is None:
        raise SettingsError(f"{option} -: standard output is closed; name a file")


def is_stdout(path: str | os.PathLike[str]) -> bool:
    """Whether it is "-", or a name of the file, pipe or terminal that standard output leads to."""
    try:
        return str(path) == "-" or os.path.samestat(os.stat(path), os.fstat(sys.stdout.fileno()))
    except (AttributeError, OSError, ValueError):  # closed before the start, none, or not there
        return False


def outlive_terminal() -> None:
    """From now on what is written to a terminal that is gone goes nowhere, and raises nothing.

    Who does not ignore SIGHUP gets that signal as well. Pipes and files are left as they are.
    """
    sys.stdout, sys.stderr = _outliving(sys.stdout), _outliving(sys.stderr)


def gone(exc: OSError, fd: int) -> bool:
    """Whether ``exc`` says that the terminal at ``fd`` is gone; that then leads nowhere."""
    if exc.errno != errno.EIO or not _character_device(fd):
        return False
    to_nowhere(fd)
    return True


def to_nowhere(fd: int) -> None:
    """Let what is written there vanish."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, fd)
    os.close(nowhere)


def _character_device(fd: int) -> bool:
    return stat.S_ISCHR(os.fstat(fd).st_mode)  # a terminal that is gone is none to isatty()


class _Terminal(io.FileIO):
    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as exc:
            if not gone(exc, self.fileno()):
                raise
            return memoryview(data).nbytes


def _outliving(stream: TextIO) -> TextIO:
    if stream is None or stream.closed or not stream.isatty():  # None: closed before the start
        return stream
    stream.flush()
    raw = _Terminal(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), stream.encoding, stream.errors, line_buffering=True,
        write_through=stream is sys.stderr,
    )  # fmt: skip


def print_whole(text: str) -> None:
    """Print all of ``text``; raises BrokenPipeError where the reader has gone.

    Raises:
        SinkError: it cannot be written: a full disk, or there is no standard output.
    """
    if sys.stdout is None:
        raise SinkError("standard output: it was closed before the start")
    try:
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
        sys.stdout.flush()
    except OSError as exc:
        # What is left in the buffer is flushed at the end of the process, which would fail again
        # and change the exit code.
        to_nowhere(sys.stdout.fileno())
        if isinstance(exc, BrokenPipeError):
            raise
        raise SinkError(f"standard output: cannot be written: {exc.strerror}") from exc
