"""Files that a command writes at its end: refused before its work, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from engines.errors import ExportError, ModelError
from engines.model_file import write_atomically


def check_output(path: Path, option: str) -> None:
    """Refuse a place that cannot be written, before minutes of work; leaves no trace.

    Raises:
        ExportError: says why, and which option names another.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(21, "Is a directory")
        if _is_special(path):
            return
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as exc:
        raise _cannot(path, option, exc.strerror or str(exc)) from exc


def write_output(path: Path, text: str, option: str) -> None:
    """Write a text file; under ``path`` there is the old file or the whole new one.

    Raises:
        ExportError: says why, and which option names another.
    """
    data = text.encode(errors="replace")  # names of files may hold bytes that are no UTF-8
    try:
        if _is_special(path):
            path.write_bytes(data)
        else:
            write_atomically(data, Path(os.path.realpath(path)))
    except ModelError as exc:
        reason = exc.__cause__.strerror if isinstance(exc.__cause__, OSError) else None
        raise _cannot(path, option, reason or str(exc)) from exc
    except OSError as exc:
        raise _cannot(path, option, exc.strerror or str(exc)) from exc


def _is_special(path: Path) -> bool:
    """Whether it is a pipe or a device, which cannot be replaced: /dev/stdout."""
    return path.exists() and not path.is_file()


def _cannot(path: Path, option: str, reason: str) -> ExportError:
    return ExportError(f"{path}: cannot be written ({reason}). Name a writable file with {option}.")
