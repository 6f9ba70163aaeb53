"""Says when a class has been seen for some time; it knows lines of results and no clips.

One box of the class is enough, whichever: boxes are not followed from frame to frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edge.h264 import TIME_BASE
from edge.vision.class_names import check_names
from engines.errors import SettingsError

MOST_GAP = 2
"""So many pictures in a row may be without it: detectors lose what is still there for a frame."""
_GONE = round(2.0 / TIME_BASE)
"""After so long without a picture of it, it is another sighting, however few came between."""


def check_classes(classes: Sequence[str], known: Sequence[str], kept: Sequence[str] | None) -> None:
    """Look whether classes can be events: of the ``known`` of all models, None of ``kept`` is all.

    Raises:
        SettingsError: one is never seen.
    """
    check_names(classes, known, asked="[record] event_classes")
    for name in classes:
        if kept is not None and name not in kept:
            raise SettingsError(
                f"[record] event_classes: {name!r} is none of [detect] classes, so it is never "
                "seen; wanted it there as well, or here not"
            )


class Trigger:
    """Tells once of each sighting that lasts ``seen_s``, of any of ``classes`` at ``score``.

    A sighting ends where the class is missing on more than MOST_GAP pictures in a row, or for 2 s.
    """

    def __init__(self, classes: Sequence[str], *, score: float, seen_s: float) -> None:
        self._sightings = {name: _Sighting() for name in classes}
        self._score = score
        self._long = round(seen_s / TIME_BASE)

    def look(self, pts: int, record: Mapping[str, Any] | None) -> str | None:
        """The class that has now been seen for long enough; the first of several.

        Args:
            pts: the picture's time in TIME_BASE.
            record: ``as_record`` of its result, None where it has none.
        """
        if not self._sightings:
            return None
        found = [] if record is None else record["detections"]
        seen = {box["class"] for box in found if box["score"] >= self._score}
        told = [
            name
            for name, sighting in self._sightings.items()
            if sighting.is_long(pts, seen=name in seen, long=self._long)
        ]
        return told[0] if told else None


class _Sighting:
    def __init__(self) -> None:
        self._since = self._last = 0
        self._gap = MOST_GAP + 1
        self._told = False

    def is_long(self, pts: int, *, seen: bool, long: int) -> bool:
        """Whether it is so now for the first time."""
        if not seen:
            self._gap += 1
            return False
        if self._gap > MOST_GAP or pts - self._last > _GONE:
            self._since, self._told = pts, False
        self._last, self._gap = pts, 0
        if self._told or pts - self._since < long:
            return False
        self._told = True
        return True
