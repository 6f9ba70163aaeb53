"""Prints a text on standard output whole, or raises."""

from __future__ import annotations

import os
import sys

from engines.errors import SettingsError, SinkError


def check_stdout(option: str) -> None:
    """Refuse "-" in a process that was started without a standard output.

    Raises:
        SettingsError: names the option.
    """
    if sys.stdout is None:
        raise SettingsError(f"{option} -: standard output is closed; name a file")


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
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        if isinstance(exc, BrokenPipeError):
            raise
        raise SinkError(f"standard output: cannot be written: {exc.strerror}") from exc
