"""The films of one folder, oldest first: their names and size, and which go to make room.

It takes the folder for one recorder, and touches no file but films and their lines. It raises
plain ``OSError``.
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass
from pathlib import Path

from edge.sinks.record.film import mend
from edge.sinks.record.names import name_of, number_of
from engines.files import lock


@dataclass(slots=True)
class _Kept:
    """One film that is closed: its files and what they hold."""

    files: list[Path]
    bytes: int


class NothingLeftError(OSError):
    """The disk is full, and no older film is left that could make room."""


class Ring:
    """Films below ``keep_bytes`` in all, while at least ``free_bytes`` of the disk are free.

    Attributes:
        bytes: what lies there, without the film that is being written.
    """

    def __init__(self, folder: Path, *, keep_bytes: int, free_bytes: int) -> None:
        self.folder = folder
        self.bytes = 0
        self._keep_bytes = keep_bytes
        self._free_bytes = free_bytes
        self._part = 0
        self._films: dict[int, _Kept] = {}
        self._next = 0
        self._fd: int | None = None
        self._mounted: bool | None = None

    def open(self, *, make: bool = False) -> None:
        """Take the folder, unless it is taken, and mend what a crash may have left there.

        Args:
            make: make the folder where there is none.

        Raises:
            BlockingIOError: another recorder has it.
            OSError: it is not there, or not for us.
        """
        if self._fd is not None:
            if os.path.samestat(os.fstat(self._fd), os.stat(self.folder)):
                return
            self.close()  # another folder, or another disk, is there now
        if make:
            self.folder.mkdir(exist_ok=True)
        mounted = os.path.ismount(self.folder)
        if self._mounted and not mounted:  # what is recorded now would fill another disk
            raise OSError(errno.ENODEV, "nothing is mounted there any more")
        fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if lock(fd, wait=False) is False:
                raise BlockingIOError(errno.EAGAIN, "another run records there")
            self._look()
            if self._films:
                for path in self._films[max(self._films)].files:
                    with contextlib.suppress(PermissionError):  # of another user, who ran it before
                        if path.suffix == ".mp4":
                            mend(path)
                self._look()
        except BaseException:
            os.close(fd)
            raise
        self._fd, self._mounted = fd, mounted

    def close(self) -> None:
        """Leave the folder to others, and its disk to be unmounted; a second call does nothing."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def name(self, utc_ns: int) -> Path:
        """The name of a new film that begins at this time; all that lies there is counted anew."""
        self._look()
        self._next += 1
        return self.folder / name_of(self._next - 1, utc_ns)

    def make_room(
        self, writing_bytes: int = 0, part_bytes: int = 0, *, other_bytes: int = 0
    ) -> bool:
        """Remove the oldest films for the sake of the others.

        Args:
            writing_bytes: what the film holds that is being written, which stays.
            part_bytes: the size of its newest part.
            other_bytes: what is to be written at once and is none of the films.

        Returns:
            Whether its next part fits into ``keep_bytes``: else the film is too long for that.

        Raises:
            NothingLeftError: less than wanted is free.
            OSError: a film cannot be removed.
        """
        self._part = max(self._part, part_bytes)
        wanted = self._wanted() + other_bytes
        lacking = wanted - self.free()
        newest = 0 if writing_bytes or other_bytes else 1
        while len(self._films) > newest and (lacking > 0 or not self._is_within(writing_bytes)):
            # As much as is lacking and no more: some file systems take a while to count what is
            # free.
            lacking -= self._remove(min(self._films))
        if lacking > 0:
            self._check_free(wanted)
        return self._is_within(writing_bytes)

    def check_room(self) -> None:
        """Look whether so much is free that it is worth recording again after it was not.

        Raises:
            NothingLeftError: it is not.
        """
        wanted = self._wanted()
        self._check_free(wanted + max(wanted // 10, 4 * self._part))

    def free(self) -> int:
        """The free bytes of the disk.

        Raises:
            OSError: the folder is not there.
        """
        disk = os.statvfs(self.folder)
        return disk.f_bavail * disk.f_frsize

    def wrote(self, film: Path, size: int) -> None:
        """Count a film that is closed, if it has a part."""
        number = number_of(film.name)
        if size and number is not None:
            self._films[number] = _Kept([film, film.with_suffix(".jsonl")], size)
            self.bytes += size

    def _check_free(self, wanted: int) -> None:
        free = self.free()
        if free < wanted:
            raise NothingLeftError(
                errno.ENOSPC,
                f"{free / 1e9:.3g} GB of the disk are free, wanted {wanted / 1e9:.3g}, and no "
                "older film is left",
            )

    def _wanted(self) -> int:
        """What is to be free: some parts always fit."""
        return max(self._free_bytes, 4 * self._part)

    def _is_within(self, writing_bytes: int) -> bool:
        """Whether all is within its bound with the next part as well."""
        return self.bytes + writing_bytes + self._part <= self._keep_bytes

    def _look(self) -> None:
        """Learn what lies in the folder; others may have removed some."""
        films: dict[int, _Kept] = {}
        with os.scandir(self.folder) as entries:
            for entry in entries:
                number = number_of(entry.name)
                if number is None or not entry.is_file(follow_symlinks=False):
                    continue
                with contextlib.suppress(FileNotFoundError):
                    size = entry.stat(follow_symlinks=False).st_size
                    kept = films.setdefault(number, _Kept([], 0))
                    kept.files.append(Path(entry.path))
                    kept.bytes += size
        self._films = films
        self.bytes = sum(kept.bytes for kept in films.values())
        self._next = max(self._next, max(films, default=-1) + 1)

    def _remove(self, number: int) -> int:
        kept = self._films[number]
        for path in sorted(kept.files):  # .jsonl first: a film without its lines still plays
            path.unlink(missing_ok=True)
        del self._films[number]
        self.bytes -= kept.bytes
        return kept.bytes
