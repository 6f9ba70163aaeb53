"""The run's pictures on their way to viewers: bounded in rate and size, encoded once for all.

The main thread only copies a picture, and only when somebody looks; a thread of its own encodes the
newest one. What is slow there skips pictures and never holds the run up.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import cv2
import numpy as np

from edge.vision.types import Image

log = logging.getLogger(__name__)

_QUALITY = 80
"""JPEG's, at which text on the picture has no fringes that are seen at arm's length."""
_EARLY = 0.25
"""Part of a period by which a picture may come early and is still taken: cameras jitter."""


class Pictures:
    """Bounded by ``fps`` and ``width`` px; ``publish`` gets each JPEG, on the encoder's thread.

    Attributes:
        viewers: how many look at JPEGs; set by the server.
    """

    def __init__(self, *, fps: float, width: int, publish: Callable[[bytes], None]) -> None:
        self.viewers = 0
        self._period_ns = 1e9 / fps
        self._width = width
        self._publish = publish
        self._due_ns = 0.0
        self._news = threading.Condition()
        self._next: Image | None = None
        self._spare: Image | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._encode, name="web pictures", daemon=True)
        self._thread.start()

    @property
    def wanted(self) -> bool:
        """Whether the next picture is to be offered."""
        return self.viewers > 0 and time.monotonic_ns() >= self._due_ns - _EARLY * self._period_ns

    def offer(self, image: Image) -> None:
        """Take a copy of a picture (H, W, 3) BGR; the one before, if it still waits, is skipped."""
        now_ns = time.monotonic_ns()
        # Periods are counted on, so that 25 a second of a camera become 10 and not 8.
        self._due_ns = max(self._due_ns + self._period_ns, now_ns - self._period_ns)
        with self._news:
            copy, self._spare = self._next if self._next is not None else self._spare, None
            if copy is None or copy.shape != image.shape:
                copy = np.empty_like(image)
            np.copyto(copy, image)
            self._next = copy
            self._news.notify()

    def close(self) -> None:
        """End the thread."""
        with self._news:
            self._closed = True
            self._news.notify()

    def _encode(self) -> None:
        while True:
            with self._news:
                while self._next is None and not self._closed:
                    self._news.wait()
                if self._closed:
                    return
                image, self._next = self._next, None
            assert image is not None
            try:
                self._publish(self._jpeg(image))
            except Exception:  # one picture less; the next may be good
                log.exception("a picture for the page was lost")
            with self._news:
                self._spare = image

    def _jpeg(self, image: Image) -> bytes:
        height, width = image.shape[:2]
        if width > self._width:
            size = (self._width, max(1, round(height * self._width / width)))
            smaller = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        else:
            smaller = image
        return cv2.imencode(".jpg", smaller, (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))[1].tobytes()
