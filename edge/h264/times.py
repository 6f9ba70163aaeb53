"""When each picture of a film is shown: its time of capture or in its file, always rising."""

from __future__ import annotations

import logging
from fractions import Fraction

from edge.h264.encoder import TIME_BASE

log = logging.getLogger(__name__)

FALLBACK_FPS = 25.0
"""For a source that does not say its rate; it sets how often a key frame comes, not the times."""
LONGEST_S = 6 * 3600
"""How long a picture may last: MP4 counts it in 32 bits, of which FFmpeg takes 31 (6.6 h)."""
_LONGEST = round(LONGEST_S / TIME_BASE)
_SECOND_NS = 1_000_000_000


class PictureTimes:
    """The times of one film; ``last`` is that of the newest picture, −1 before the first.

    Where the next picture comes later than LONGEST_S the film goes on after that; told once, of
    the film ``name``.
    """

    def __init__(self, name: str) -> None:
        self.last = -1
        self._name = name
        self._told = False
        self._origin_ns: int | None = None

    def pts(self, capture_ns: int, media_ns: int | None) -> int:
        """The next picture's time in TIME_BASE since the first one, always later than the last one.

        It is the time in the file that is played, or that of the capture where there is no file.
        """
        time_ns = capture_ns if media_ns is None else media_ns
        if self._origin_ns is None:
            self._origin_ns = time_ns
        pts = _ticks(time_ns - self._origin_ns)
        if self.last >= 0 and pts - self.last > _LONGEST:
            if not self._told:
                self._told = True
                log.warning(
                    "%s: a film shows no picture for longer than %d h: longer gaps are shortened "
                    "to that, and JSON lines have the true times; told once",
                    self._name,
                    LONGEST_S // 3600,
                )
            self._origin_ns += round((pts - self.last - _LONGEST) * TIME_BASE * _SECOND_NS)
            pts = _ticks(time_ns - self._origin_ns)
        self.last = max(pts, self.last + 1)
        return self.last


def _ticks(duration_ns: int) -> int:
    return round(Fraction(duration_ns, _SECOND_NS) / TIME_BASE)
