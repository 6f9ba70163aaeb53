"""Files on disk: written whole or not at all, locked between processes, kept in the user's folders.

It raises plain ``OSError``; its callers say what could not be written.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

_USER_FOLDERS = {"CACHE": ".cache", "STATE": ".local/state"}
"""Below the home folder, where XDG_…_HOME names none (XDG base directory specification)."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside ``path`` to write to; it replaces ``path`` if the block ends without an error.

    Readers see the old file or the whole new one, also after a power cut. The new name has the
    suffix of ``path``. After an error nothing is left and ``path`` is as it was.

    Raises:
        OSError: the file cannot be moved or flushed to the disk.
    """
    # Not tempfile: its files are for their owner only, whatever the umask says.
    made = path.with_name(f".{secrets.token_hex(8)}{path.suffix}")
    try:
        yield made
        with made.open("rb") as file:
            os.fsync(file.fileno())
        made.replace(path)
    except BaseException:
        made.unlink(missing_ok=True)
        raise


def text_of(path: Path) -> str:
    """A file's text, empty where it cannot be read: for what a machine may or may not tell."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def write_whole(path: Path, data: bytes) -> None:
    """Put ``data`` under the name ``path`` in one step.

    Raises:
        OSError: the folder is missing or not writable, or the disk is full.
    """
    with replacing(path) as made:
        made.write_bytes(data)


def lock(fd: int, *, wait: bool) -> bool | None:
    """Lock an open file or folder until it is closed; the kernel does so when the process dies.

    Returns:
        True where it is locked now, False where another process has it and ``wait`` is not set,
        None where the file system knows no locks.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool | None]:
    """Lock a file or folder that exists for the length of the block; yields what ``lock`` says.

    Raises:
        OSError: it cannot be opened.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield lock(fd, wait=wait)
    finally:
        os.close(fd)


def user_folder(kind: Literal["CACHE", "STATE"], environ: Mapping[str, str] = os.environ) -> Path:
    """Outrider's folder for what can be made again (CACHE) or is kept (STATE); not made here.

    Raises:
        FileNotFoundError: neither the environment nor the user database names a folder.
    """
    # The XDG specification wants relative values ignored; an empty one is relative, too.
    base = Path(environ.get(f"XDG_{kind}_HOME", ""))
    home = Path(environ.get("HOME", ""))
    if not home.is_absolute():
        with contextlib.suppress(KeyError):  # a container may run as a user that it does not know
            home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    if not base.is_absolute():
        base = home / _USER_FOLDERS[kind]
    if not base.is_absolute():
        raise FileNotFoundError(f"neither XDG_{kind}_HOME nor HOME is an absolute path")
    return base / "outrider"
