"""Writes one film: coded pictures as fragmented MP4, and a line of JSON for each beside it.

Both files only ever grow, by whole parts: what a killed process or a power cut leaves plays to its
last part. It raises plain ``OSError``, and knows neither when to write nor how much.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from edge.h264 import TIME_BASE
from edge.h264.fragments import Head, Sample, fragment, whole_end

PART = round(1 / TIME_BASE)
"""A part holds less than this; a power cut loses the last one at most."""


@dataclass(frozen=True, slots=True)
class Coded:
    """One picture as the encoder gave it, with what was found on it.

    ``head`` is the one object of its stream: another one begins another stream, which needs a film
    of its own. ``utc_ns`` is when the picture was taken, in ns since 1970 by the machine's clock
    of that moment, which may jump. ``record`` is ``as_record`` of its result, None for a view of no
    signal. ``sample.pts`` rises over all streams of a run.
    """

    sample: Sample
    head: Head
    utc_ns: int
    record: Mapping[str, Any] | None

    @property
    def bytes(self) -> int:
        """What it takes in memory, about: a box of a line is four numbers and some names."""
        boxes = 0 if self.record is None else len(self.record["detections"])
        return len(self.sample.data) + 2000 + 500 * boxes


class Film:
    """``path`` and its lines in ``path`` with the suffix .jsonl, made with the first part.

    The first picture is a key frame and is time 0; all are of its stream. A line is that of
    ``--sink FILE.jsonl`` with ``film_s``, the picture's time in the film, and ``utc_ns``; ``told``
    stands before all, and ``title`` is what players show. ``check`` is called just before the files
    are made, and raises OSError where they must not be.

    Attributes:
        begin: the ``pts`` of its first picture.
        bytes: what both files hold, ``part_bytes`` of it the newest part.
    """

    def __init__(
        self,
        path: Path,
        first: Coded,
        *,
        title: str = "",
        told: Mapping[str, Any] | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.path = path
        self.head = first.head
        self.begin = first.sample.pts
        self.bytes = self.part_bytes = 0
        self._title = title
        self._check = check
        self._part: list[Coded] = []
        self._lines: list[str] = []
        self._number = 0
        self._files: list[_Growing] = []
        if told is not None:
            self.note(told)
        self.add(first)

    @property
    def waiting(self) -> int:
        """How many pictures are in the part that is not written yet."""
        return len(self._part)

    def add(self, picture: Coded) -> bool:
        """Take the next picture; where the part is full, it is written first.

        Returns whether one was written.

        Raises:
            OSError: it cannot be written: close the film, whose earlier parts are whole. The
                picture is not taken.
        """
        part = self._part
        full = bool(part) and picture.sample.pts - part[0].sample.pts >= PART
        if full:
            self.end_part(picture.sample.pts)
        self._part.append(picture)
        if picture.record is not None:
            times = {"film_s": self._seconds(picture.sample.pts), "utc_ns": picture.utc_ns}
            self.note(times | dict(picture.record))
        return full

    def note(self, record: Mapping[str, Any]) -> None:
        """Add a line, such as one that is of no picture but of a new state of the source."""
        self._lines.append(json.dumps(record, ensure_ascii=False) + "\n")

    def end_part(self, end: int | None = None) -> bool:
        """Write what is there of a part to the disk; its last picture lasts until ``end``.

        Returns whether there was something, which may be lines alone.

        Raises:
            OSError: as ``add``.
        """
        if not self._part:
            told = bool(self._lines and self._files)
            if told:
                self._write("".join(self._lines).encode(), b"")
            self._lines = []
            return told
        samples = [picture.sample for picture in self._part]
        if end is None:  # as long as the one before
            last, before = samples[-1].pts, samples[-2:][0].pts
            end = last + (last - before or PART // 25)
        utc_ns = self._part[0].utc_ns
        number = self._number + 1
        data = fragment(samples, number, end=end, origin=self.begin, utc_ns=utc_ns)
        if not self._files:
            data = self.head.begun_at(utc_ns, self._title) + data
        self._write("".join(self._lines).encode(), data)
        self._number = number
        self._part, self._lines = [], []
        return True

    def close(self) -> None:
        """Write the last part and close the files; a second call does nothing.

        Raises:
            OSError: the last part cannot be written; the files are closed and the rest is whole.
        """
        try:
            self.end_part()
        finally:
            for file in self._files:
                file.close()
            self._files, self._part, self._lines = [], [], []

    def _write(self, lines: bytes, data: bytes) -> None:
        """Add to both files: all or nothing. The lines first: no picture is without its line."""
        made = not self._files
        try:
            if made:
                self._check()
                for path in (self.path.with_suffix(".jsonl"), self.path):
                    self._files.append(_Growing(path))
            for file, added in zip(self._files, (lines, data), strict=True):
                file.write(added)
            for file in self._files:
                file.sync()
            if made:
                _sync_folder(self.path.parent)
        except OSError:
            for file in self._files:
                file.take_back()
                if made:
                    file.remove()
            if made:
                self._files = []
            raise
        before, self.bytes = self.bytes, sum(file.settle() for file in self._files)
        self.part_bytes = self.bytes - before

    def _seconds(self, pts: int) -> float:
        return round(float(Fraction(pts - self.begin) * TIME_BASE), 6)


class _Growing:
    """A new file that is only added to, of which what is settled stays."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._settled = self._end = 0
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)

    def write(self, data: bytes) -> None:
        while data:
            written = os.write(self._fd, data)
            self._end += written
            data = data[written:]

    def sync(self) -> None:
        os.fdatasync(self._fd)

    def settle(self) -> int:
        """Keep all that was written; returns its length."""
        self._settled = self._end
        return self._end

    def take_back(self) -> None:
        """Cut off what is not settled."""
        self._end = self._settled
        with contextlib.suppress(OSError):  # the disk is gone
            os.ftruncate(self._fd, self._end)
            os.lseek(self._fd, self._end, os.SEEK_SET)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._fd)

    def remove(self) -> None:
        self.close()
        with contextlib.suppress(OSError):
            self._path.unlink()


def mend(path: Path) -> None:
    """Cut a film and its lines, which a crash left, back to what is whole; away where nothing is.

    Raises:
        OSError: they cannot be read or changed, or are links, which lead to what is not ours.
    """
    jsonl = path.with_suffix(".jsonl")
    with open(path, "rb+", opener=_no_link) as film:
        whole = whole_end(film.fileno())
        if whole < os.fstat(film.fileno()).st_size:
            film.truncate(whole)
    if jsonl.is_symlink():
        jsonl.unlink()
    with contextlib.suppress(FileNotFoundError), open(jsonl, "rb+", opener=_no_link) as lines:
        text = lines.read()
        kept = text.partition(b"\0")[0].rfind(b"\n") + 1  # a power cut may leave zeros
        if kept < len(text):
            lines.truncate(kept)
    if not whole:
        jsonl.unlink(missing_ok=True)
        path.unlink()


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)


def _sync_folder(folder: Path) -> None:
    """Have the names of new files on the disk as well."""
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
