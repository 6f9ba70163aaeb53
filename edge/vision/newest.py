"""Hands the newest picture from one thread to another; older ones are skipped."""

from __future__ import annotations

import threading

import numpy as np

from edge.vision.types import Image


class NewestPicture:
    """A place for one picture and its time.

    Attributes:
        skipped: how many were replaced before they were taken.
        closed: whether nothing is handed over any more.
    """

    def __init__(self) -> None:
        self.skipped = 0
        self._news = threading.Condition()
        self._waiting: tuple[Image, int] | None = None
        self._taken: Image | None = None
        self._spare: Image | None = None
        self.closed = False

    def put(self, image: Image, at_ns: int) -> None:
        """Copy a picture (H, W, 3); it never waits for the taker."""
        with self._news:
            copy, self._spare = self._spare, None
            if self._waiting is not None:
                copy, self.skipped = self._waiting[0], self.skipped + 1
            if copy is None or copy.shape != image.shape:
                copy = np.empty_like(image)
            np.copyto(copy, image)
            self._waiting = copy, at_ns
            self._news.notify()

    def take(self, timeout_s: float | None = None) -> tuple[Image, int] | None:
        """Wait for a picture, which stays the taker's until its next call.

        None where none has come in time, and once it is closed.
        """
        with self._news:
            self._news.wait_for(lambda: self._waiting is not None or self.closed, timeout_s)
            if self._waiting is None or self.closed:
                return None
            self._spare, (self._taken, at_ns) = self._taken, self._waiting
            self._waiting = None
            return self._taken, at_ns

    def close(self) -> None:
        """Wake the taker for good."""
        with self._news:
            self.closed = True
            self._news.notify()
