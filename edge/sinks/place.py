"""Checks the file that a sink will write to, and opens it for one run alone."""

from __future__ import annotations

import os
import stat
from itertools import pairwise
from pathlib import Path

from engines.errors import SettingsError
from engines.files import lock

KEPT = 5
"""Files of earlier starts of a service: a restart shall not destroy what led to it."""


def check_place(path: Path) -> None:
    """Refuse a file that could not be created later.

    Missing folders are not made: they are mostly typing mistakes.

    Raises:
        SettingsError: the folder is missing or not writable, or the path is not that of a file.
    """
    folder = path.parent
    if "\0" in str(path):
        raise SettingsError("a name with a NUL in it, which no file has; choose another name")
    try:
        folder_there, is_folder, there = folder.is_dir(), path.is_dir(), path.exists()
    except OSError as exc:  # a name too long, a closed folder above
        raise SettingsError(
            f"{path}: cannot be written: {exc.strerror}; choose another name"
        ) from exc
    if not folder_there:
        raise SettingsError(
            f"{path}: there is no folder {folder}; make it first: mkdir -p {folder}"
        )
    if is_folder:
        raise SettingsError(f"{path}: is a folder, wanted the name of a file")
    if not os.access(path if there else folder, os.W_OK):
        raise SettingsError(f"{path}: no permission to write there; choose another place")


def check_alone(path: Path) -> None:
    """Refuse a file that another run writes to now.

    Raises:
        SettingsError: one does.
        OSError: it cannot be opened.
    """
    if path.is_file():
        with path.open("ab") as file:  # writes nothing
            _lock_alone(file.fileno(), path)


def open_alone(path: Path, access: int, *, keep: bool) -> int:
    """Open and empty a file that no other run writes to, or a device or pipe as it is.

    ``access`` is os.O_WRONLY or os.O_RDWR. Other runs are refused until the descriptor is closed.
    With ``keep`` what the run before wrote is moved to a name beside it. A file that has other
    names is not emptied but replaced: under those it stays what it was.

    Raises:
        SettingsError: another run writes to it; its file is left as it is.
        OSError: it cannot be opened.
    """
    fd = os.open(path, access | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            _lock_alone(fd, path)
            if keep and os.fstat(fd).st_size:
                _set_aside(path)
                os.close(fd)
                return open_alone(path, access, keep=False)
            if os.fstat(fd).st_nlink > 1:
                os.unlink(os.path.realpath(path))
                os.close(fd)
                return open_alone(path, access, keep=False)
            os.ftruncate(fd, 0)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _set_aside(path: Path) -> None:
    """Move 'drive.mp4' to 'drive.1.mp4', that to 'drive.2.mp4', and so on; the oldest is lost."""
    names = [path, *(path.with_suffix(f".{n}{path.suffix}") for n in range(1, KEPT + 1))]
    for older, newer in reversed(list(pairwise(names))):
        if older.exists():
            os.replace(older, newer)


def _lock_alone(fd: int, path: Path) -> None:
    if lock(fd, wait=False) is False:
        raise SettingsError(f"{path}: another run writes to it; give each run a file of its own")
