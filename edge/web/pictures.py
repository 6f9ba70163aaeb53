"""The run's pictures on their way to viewers: bounded in rate and size, encoded once for all.

The main thread only copies a picture, and only when somebody looks; a thread of its own encodes the
newest one. What is slow there skips pictures and never holds the run up.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Protocol

import cv2
import numpy as np

from edge.vision.newest import NewestPicture
from edge.vision.types import Image
from engines.errors import SinkError

log = logging.getLogger(__name__)

_EARLY = 0.25
"""Part of a period by which a picture may come early and is still taken: cameras jitter."""
_REST_S = 1.0
"""How long an encoder is kept that nobody needs: a page that is loaded again takes less."""
_SNAPSHOT_QUALITY = 95
"""JPEG's of a picture that is kept."""
_SNAPSHOT_S = 2.0
"""How long a snapshot waits for a picture: four views of no signal."""


class Way(Protocol):
    """One way in which pictures reach those who look."""

    @property
    def wanted(self) -> bool:
        """Whether somebody looks at it."""

    def encode(self, image: Image, at_ns: int) -> None:
        """Send them a picture of bounded size that came at CLOCK_MONOTONIC ``at_ns``."""

    def rest(self) -> None:
        """Let go of what encodes, as nobody looks any more; again and again."""

    def close(self) -> None:
        """Let go of it, and end all who look; nothing is encoded after it."""


class Pictures:
    """Bounds pictures to ``fps`` and a longer side of ``longest`` px, and has them encoded.

    That is done on a thread of its own.
    """

    def __init__(
        self,
        ways: Sequence[Way],
        *,
        fps: float,
        longest: int,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._ways = ways
        self._clock = clock
        self._period_ns = 1e9 / fps
        self._longest = longest
        self._due_ns = 0.0
        self._newest = NewestPicture()
        self._lock = threading.Lock()
        self._asked: list[tuple[int, Future[bytes]]] = []
        self._failing: set[Way] = set()
        self._thread = threading.Thread(target=self._encode_all, name="web pictures", daemon=True)
        self._thread.start()

    @property
    def wanted(self) -> bool:
        """Whether the next picture is to be offered."""
        if self._asked:
            return True
        looked_at = any(way.wanted for way in self._ways)
        return looked_at and self._clock() >= self._due_ns - _EARLY * self._period_ns

    def offer(self, image: Image) -> None:
        """Take a copy of a picture (H, W, 3) BGR; the one before, if it still waits, is skipped."""
        now_ns = self._clock()
        # Periods are counted on, so that 25 a second of a camera become 10 and not 8.
        before_ns = self._due_ns if now_ns - self._due_ns < self._period_ns else now_ns
        self._due_ns = before_ns + self._period_ns
        self._newest.put(image, now_ns)

    async def snapshot(self) -> bytes:
        """The next picture that is encoded as a JPEG of full size, with its overlay.

        Raises:
            SinkError: none came in time, or it is too large for a JPEG.
        """
        answer: Future[bytes] = Future()
        asked = self._clock(), answer
        with self._lock:
            self._asked.append(asked)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(answer), _SNAPSHOT_S)
        except asyncio.TimeoutError as exc:
            raise SinkError(
                f"web: no picture came for {_SNAPSHOT_S:g} s, wanted one to keep; look at the "
                "source's state and try again"
            ) from exc
        finally:
            with self._lock:
                if asked in self._asked:
                    self._asked.remove(asked)

    def close(self) -> None:
        """End the thread."""
        self._newest.close()

    def _encode_all(self) -> None:
        while not self._newest.closed:
            taken = self._newest.take(_REST_S)
            for way in self._ways:
                if not way.wanted:
                    way.rest()
            if taken is not None:
                self._encode(*taken)
        for way in self._ways:
            way.close()

    def _encode(self, image: Image, at_ns: int) -> None:
        bounded: Image | None = None
        for way in self._ways:
            if way.wanted:
                try:
                    bounded = self._bounded(image) if bounded is None else bounded
                    way.encode(bounded, at_ns)
                    self._failing.discard(way)
                except Exception:  # one picture less; the next may be good
                    if way not in self._failing:
                        log.exception("pictures for the page are lost")
                    self._failing.add(way)
        with self._lock:  # who asked after it came gets a newer one
            asked = [answer for asked_ns, answer in self._asked if asked_ns <= at_ns]
            self._asked = [later for later in self._asked if later[0] > at_ns]
        self._answer([answer for answer in asked if answer.set_running_or_notify_cancel()], image)

    def _answer(self, asked: list[Future[bytes]], image: Image) -> None:
        if not asked:
            return
        try:
            kept = jpeg(image, quality=_SNAPSHOT_QUALITY)
        except Exception as exc:
            for answer in asked:
                answer.set_exception(exc)
        else:
            for answer in asked:
                answer.set_result(kept)

    def _bounded(self, image: Image) -> Image:
        height, width = image.shape[:2]
        if max(width, height) <= self._longest:
            return image
        scale = self._longest / max(width, height)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        smaller: Image = np.empty((size[1], size[0], 3), np.uint8)
        cv2.resize(image, size, dst=smaller, interpolation=cv2.INTER_AREA)
        return smaller


def jpeg(image: Image, *, quality: int) -> bytes:
    """A picture (H, W, 3) BGR as a JPEG of that quality, 0 to 100.

    Raises:
        SinkError: it is too large for one.
    """
    done, encoded = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, quality))
    if not done:
        height, width = image.shape[:2]
        raise SinkError(f"web: got a picture of {width}x{height} px, wanted one that is a JPEG")
    return encoded.tobytes()
