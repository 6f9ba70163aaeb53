"""The thread that writes films: what the encoder gives waits here while the disk is slow.

A disk that is full, gone or closed stops nothing else: that is told, what comes is counted as
missed, and it is tried again by itself. It encodes nothing.
"""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from edge.h264 import TIME_BASE
from edge.sinks.record.film import PART, Coded, Film
from edge.sinks.record.ring import NothingLeftError, Ring

log = logging.getLogger(__name__)

BACKLOG_BYTES = 32 * 1024 * 1024
"""What may wait for the disk: a minute of 4 Mbit/s, which a card that clears its cells may take."""
RETRY_S = 2.0
"""Between two looks whether it can record again."""
FILE_BYTES = 2**31
"""A film ends at this in any case; FAT takes files of 4 GiB."""
_PART_S = float(PART * TIME_BASE)


class Taker(Protocol):
    """Hears of every coded picture, in order and on the disk's thread, so it may write, too.

    Where pictures are missed the next is a key frame. What it raises is logged, and it hears on.
    """

    def take(self, picture: Coded) -> None:
        """The next picture; it comes whether or not there is room for films now."""

    def note(self, record: Mapping[str, Any]) -> None:
        """A line that is of no picture, in its place between them."""

    def rest(self) -> None:
        """Nothing came for as long as a part."""

    def close(self) -> None:
        """After the last picture."""


class Disk:
    """Writes coded pictures into the films of a ring, each of ``segment_s`` and up to a key frame.

    Attributes:
        takers: hear of the pictures as well; filled before ``start``.
        alarm: why nothing is recorded now, None while it is.
        taken: pictures that came.
    """

    def __init__(self, ring: Ring, *, segment_s: float) -> None:
        self.takers: list[Taker] = []
        self.alarm: str | None = None
        self.taken = self._refused = self._unwritten = 0
        self._ring = ring
        self._segment = round(segment_s / TIME_BASE)
        self._news = threading.Condition()
        self._waiting: deque[Coded | Mapping[str, Any]] = deque()
        self._bytes = 0
        self._lost = False
        self._ended = False
        self._film: Film | None = None
        self._too_long = self._full = False
        self._retry_s = 0.0
        self._missed_before = 0
        self._thread = threading.Thread(target=self._run, name="record-disk", daemon=True)

    @property
    def bytes(self) -> int:
        """What lies in the folder, the film that is being written included."""
        film = self._film
        return self._ring.bytes + (0 if film is None else film.bytes)

    @property
    def missed(self) -> int:
        """Pictures that came and are in no film."""
        return self._refused + self._unwritten

    @property
    def behind(self) -> bool:
        """Whether more waits than may, so that pictures are missed."""
        return self._lost

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def put(self, picture: Coded, *, wait_s: float) -> None:
        """Hand over a picture; where there is no room, and none in time, go on at a key frame."""
        with self._news:
            self.taken += 1
            if wait_s and not self._lost:
                self._news.wait_for(lambda: self._bytes <= BACKLOG_BYTES or self._ended, wait_s)
            if self._bytes > BACKLOG_BYTES:
                self._lost = True
            elif picture.sample.key:
                self._lost = False
            if self._lost:
                self._refused += 1
                return
            self._waiting.append(picture)
            self._bytes += picture.bytes
            self._news.notify_all()

    def note(self, record: Mapping[str, Any]) -> None:
        """Hand over a line that is of no picture."""
        with self._news:
            self._waiting.append(record)
            self._news.notify_all()

    def end(self) -> None:
        """Nothing more comes; what waits is written."""
        with self._news:
            self._ended = True
            self._news.notify_all()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end, whether it came in time."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not (self._ended and not self._waiting):
            try:
                self._handle(self._next())
            except Exception as exc:
                self._fail(exc)
        try:
            self._end_film()
        except Exception as exc:
            self._fail(exc)
        for taker in self.takers:
            _heard(taker.close)
        self._ring.close()

    def _next(self) -> Coded | Mapping[str, Any] | None:
        """What is next, None where nothing comes for as long as a part, or any more."""
        with self._news:
            self._news.wait_for(lambda: self._waiting or self._ended, _PART_S)
            if not self._waiting:
                return None
            item = self._waiting.popleft()
            if isinstance(item, Coded):
                self._bytes -= item.bytes
                self._news.notify_all()
            return item

    def _handle(self, item: Coded | Mapping[str, Any] | None) -> None:
        if isinstance(item, Coded):
            for taker in self.takers:
                _heard(partial(taker.take, item))
            self._write(item)
        elif item is not None:
            for taker in self.takers:
                _heard(partial(taker.note, item))
            if self._film is not None:
                self._film.note(item)
        else:
            for taker in self.takers:
                _heard(taker.rest)
            if self._film is not None and self._film.end_part():
                self._wrote(self._film)

    def _write(self, picture: Coded) -> None:
        resting = self.alarm is not None and time.monotonic() < self._retry_s
        if self._film is None and (resting or not picture.sample.key):
            self._unwritten += 1
            return
        try:
            if self._film is not None and self._is_due(self._film, picture):
                self._end_film()
            film = self._film
            if film is None:
                self._film = self._begun(picture)
                return
            full = film.add(picture)
        except Exception:
            self._unwritten += 1
            raise
        if full:
            self._wrote(film)

    def _is_due(self, film: Film, picture: Coded) -> bool:
        """Whether another film begins with this picture."""
        return picture.sample.key and (
            picture.sample.pts - film.begin >= self._segment
            or picture.head is not film.head
            or self._too_long
            or film.bytes >= FILE_BYTES
        )

    def _begun(self, picture: Coded) -> Film:
        self._ring.open()
        if self._full:
            self._ring.check_room()
        path = self._ring.name(picture.utc_ns)
        self._ring.make_room()
        return Film(path, picture, check=self._ring.open)

    def _wrote(self, film: Film) -> None:
        """A part is on the disk, and the rest makes room for the next."""
        if not film.path.exists():
            raise FileNotFoundError(errno.ENOENT, "it was removed", str(film.path))
        if self.alarm is not None:
            missed = self.missed - self._missed_before
            log.info("%s: records again; %d pictures are missed", self._ring.folder, missed)
            self.alarm, self._full = None, False
        self._too_long = not self._ring.make_room(film.bytes, film.part_bytes)

    def _end_film(self) -> None:
        film = self._film
        if film is not None:
            film.close()
            self._film = None
            self._ring.wrote(film.path, film.bytes)

    def _fail(self, error: Exception) -> None:
        """Tell why nothing is recorded, and leave the folder until it is tried again."""
        film, self._film = self._film, None
        if film is not None:
            waiting = film.waiting
            try:
                film.close()
            except Exception:
                self._unwritten += waiting
            self._ring.wrote(film.path, film.bytes)
        self._ring.close()
        words = repr(error)
        if isinstance(error, OSError):
            words = str(error.strerror or error) + (f": {error.filename}" if error.filename else "")
        if self.alarm is None:
            self._missed_before = self.missed
            log.warning(
                "%s: nothing is recorded: %s; the run goes on, and it is tried again",
                self._ring.folder,
                words,
                exc_info=None if isinstance(error, OSError) else error,
            )
        self.alarm = words
        self._full = isinstance(error, NothingLeftError)
        # Filled up between two looks: older films may make room at once.
        sudden = isinstance(error, OSError) and error.errno == errno.ENOSPC and not self._full
        self._retry_s = time.monotonic() + (0 if sudden else RETRY_S)


def _heard(call: Callable[[], None]) -> None:
    """Let a taker hear; what goes wrong there harms no film."""
    try:
        call()
    except Exception:
        log.exception("what hears of recorded pictures failed")
