"""Frame times and rates of a run in bounded memory, and their report; it reads no clock itself.

One recording costs about a microsecond. Others than the recording thread may ask for ``copies``,
``work`` and ``live_fps`` alone.
"""

from __future__ import annotations

import json
import os
import resource
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge.metrics.histogram import Histogram
from edge.metrics.ledger import Counts
from edge.metrics.work import Work
from edge.sources.live.status import SignalCounts
from engines.errors import SettingsError, SinkError
from engines.files import write_whole

STAGES = ("capture", "letterbox", "infer", "decode", "overlay", "sinks", "end_to_end")
"""Stages in the order of a frame's life. 'capture' is the call of ``read()``, waiting included."""
GPU_STAGE = "gpu_"
"""Begins the names of stages that a GPU's own events time, beside the wall times above."""

_RECENT = 31
"""Rendered frames behind the live frame rate: about a second of a camera."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """The times of one rendered frame; ``at_ns`` is CLOCK_MONOTONIC when its last sink was done.

    The last four are those of its ``Result``; ``delay_ns``, of its ``Frame``, is a part of the age.
    """

    stage_ns: Mapping[str, int]
    frame_age_ns: int
    detections: int
    at_ns: int
    cpu_ns: int
    engine_ns: int = 0
    waited_ns: int = 0
    dropped: int = 0
    delay_ns: int = 0


@dataclass(frozen=True, slots=True)
class Histograms:
    """Times at one moment: of the stages, of what a GPU timed itself, and of the frames' age.

    ``work`` is what was done since the first frame.
    """

    stages: Mapping[str, Histogram]
    gpu: Mapping[str, Histogram]
    age: Histogram
    source_delay: Histogram
    detections: int
    work: Work


class Metrics:
    """What is known of the frames rendered so far."""

    def __init__(self) -> None:
        self._stages = {name: Histogram() for name in STAGES}
        self._gpu: dict[str, Histogram] = {}
        self._age = Histogram()
        self._source_delay = Histogram()
        self._detections = 0
        self._rendered = 0
        self._first: Rendered | None = None
        self._last: Rendered | None = None
        self._recent_ns: deque[int] = deque(maxlen=_RECENT)
        self._engine_ns = self._waited_ns = self._dropped = 0
        self._left_out = Work()
        """Of the frames that follow none, or one of before the signal was lost."""
        self._away = False
        self._lock = threading.Lock()

    def record(self, frame: Rendered) -> None:
        """Count one rendered frame."""
        with self._lock:
            self._record(frame)

    def _record(self, frame: Rendered) -> None:
        for name, ns in frame.stage_ns.items():
            if name.startswith(GPU_STAGE):
                self._gpu.setdefault(name[len(GPU_STAGE) :], Histogram()).record(ns)
            else:
                self._stages[name].record(ns)
        self._age.record(frame.frame_age_ns)
        self._source_delay.record(frame.delay_ns)
        self._detections += frame.detections
        self._rendered += 1
        self._recent_ns.append(frame.at_ns)
        self._engine_ns += frame.engine_ns
        self._waited_ns += frame.waited_ns
        self._dropped += frame.dropped
        if self._first is None or self._last is None:
            self._first = frame
            self._left_out = Work.of(frame, 0)
        elif self._away:
            away_ns = frame.at_ns - self._last.at_ns
            left_out = Work.of(frame, away_ns)._replace(away_ns=-away_ns)
            self._left_out = self._left_out.plus(left_out)
        self._last, self._away = frame, False

    def interrupt(self, *, away: bool) -> None:
        """Count the live rate anew: no frames came for a while, ``away`` for lack of signal."""
        with self._lock:
            self._recent_ns.clear()
            self._away = self._away or away

    def copies(self) -> Histograms:
        """All histograms as they are between two frames, for any thread."""
        with self._lock:
            return Histograms(
                {name: histogram.copy() for name, histogram in self._stages.items()},
                {name: histogram.copy() for name, histogram in self._gpu.items()},
                self._age.copy(),
                self._source_delay.copy(),
                self._detections,
                self._work(),
            )

    @property
    def work(self) -> Work:
        """What was done since the first frame was, for any thread."""
        with self._lock:
            return self._work()

    def _work(self) -> Work:
        if self._first is None or self._last is None:
            return Work()
        of = self._stages
        everything = Work(
            frames=self._rendered,
            span_ns=self._last.at_ns - self._first.at_ns,
            dropped=self._dropped,
            capture=of["capture"].total_ns,
            letterbox=of["letterbox"].total_ns,
            engine=self._engine_ns,
            waited=self._waited_ns,
            decode=of["decode"].total_ns,
            overlay=of["overlay"].total_ns,
            sinks=of["sinks"].total_ns,
        )
        return everything.since(self._left_out)

    @property
    def live_fps(self) -> float | None:
        """Rate of the newest rendered frames, None before the second."""
        with self._lock:
            recent_ns = self._recent_ns
            if len(recent_ns) < 2 or recent_ns[-1] <= recent_ns[0]:
                return None
            return (len(recent_ns) - 1) * 1e9 / (recent_ns[-1] - recent_ns[0])

    def report(
        self,
        counts: Counts,
        *,
        engine: str | None,
        precision: str | None,
        model: str,
        opened_s: float | None = None,
        signal: SignalCounts | None = None,
    ) -> dict[str, Any]:
        """Everything as JSON values.

        ``seconds`` is first to last rendered frame, so ``fps`` and ``cpu_ms_per_frame`` count the
        frames finished in that span: one less than were rendered. ``gpu`` is there only where one
        was timed, ``signal`` where the source is live and may come and go.
        """
        first, last, intervals = self._first, self._last, max(0, self._rendered - 1)
        seconds, cpu_ms = 0.0, None
        if first is not None and last is not None and intervals:
            seconds = (last.at_ns - first.at_ns) / 1e9
            cpu_ms = round((last.cpu_ns - first.cpu_ns) / 1e6 / intervals, 4)
        gpu = {name: histogram.summary() for name, histogram in self._gpu.items()}
        return {
            "frames": asdict(counts),
            **({"signal": asdict(signal)} if signal is not None else {}),
            "fps": round(intervals / seconds, 4) if seconds > 0 else None,
            "seconds": round(seconds, 6),
            "stages": {name: histogram.summary() for name, histogram in self._stages.items()},
            **({"gpu": gpu} if gpu else {}),
            "frame_age_ms": self._age.summary(),
            "source_delay_ms": self._source_delay.summary(),
            "detections_total": self._detections,
            "cpu_ms_per_frame": cpu_ms,
            "peak_rss_mb": round(peak_rss_bytes() / 1e6, 2),
            "engine": engine,
            "precision": precision,
            "opened_s": None if opened_s is None else round(opened_s, 3),
            "model": model,
        }


def peak_rss_bytes() -> int:
    """Most memory that this process ever had resident.

    From ``VmHWM``: after a vfork ``ru_maxrss`` starts at the parent's size.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def check_writable(path: Path) -> None:
    """Refuse a metrics path before the run.

    Raises:
        SettingsError: its folder is missing or cannot be written, or it is no regular file.
    """
    folder = path.parent
    try:
        there = path.exists()
    except OSError as exc:  # a name too long, a closed folder above
        raise SettingsError(
            f"metrics {path}: cannot be written: {exc.strerror}; choose another path"
        ) from exc
    if not folder.is_dir():
        raise SettingsError(f"metrics {path}: no folder {folder}; create it or choose another path")
    if path.is_dir() or not os.access(folder, os.W_OK):
        raise SettingsError(f"metrics {path}: cannot be written there; choose another path")
    if there and not path.is_file():  # /dev/stdout: a file put in its place would stay
        raise SettingsError(f"metrics {path}: a device or a pipe, wanted the name of a file")


def remove_report(path: Path, *, what: str = "metrics") -> None:
    """Remove the report of an earlier run: what is there after this one is of this one.

    Raises:
        SettingsError: it cannot be removed.
    """
    try:
        if path.is_file():  # a pipe stays
            path.unlink()
    except OSError as exc:
        raise SettingsError(
            f"{what} {path}: cannot be replaced: {exc.strerror}; choose another path"
        ) from exc


def write_report(report: Mapping[str, Any], path: Path, *, what: str = "metrics") -> None:
    """Write the report as JSON in one step: readers see the old file or the whole new one.

    ``what`` names the option in the error.

    Raises:
        SinkError: it cannot be written.
    """
    try:
        write_whole(path, (json.dumps(report, indent=2, allow_nan=False) + "\n").encode())
    except OSError as exc:
        raise SinkError(f"{what} {path}: cannot be written: {exc.strerror}") from exc
