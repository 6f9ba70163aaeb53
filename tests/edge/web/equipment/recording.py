"""A sink that says it records, whose folder tests fill: to see what others make of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edge.sinks.base import RecordingState
from edge.sources.live.status import SourceStatus
from edge.vision.types import Image, Result
from engines.errors import SinkError
from tests.conftest import ROOT

FULL = "alarm.txt"
"""Put such a file beside it, and it records nothing, for the reason that is its text."""


class KeptSink:
    """``--sink FOLDER/NAME.kept``: a clip is a file of its reason there."""

    wants_image = False

    def __init__(self, text: str, *, fps: float | None, keep: bool = False) -> None:
        self.name, self._folder, self._frames = text, Path(text).parent, 0
        self._clip: str | None = None

    def state(self) -> RecordingState:
        alarm = self._folder / FULL
        reason = alarm.read_text() if alarm.exists() else None
        clips = len(list(self._folder.glob("*.clip")))
        missed = self._frames if reason else 0
        return RecordingState(str(self._folder), reason, self._clip, 12_345_000_000, clips, missed)

    def mark(self, reason: str) -> str:
        if (why := self.state().alarm) is not None:
            raise SinkError(f"no clip can be kept: {why}")
        self._clip = f"{self.state().clips}.clip"
        (self._folder / self._clip).write_text(reason)
        return self._clip

    def write(self, result: Result, image: Image | None, *, frame_age_ms: float) -> bool:
        self._frames += 1
        return True

    def signal(self, status: SourceStatus, image: Image | None, *, at_ns: int) -> bool:
        return True

    def close(self) -> None:
        pass


KNOWN = f"from edge.sinks import SINKS\nSINKS['.kept'] = '{__name__}:{KeptSink.__name__}'\n"
"""For a ``sitecustomize.py``: what makes ``edge run`` know such a sink."""


def known(folder: Path) -> Mapping[str, str]:
    """The environment in which ``edge run`` knows it; ``folder`` is for that alone."""
    (folder / "sitecustomize.py").write_text(KNOWN)
    return {"PYTHONPATH": f"{folder}:{ROOT}"}
