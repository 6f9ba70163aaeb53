"""Files on disk: written whole or not at all, locked between processes, kept in the user's folders.

What is made for a while only has a name of one form and is locked while it lives, so what a killed
process left is known and goes when the next one makes something there. It raises plain ``OSError``;
its callers say what could not be written.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pwd
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal

_USER_FOLDERS = {"CACHE": ".cache", "STATE": ".local/state"}
"""Below the home folder, where XDG_…_HOME names none (XDG base directory specification)."""


_PREFIX = ".outrider-"
"""How the names of what is made for a while begin."""
_made: set[Path] = set()
"""What this process is making: an end by force unwinds nothing."""


def abandon() -> None:
    """Remove what this process is making: it ends now, whatever its other threads do."""
    for made in tuple(_made):
        remove(made)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside ``path`` to write to; it replaces ``path`` if the block ends without an error.

    Readers see the old file or the whole new one, also after a power cut. The new name has the
    suffix of ``path``. After an error nothing is left and ``path`` is as it was.

    Raises:
        OSError: the file cannot be made, moved or flushed to the disk.
    """

    def make() -> Path:
        # Not tempfile: its files are for their owner only, whatever the umask says.
        made = path.with_name(f"{_PREFIX}{secrets.token_hex(8)}{path.suffix}")
        made.touch(exist_ok=False)
        return made

    with _held(path.parent, make) as made:
        yield made
        with made.open("rb") as file:
            os.fsync(file.fileno())
        made.replace(path)


@contextlib.contextmanager
def scratch(parent: Path | None = None) -> Iterator[Path]:
    """A folder for this process alone, gone with all that is in it when the block ends.

    Args:
        parent: where it is made; None is the system's folder for temporary files.

    Raises:
        OSError: it cannot be made.
    """
    place = Path(tempfile.gettempdir()) if parent is None else parent
    with _held(place, lambda: Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))) as made:
        yield made


@contextlib.contextmanager
def _held(place: Path, make: Callable[[], Path]) -> Iterator[Path]:
    """What ``make`` makes in ``place``, locked, and removed at the end where it is still there.

    What dead processes left there is removed; one in between making and locking makes it again.
    """
    for left in place.glob(f"{_PREFIX}*"):
        _sweep(left)
    while True:
        made = make()
        _made.add(made)
        try:
            if (handle := _lock_there(made)) is None:
                continue  # swept before it was locked
            try:
                yield made
                return
            finally:
                os.close(handle)
        finally:
            remove(made)
            _made.discard(made)


def _lock_there(made: Path) -> int | None:
    """A handle that locks what was just made, None where it is gone already."""
    with contextlib.suppress(FileNotFoundError):
        handle = os.open(made, os.O_RDONLY | os.O_CLOEXEC)
        lock(handle, wait=True)
        if made.exists():
            return handle
        os.close(handle)
    return None


def _sweep(left: Path) -> None:
    """Remove what a dead process left; another user's, or what is held, stays."""
    with contextlib.suppress(OSError):
        if left.is_symlink() or left.stat().st_uid != os.getuid():
            return
        with locked(left, wait=False) as dead:
            if dead:
                remove(left)


def remove(made: Path) -> None:
    """Remove a file, a link or a folder with all in it, as far as that goes; it may be gone."""
    if made.is_dir() and not made.is_symlink():
        shutil.rmtree(made, ignore_errors=True)
    else:
        made.unlink(missing_ok=True)


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


def keep(path: Path, data: bytes) -> None:
    """Keep what can be made again, so that ``kept`` knows it; what stands in its place goes.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        remove(path)
    write_whole(path, hashlib.sha256(data).digest() + data)


def kept(path: Path) -> bytes | None:
    """What ``keep`` wrote there; None where it is missing, damaged or cannot be read."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return data[32:] if data[:32] == hashlib.sha256(data[32:]).digest() else None


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


def cache_in_ours(variable: str, name: str) -> None:
    """Have a library keep its cache as ``name`` in our folder, unless the user says where.

    ``variable`` is what the library reads when it is first used. Without a folder it does as it
    likes.
    """
    with contextlib.suppress(FileNotFoundError):
        os.environ.setdefault(variable, str(user_folder("CACHE") / name))
