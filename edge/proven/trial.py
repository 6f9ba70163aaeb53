"""Times models in engines of the CPU side by side, in turn; it knows no files and keeps nothing."""

from __future__ import annotations

import logging
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from engines import open_engine
from engines.base import Engine, EngineOptions
from engines.errors import EngineError, ModelError
from engines.model_file import ModelFile

log = logging.getLogger(__name__)

TRIAL_S = 0.25
"""For each candidate, compiling and warming up left out."""
LEAST_TURNS, MOST_TURNS = 3, 50
LONGEST_S = 5.0
"""No turn begins after so long: of a model that takes seconds a frame one turn has to do."""
CLEARLY = 0.97
"""Of the time of an earlier candidate a later one may take at most, to be taken for faster."""


@dataclass(frozen=True, slots=True)
class Timed:
    """One candidate: the name of its file, the engine, the precision there, the median a frame."""

    model: str
    engine: str
    precision: str
    ms: float
    chosen: bool = False

    def __str__(self) -> str:
        return f"{self.model} in {self.engine} at {self.precision} {self.ms:.1f} ms"


@dataclass(slots=True)
class Candidate:
    """A file in an engine, which is open, and its times so far."""

    file: ModelFile
    engine: Engine
    turns_ms: list[float] = field(default_factory=list)

    def timed(self) -> Timed:
        """What its turns say."""
        name, engine, ms = self.file.path.name, self.engine, statistics.median(self.turns_ms)
        return Timed(name, engine.name, engine.precision, round(ms, 4))

    def turn(self) -> None:
        """One frame in every slot; keeps ms a frame."""
        start = time.perf_counter()
        for slot in range(self.engine.slots):
            self.engine.submit(slot)
        for slot in range(self.engine.slots):
            self.engine.wait(slot)
        self.turns_ms.append((time.perf_counter() - start) * 1e3 / self.engine.slots)


def open_all(
    files: Sequence[ModelFile], names: Sequence[str], options: EngineOptions
) -> list[Candidate]:
    """Every file in every engine that can open it, on an image of noise; the rest is told.

    Raises:
        ModelError: the first file is refused.
        EngineError: no engine opens the first file.
    """
    tried: list[Candidate] = []
    try:
        for file, name in product(files, names):
            try:
                tried.append(Candidate(file, _on_noise(file, name, options)))
            except (EngineError, ModelError) as exc:
                last = name == names[-1] and not tried
                if file is files[0] and (last or isinstance(exc, ModelError)):
                    raise
                log.warning("%s; it is not timed", exc)
    except BaseException:
        close_all(tried)
        raise
    return tried


def _on_noise(file: ModelFile, name: str, options: EngineOptions) -> Engine:
    engine = open_engine(
        file,
        engine=name,
        precision=options.precision,
        slots=options.slots,
        threads=options.threads,
    )
    rng = np.random.default_rng(0)
    for slot in range(engine.slots):
        for array in engine.inputs(slot).values():
            array[...] = rng.integers(0, 256, array.shape, np.uint8)
    return engine


def time_in_turn(tried: list[Candidate], stop: threading.Event | None = None) -> bool:
    """Run all in turn, for a time; one that fails leaves the list. False where it was stopped."""
    start, lasted, turns = time.perf_counter(), 0.0, -1  # the first one warms up
    while turns < LEAST_TURNS or lasted <= TRIAL_S * len(tried):
        for candidate in list(tried):
            if stop is not None and stop.is_set():
                return False
            try:
                candidate.turn()
            except EngineError as exc:
                log.warning("%s; it is not timed", exc)
                tried.remove(candidate)
                candidate.engine.close()
        turns, lasted = turns + 1, time.perf_counter() - start
        if lasted > LONGEST_S or turns >= MOST_TURNS:
            break
    for candidate in tried:
        if len(candidate.turns_ms) > 1:
            del candidate.turns_ms[0]
    return True


def pick(times_ms: Sequence[float]) -> int:
    """The place of the least time, or of the first that is not clearly beaten by it."""
    least = min(times_ms)
    return next(i for i, ms in enumerate(times_ms) if least >= ms * CLEARLY)


def close_all(tried: Sequence[Candidate]) -> None:
    """Close their engines."""
    for candidate in tried:
        candidate.engine.close()
