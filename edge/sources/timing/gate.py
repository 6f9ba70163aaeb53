"""Lets one thread read a resource and any other thread close it; it knows nothing of frames."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator


class ReadGate:
    """Releases a C resource only when no call is inside it.

    Closing a capture while another thread reads it is a use after free in OpenCV and in FFmpeg. So
    ``close`` never waits: whoever leaves last, the closing thread or the reader, does the release.
    """

    def __init__(self, release: Callable[[], None]) -> None:
        self._release: Callable[[], None] | None = release
        self._lock = threading.Lock()
        self._closing = threading.Event()

    @contextlib.contextmanager
    def reading(self) -> Iterator[bool]:
        """A block for one read; yields False when the resource is closed or about to be."""
        try:
            with self._lock:
                yield not self._closing.is_set()
        finally:
            if self._closing.is_set():
                self.close()

    def close(self) -> None:
        """Release now, or leave it to the reader that is inside; safe to call twice."""
        self._closing.set()
        if not self._lock.acquire(blocking=False):
            return  # the reader sees the event after it let go of the lock
        try:
            # Forgotten before it is called: it may refer to what holds this gate.
            release, self._release = self._release, None
            if release is not None:
                release()
        finally:
            self._lock.release()
