"""A file of events that is whole wherever it is cut, and never larger than it may be."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from engines.errors import SettingsError


class TraceFile:
    """The array form of the Trace Event Format, which needs no closing bracket.

    A write is of whole lines, so what a killed process leaves is read up to its last one. When half
    of ``max_bytes`` is reached, the file becomes ``before`` in the place of an earlier one, and a
    new one begins: what there is is the newest, and from half to all of what may be kept.

    Raises:
        SettingsError: it cannot be written there.
    """

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        self.path = path
        self.before = path.with_name(f"{path.stem}.before{path.suffix}")
        """The part before, where there is one."""
        self._most = max_bytes // 2
        self._size = 0
        self._fd: int | None = None
        try:
            self._open()
            self.before.unlink(missing_ok=True)  # of an earlier trace
        except OSError as exc:
            raise SettingsError(
                f"trace {path}: cannot be written: {exc.strerror}; choose another path"
            ) from exc

    def full(self) -> bool:
        """Whether the next part is to begin."""
        return self._size >= self._most

    def turn(self) -> None:
        """Close this part and begin the next.

        Raises:
            OSError: it cannot be written.
        """
        self.close()
        self.path.replace(self.before)
        self._open()

    def write(self, lines: Sequence[str]) -> None:
        """Add events, in one call of the system.

        Raises:
            OSError: it cannot be written; what was written before stays readable.
        """
        text = ("\n," if self._size else "[\n") + "\n,".join(lines)
        self._put(text.encode(errors="replace"))  # names of files may be no UTF-8

    def close(self) -> None:
        """End the array; safe to call twice.

        Raises:
            OSError: as ``write``.
        """
        fd, self._fd = self._fd, None
        if fd is None:
            return
        try:
            os.write(fd, b"\n]\n" if self._size else b"[]\n")
        finally:
            os.close(fd)

    def _open(self) -> None:
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        self._size = 0

    def _put(self, data: bytes) -> None:
        assert self._fd is not None, "written after the end"
        written = 0
        try:
            while written < len(data):
                written += os.write(self._fd, data[written:])
        except OSError:
            os.ftruncate(self._fd, self._size)  # a disk that is full took half a line
            raise
        self._size += written
