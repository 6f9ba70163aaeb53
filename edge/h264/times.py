"""When each picture of a film is shown: its time of capture or in its file, always rising."""

from __future__ import annotations

from fractions import Fraction

from edge.h264.encoder import TIME_BASE

FALLBACK_FPS = 25.0
"""For a source that does not say its rate; it sets how often a key frame comes, not the times."""


class PictureTimes:
    """The times of one film; ``last`` is that of the newest picture, −1 before the first."""

    def __init__(self, fps: float) -> None:
        self.last = -1
        self._fps = fps
        self._origin_ns = 0
        self._last_ns: int | None = None

    def pts(self, capture_ns: int, media_ns: int | None) -> int:
        """The next picture's time in TIME_BASE since the first one, always later than the last one.

        It is the time in the file that is played, or that of the capture where there is no file.
        """
        time_ns = capture_ns if media_ns is None else media_ns
        if self._last_ns is None:
            self._origin_ns = time_ns
        elif media_ns is not None and time_ns < self._last_ns:
            # The file's times start anew (files strung together): this frame follows the last one.
            self._origin_ns += time_ns - self._last_ns - round(1e9 / self._fps)
        self._last_ns = time_ns
        elapsed_s = Fraction(time_ns - self._origin_ns, 1_000_000_000)
        self.last = max(round(elapsed_s / TIME_BASE), self.last + 1)
        return self.last
