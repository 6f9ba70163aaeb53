"""Samples the machine once a second on a thread of its own; it knows nothing of frames."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from edge.telemetry.jetson import Jetson, power_mode
from edge.telemetry.linux import Linux
from edge.telemetry.nvml import open_nvml
from edge.telemetry.sample import Fact, Reading, Sample, Throttle

log = logging.getLogger(__name__)

ROOT = Path("/")
PERIOD_S = 1.0
STALE_S = 5.0
"""What is older is not told: a sensor's driver hangs, and nobody knows the temperature."""


class Reader(Protocol):
    """One side of the machine."""

    def read(self) -> Iterator[Fact]: ...  # noqa: D102


def open_readers(root: Path) -> list[Reader]:
    """All sides of the machine below ``root``, and its GPUs by their driver."""
    readers: list[Reader | None] = [Jetson(root), Linux(root), open_nvml()]
    return [reader for reader in readers if reader is not None]


class Telemetry:
    """Samples from ``start`` to ``close``; a reader that fails leaves the others alone."""

    def __init__(
        self,
        root: Path | None = None,
        *,
        open_readers: Callable[[Path], list[Reader]] = open_readers,
        period_s: float = PERIOD_S,
        clock: Callable[[], float] = time.monotonic,
        tell: Callable[[Sample], None] = lambda _: None,
    ) -> None:
        """``tell`` takes each sample, on the thread of its own, and raises nothing."""
        self._root = ROOT if root is None else root
        self._open_readers = open_readers
        self._period_s = period_s
        self._clock = clock
        self._tell = tell
        self._newest, self._at_s = Sample(), clock()
        self._failed: set[str] = set()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def newest(self) -> Sample:
        """The sample of the last second; an empty one before the first and where none came since.

        For any thread.
        """
        return self._newest if self._clock() - self._at_s < STALE_S else Sample()

    def close(self) -> None:
        """End; a thread that a driver holds up is left behind."""
        self._end.set()

    def _run(self) -> None:
        readers = self._open_readers(self._root)
        while True:
            self._newest, self._at_s = self._sample(readers), self._clock()
            self._tell(self._newest)
            if self._end.wait(self._period_s):
                return

    def _sample(self, readers: list[Reader]) -> Sample:
        readings: list[Reading] = []
        throttles: list[Throttle] = []
        for reader in readers:
            try:
                for fact in reader.read():
                    if isinstance(fact, Reading):
                        readings.append(fact)
                    else:
                        throttles.append(fact)
            except Exception as exc:  # a defect there is none of the run
                self._tell_once(type(reader).__name__, exc)
        return Sample(tuple(_named_apart(readings)), tuple(throttles), power_mode(self._root))

    def _tell_once(self, who: str, exc: Exception) -> None:
        if who not in self._failed:
            self._failed.add(who)
            log.warning("the machine's state by %s is not whole: %r", who, exc)


def _named_apart(readings: list[Reading]) -> Iterator[Reading]:
    """'acpitz', 'acpitz 2': sensors may share a name."""
    seen: Counter[tuple[str, str]] = Counter()
    for reading in readings:
        seen[reading.kind, reading.name] += 1
        n = seen[reading.kind, reading.name]
        yield reading if n == 1 else replace(reading, name=f"{reading.name} {n}")
