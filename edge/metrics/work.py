"""How long each part of a run worked, as sums over frames; they are added up, and judged elsewhere.

Sums of one stretch of a run are those at its end less those at its beginning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from edge.metrics.metrics import Rendered


class Work(NamedTuple):
    """Sums over ``frames`` rendered frames, which took ``span_ns`` from end to end.

    ``dropped`` counts those between them; times in ns are of the stages of the same names, and
    ``engine`` and ``waited`` those of ``Result``. ``away_ns`` is the time without signal, which is
    in no other sum, nor are the frames that ended it.
    """

    frames: int = 0
    span_ns: int = 0
    away_ns: int = 0
    dropped: int = 0
    capture: int = 0
    letterbox: int = 0
    engine: int = 0
    waited: int = 0
    decode: int = 0
    overlay: int = 0
    sinks: int = 0

    @staticmethod
    def of(frame: Rendered, span_ns: int) -> Work:
        """One frame's, ``span_ns`` after the one before."""
        of = frame.stage_ns.get
        return Work(
            frames=1,
            span_ns=span_ns,
            dropped=frame.dropped,
            capture=of("capture", 0),
            letterbox=of("letterbox", 0),
            engine=frame.engine_ns,
            waited=frame.waited_ns,
            decode=of("decode", 0),
            overlay=of("overlay", 0),
            sinks=of("sinks", 0),
        )

    def plus(self, other: Work) -> Work:
        """Both together."""
        return Work(*(mine + its for mine, its in zip(self, other, strict=True)))

    def since(self, before: Work) -> Work:
        """What was done after ``before``, older sums of the same run."""
        return Work(*(mine - its for mine, its in zip(self, before, strict=True)))
