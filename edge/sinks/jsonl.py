"""Writes one JSON object a line for every rendered frame and every new state of a live source.

Each line is one write to the operating system: a reader on the other side sees a frame as soon as
it is rendered, and a full disk leaves no line half written.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge.sinks.place import check_place, open_alone
from edge.sources.live.status import SourceStatus
from edge.stdout import gone
from edge.vision.record import as_record
from edge.vision.types import Image, Result
from engines.errors import SinkError


class JsonlSink:
    """Lines of JSON into a file that is opened with the first frame; "-" is stdout.

    Raises:
        SettingsError: there is no such folder, or no permission.
    """

    wants_image = False

    def __init__(self, text: str, *, fps: float | None, keep: bool = False) -> None:
        self._path = None if text == "-" else Path(text)
        self.name = text if self._path else "stdout"
        if self._path:
            check_place(self._path)
        self._fd: int | None = None
        self._keep = keep
        self._broken = False
        self._status: SourceStatus | None = None

    def write(self, result: Result, image: Image | None, *, frame_age_ms: float) -> bool:
        """Write one line; False when nobody reads stdout any more.

        Raises:
            SettingsError: another run writes to the file.
            SinkError: the line cannot be written; the lines before it are whole.
        """
        record = as_record(result, frame_age_ms=frame_age_ms)
        return self._write(record, what=f"frame {result.frame.id}")

    def signal(self, status: SourceStatus, image: Image | None, *, at_ns: int) -> bool:
        """Write one line for a state that is new.

        Raises:
            SettingsError: another run writes to the file.
            SinkError: the line cannot be written; the lines before it are whole.
        """
        before, self._status = self._status, status
        record = news_of(status, before, at_ns=at_ns)
        if record is None:
            return not self._broken
        return self._write(record, what=f"that the source is {status.state}")

    def _write(self, record: Mapping[str, Any], *, what: str) -> bool:
        if self._broken:
            return False
        line = json.dumps(record, ensure_ascii=False) + "\n"
        try:
            if self._fd is None:
                self._fd = self._open()
            _write_whole(self._fd, line.encode(), seekable=self._path is not None)
        except BrokenPipeError:
            self._broken = True
            return False
        except OSError as exc:
            if self._path is None and self._fd is not None and gone(exc, self._fd):
                return True
            self._broken = True
            raise SinkError(
                f"{self.name}: cannot write {what}: {exc.strerror}; the lines before it are whole"
            ) from exc
        return True

    def close(self) -> None:
        """Close the file; stdout stays open."""
        if self._fd is not None and self._path is not None:
            os.close(self._fd)
        self._fd, self._broken = None, True

    def _open(self) -> int:
        if self._path is None:
            if sys.stdout is None:  # started with stdout closed; its number may be another file's
                raise OSError(errno.EBADF, "it was closed before the start")
            sys.stdout.flush()
            return sys.stdout.fileno()
        return open_alone(self._path, os.O_WRONLY, keep=self._keep)


def news_of(
    status: SourceStatus, before: SourceStatus | None, *, at_ns: int
) -> dict[str, Any] | None:
    """The record of a state of the source that is new, None of one that is not."""
    # A first "live" without a reason: nothing has happened.
    begun = before is None and (status.state, status.reason) == ("live", "")
    if begun or status == before:
        return None
    return {"event": "source", "t_ns": at_ns, **asdict(status)}


def _write_whole(fd: int, line: bytes, *, seekable: bool) -> None:
    """Write all of ``line``; where only a part of it fits, take that part back."""
    done = 0
    try:
        while done < len(line):
            done += os.write(fd, line[done:])
    except OSError:
        if seekable and done:
            with contextlib.suppress(OSError):  # a device cannot be truncated
                os.ftruncate(fd, os.lseek(fd, 0, os.SEEK_CUR) - done)
        raise
