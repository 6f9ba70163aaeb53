"""Keeps clips of what happened, each with what was before, in a folder of their own.

The disk's thread writes them; ``mark`` only asks for one. None is removed to make room: where they
take what they may, or the disk is full, a clip waits in memory as long as that has room for it.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.h264 import TIME_BASE
from edge.sinks.record.film import Coded, Film, mend
from edge.sinks.record.names import clip_name_of, clip_number_of
from edge.sinks.record.options import RecordOptions
from edge.sinks.record.preroll import Line, PreRoll
from edge.sinks.record.ring import Ring
from edge.sinks.record.trigger import Trigger
from engines.errors import SinkError

log = logging.getLogger(__name__)

FOLDER = "clips"
"""Below that of the films."""
EVENT = "clip"
"""The ``event`` of the lines that tell of one."""
RETRY_S = 2.0
"""Between two looks whether a clip can be written again."""
MOST_MARKS = 1000
"""On their way at once; who asks for more gets an error."""


@dataclass(slots=True)
class _Clip:
    """One that is wanted, with its first line.

    ``at`` is the event's time, ``until`` the end, ``most`` the latest one, all in TIME_BASE;
    ``next`` and ``unsafe`` are numbers of items: the next to be given to the film, and the first
    that is not on the disk yet.
    """

    line: Mapping[str, Any]
    at: int
    until: int
    most: int
    next: int
    unsafe: int
    film: Film | None = None
    films: int = 0
    retry_s: float = 0.0


class Clips:
    """A ``Taker`` of what is recorded; ``mark`` and the attributes are for any thread.

    Attributes:
        alarm: why no clip can be kept now, None while one can.
        count: how many there are.

    Raises:
        OSError: there is a folder of clips that is not for us.
    """

    def __init__(
        self, ring: Ring, options: RecordOptions, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.alarm: str | None = None
        self._kept_bytes = self.count = 0
        self._ring = ring
        self._clock = clock
        self._folder = ring.folder / FOLDER
        self._most_bytes = round(options.clips_gb * 1e9)
        self._pre, self._post, self._most = (
            round(s / TIME_BASE) for s in (options.pre_s, options.post_s, options.most_s)
        )
        self._post_s = options.post_s
        self._before = PreRoll(round(options.pre_mb * 1e6))
        self._pre_words = f"pre_s = {options.pre_s:g} needs more than pre_mb = {options.pre_mb:g}"
        self._told_short = False
        self._trigger = Trigger(
            options.event_classes, score=options.event_score, seen_s=options.event_s
        )
        self._clip: _Clip | None = None
        self._last_s = 0.0
        self._lock = threading.Lock()
        self._name: str | None = None
        """Of the clip that is under way or asked for."""
        self._coming = 0
        self._number = 0
        newest = self._look()
        for path in newest:  # the last one may have been cut off
            with contextlib.suppress(PermissionError):  # of another user, who ran it before
                mend(path)
        if newest:
            self._look()

    @property
    def clip(self) -> str | None:
        """The name of the clip that is under way or asked for."""
        return self._name

    @property
    def bytes(self) -> int:
        """What they hold, the one that is being written included."""
        clip = self._clip
        film = None if clip is None else clip.film
        return self._kept_bytes + (0 if film is None else film.bytes)

    def mark(self, reason: str) -> Mapping[str, Any]:
        """Ask for a clip of now.

        Returns the line that tells of it, with its name under ``clip``; it is to come back by
        ``note``, in its place between the pictures.

        Raises:
            SinkError: too many were asked for at once.
        """
        with self._lock:
            if self._coming >= MOST_MARKS:
                raise SinkError(f"{MOST_MARKS} marks wait for a clip already, wanted fewer at once")
            self._coming += 1
            return self._line(reason, by="mark", utc_ns=time.time_ns())

    def take(self, picture: Coded) -> None:
        """Keep a picture in mind, and write it where it is of a clip."""
        self._last_s = self._clock()
        self._before.add(picture)
        name = self._trigger.look(picture.sample.pts, picture.record)
        if name is not None:
            with self._lock:
                line = self._line(name, by="class", utc_ns=picture.utc_ns)
            self._mark(line)
        self._write()
        clip, before = self._clip, self._before
        kept = before.end if clip is None else clip.unsafe
        if before.trim(before.newest - self._pre, kept) and not self._told_short:
            self._told_short = True
            log.warning(
                "%s: clips have less before the event than they should: [record] %s; told once",
                self._folder,
                self._pre_words,
            )

    def note(self, record: Mapping[str, Any]) -> None:
        """Keep a line in mind, or begin a clip with it."""
        if record.get("event") == EVENT:
            with self._lock:
                self._coming -= 1
            self._mark(record)
        else:
            self._before.note(record)
        self._write()

    def rest(self) -> None:
        """Nothing comes for now: what there is of a clip is safe, and a clip does not wait long."""
        self._write()
        clip = self._clip
        if clip is not None and clip.film is not None:
            try:
                self._end_part(clip)
                if self._clock() - self._last_s >= self._post_s and not self._coming:
                    self._finish(clip)
            except OSError as exc:
                self._fail(clip, exc)

    def close(self) -> None:
        """Finish the clip with what there is."""
        clip = self._clip
        if clip is not None:
            clip.retry_s = 0.0
            self._write()
        if self._clip is not None and clip is not None:
            try:
                self._finish(clip)
            except OSError as exc:
                log.error("%s: the end is lost: %s", self._path(clip.line), exc.strerror)

    def _line(self, reason: str, *, by: str, utc_ns: int) -> Mapping[str, Any]:
        """What tells of a clip, of a new one where none is under way; the lock is held."""
        if self._name is None:
            self._name = clip_name_of(self._number, utc_ns, reason)
            self._number += 1
        return {"event": EVENT, "clip": self._name, "reason": reason, "by": by, "utc_ns": utc_ns}

    def _path(self, line: Mapping[str, Any]) -> Path:
        return self._folder / str(line["clip"])

    def _mark(self, line: Mapping[str, Any]) -> None:
        """Begin a clip now, or have the one that is under way last longer."""
        at, clip = self._before.newest, self._clip
        until = at + self._post
        if clip is None:
            first = self._before.begin(at - self._pre)
            most = max(at - self._pre + self._most, until)
            self._clip = _Clip(line, at, until, most, next=first, unsafe=first)
            return
        if clip.film is None:  # it waits for the disk, so none grows too long
            clip.most = max(clip.most, until)
        clip.until = max(clip.until, min(until, clip.most))
        self._before.note(line)

    def _write(self) -> None:
        clip = self._clip
        if clip is None or (clip.film is None and self._clock() < clip.retry_s):
            return
        try:
            self._add(clip)
        except OSError as exc:
            self._fail(clip, exc)

    def _add(self, clip: _Clip) -> None:
        """Give the film what it has not got yet; all up to the event is to be safe at once."""
        begun = False
        for number, item in self._before.since(clip.next):
            film = clip.film
            if isinstance(item, Line):
                if film is not None:
                    film.note(_timed(item, film.begin))
            elif item.sample.pts > (clip.most if self._coming else clip.until):
                self._finish(clip)
                return
            elif film is None or item.head is not film.head:
                self._end_film(clip)
                self._begin(clip, item)
                clip.unsafe, begun = number, True
            elif film.add(item):
                clip.unsafe = number
                self._wrote(film)
            clip.next = number + 1
        if begun:
            self._end_part(clip)

    def _begin(self, clip: _Clip, picture: Coded) -> None:
        """Begin a film of a clip; there are several only where it had to be interrupted."""
        self._ring.open()
        self._look()
        self._make_room(self._before.bytes)
        self._folder.mkdir(exist_ok=True)
        path, part = self._path(clip.line), 1
        while path.exists():
            part += 1
            path = path.with_name(f"{self._path(clip.line).stem}-{part}.mp4")
        told = _timed(Line(clip.at, clip.line), picture.sample.pts)
        reason, check = clip.line["reason"], self._ring.open
        clip.film = Film(path, picture, title=reason, told=told, check=check)

    def _make_room(self, wanted_bytes: int) -> None:
        """Have older films go where they must.

        Raises:
            OSError: there is no room for so much more of clips.
        """
        if self.bytes + wanted_bytes > self._most_bytes:
            taken, most = self.bytes / 1e9, self._most_bytes / 1e9
            raise OSError(
                errno.ENOSPC,
                f"clips take {taken:.3g} GB of [record] clips_gb = {most:g}; move some elsewhere",
            )
        self._ring.make_room(other_bytes=wanted_bytes)

    def _end_part(self, clip: _Clip) -> None:
        """Have all on the disk that the film was given."""
        if clip.film is not None and clip.film.end_part():
            clip.unsafe = clip.next
            self._wrote(clip.film)

    def _wrote(self, film: Film) -> None:
        """A part is on the disk, and the rest makes room for the next."""
        if not film.path.exists():
            raise FileNotFoundError(errno.ENOENT, "it was removed", str(film.path))
        if self.alarm is not None:
            log.info("%s: clips are kept again", self._folder)
            self.alarm = None
        self._make_room(film.part_bytes)

    def _end_film(self, clip: _Clip) -> None:
        film, clip.film = clip.film, None
        if film is not None:
            try:
                film.close()
                clip.unsafe = clip.next
            finally:
                clip.films += film.bytes > 0
                self._kept_bytes += film.bytes

    def _finish(self, clip: _Clip) -> None:
        """The clip is as long as it gets; a mark that is on its way begins another film of it."""
        self._end_film(clip)
        self._clip = None
        with self._lock:
            if not self._coming:
                self._name = None
        path = self._path(clip.line)
        if clip.films and self.alarm:
            log.warning("%s: its end is lost: %s", path, self.alarm)
        elif clip.films:
            log.info("%s: kept, for: %s", path, clip.line["reason"])
        else:
            log.warning("%s: is lost: %s", path, self.alarm or "no picture came")
        self.alarm = None
        with contextlib.suppress(OSError):
            self._look()

    def _fail(self, clip: _Clip, error: OSError) -> None:
        """Tell why none is kept, and hold it in memory until it is tried again."""
        with contextlib.suppress(OSError):
            self._end_film(clip)
        clip.next = self._before.key_of(clip.unsafe)
        clip.retry_s = self._clock() + RETRY_S
        where = f": {error.filename}" if error.filename else ""
        words = f"no clip can be kept: {error.strerror or error}{where}"
        if self.alarm is None:
            log.warning("%s: %s; it waits in memory, and is tried again", self._folder, words)
        self.alarm = words

    def _look(self) -> list[Path]:
        """Count what lies there, which others may have changed; returns the newest clip's films."""
        clips: dict[int, list[Path]] = {}
        size = 0
        with contextlib.suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in entries:
                number = clip_number_of(entry.name)
                if number is not None and entry.is_file(follow_symlinks=False):
                    with contextlib.suppress(FileNotFoundError):
                        size += entry.stat(follow_symlinks=False).st_size
                        films = clips.setdefault(number, [])
                        films += [Path(entry.path)] * entry.name.endswith(".mp4")
        self._kept_bytes, self.count = size, len(clips)
        newest = max(clips, default=-1)
        with self._lock:
            self._number = max(self._number, newest + 1)
        return clips.get(newest, [])


def _timed(line: Line, begin: int) -> Mapping[str, Any]:
    """A line with its time in the film that begins at ``begin``, below 0 before that."""
    return {"film_s": round(float((line.pts - begin) * TIME_BASE), 6)} | dict(line.record)
