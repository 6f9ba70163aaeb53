"""Which engine of the CPU runs a model fastest here, timed once and kept; wrong ones never run.

The candidates of ``auto`` are the engines that are installed, for the model itself and for gated
int8 files beside it. What a GPU runs is preferred and not timed. The choice is kept by all that it
depends on, so what another machine, another library or another file left is not even found.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from importlib.util import find_spec as find_module
from pathlib import Path

from edge.proven.child import export_folder
from edge.proven.engine import proven_engine, verdict
from edge.proven.int8_beside import beside, gated_beside
from edge.proven.trial import Candidate, Timed, close_all, open_all, pick, time_in_turn
from edge.telemetry.linux import cpu_identity
from edge.version import VERSION
from engines import built_here, cpu_engines
from engines.base import Engine, EngineOptions, Precision
from engines.errors import ModelError
from engines.files import keep, kept, user_folder
from engines.model_file import ModelFile, any_sha256, is_quantized

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Choice:
    """What to open: a file in an engine; ``timed`` is empty where there was nothing to choose.

    ``opened`` is the engine, where the trial has it open; whoever asked closes it.
    """

    file: ModelFile
    engine: str
    timed: tuple[Timed, ...] = ()
    opened: Engine | None = field(default=None, compare=False)


def fastest(
    file: ModelFile,
    engine: str,
    frames: str | None,
    *,
    named: Path,
    precision: Precision = "default",
    slots: int | None = None,
    threads: int | None = None,
    anew: bool = False,
    stop: threading.Event | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Choice:
    """What to open for ``file``: an engine that was named, for 'auto' the fastest that is right.

    Args:
        file: what runs.
        engine: as the settings have it.
        frames: the source being run, for proofs.
        named: the file that the user named, which ``file`` may have been adopted from.
        precision: as the settings have it; 'f32' leaves int8 files out.
        slots: as the settings have it.
        threads: as the settings have it.
        anew: time them whatever is kept.
        stop: once set, proof and trial are given up.
        environ: XDG_CACHE_HOME and HOME say where the choice is kept.

    Raises:
        ModelError: ``file`` is refused.
        EngineError: no engine runs it.
        SettingsError: impossible numbers.
    """
    foreign = file.path != named
    proven = proven_engine(
        file, engine, frames, foreign=foreign, precision=precision, stop=stop, environ=environ
    )
    names = cpu_engines(file, precision) if engine == "auto" else ()
    if proven != "auto":
        names = tuple(name for name in names if name == proven)
    if not names:
        return Choice(file, proven)
    provable = export_folder() is not None and find_module("onnxruntime") is not None
    below = precision != "f32" and provable and not is_quantized(file.model)
    smaller = beside(named) if below else []
    if len(names) == 1 and not smaller:
        return Choice(file, proven)
    options = EngineOptions(precision, 1 if slots is None else slots, threads)
    place = None
    with contextlib.suppress(FileNotFoundError):  # no folder: it is not kept
        key = _key(file, names, smaller, options)
        place = user_folder("CACHE", environ) / "fastest" / f"{file.path.stem}-{key}"
        if not anew and (choice := _kept(place, file, named)) is not None:
            _tell(choice, "as timed before", file, precision)
            return choice
    files = [file, *(gated_beside(file, named) if smaller else ())]
    tried = open_all(files, names, options)
    try:
        finished = len(tried) == 1 or time_in_turn(tried, stop)
        if not finished or not tried or tried[0].file is not file:
            close_all(tried)  # what stopped it, or failed, the run itself will meet
            return Choice(file, proven)
        if len(tried) == 1:
            return Choice(file, tried[0].engine.name, opened=tried[0].engine)
        choice, proven_all = _choose(tried, frames, stop, environ)
    except BaseException:
        close_all(tried)
        raise
    _tell(choice, "timed once", file, precision)
    if place is not None and proven_all:
        try:
            keep(place, json.dumps([asdict(row) for row in choice.timed]).encode())
        except OSError as exc:
            log.warning("%s: the engine's choice is not kept: %s", file.path, exc)
    return choice


def _key(
    file: ModelFile, names: Sequence[str], smaller: Sequence[Path], options: EngineOptions
) -> str:
    """Names a choice by all that it depends on."""
    of = [file.path.name, file.sha256]
    for path in smaller:
        with contextlib.suppress(ModelError):  # of one that cannot be read gated_beside tells
            of.append(f"{path.name} {any_sha256(path)}")
    of += [f"{name} {version(name)}" for name in names]
    of += [str(options), str(len(os.sched_getaffinity(0))), cpu_identity(), f"outrider {VERSION}"]
    return hashlib.sha256("\n".join(of).encode()).hexdigest()[:20]


def _kept(place: Path, file: ModelFile, named: Path) -> Choice | None:
    """The choice that is kept there, None where it is none, or not of these files."""
    with contextlib.suppress(ValueError, TypeError):
        rows = tuple(Timed(**row) for row in json.loads(kept(place) or b""))
        chosen = next((row for row in rows if row.chosen), None)
        for known in (file.path, *beside(named)):
            if chosen is not None and known.name == chosen.model:
                found = file if known == file.path else ModelFile(known)
                return Choice(found, chosen.engine, rows)
    return None


def _choose(
    tried: list[Candidate],
    frames: str | None,
    stop: threading.Event | None,
    environ: Mapping[str, str],
) -> tuple[Choice, bool]:
    """The fastest that is right, others closed, and whether all that was asked could be told.

    An int8 file has to be known to be right in the engine here.
    """
    rows, left, known = [candidate.timed() for candidate in tried], list(range(len(tried))), True
    own = tried[0].file
    while True:
        best = pick([rows[i].ms for i in left])
        at = left[best]
        file, engine = tried[at].file, tried[at].engine
        if file is own:
            break
        off = verdict(file, engine.name, frames, stop=stop, environ=environ)
        if off == "":
            break
        known &= off is not None
        if off:
            log.warning("%s; it is not taken", off)
        del left[best]
    close_all([candidate for candidate in tried if candidate.engine is not engine])
    rows[at] = replace(rows[at], chosen=True)
    return Choice(file, engine.name, tuple(rows), engine), known


def _tell(choice: Choice, when: str, file: ModelFile, precision: Precision) -> None:
    if precision != "f32":
        built_here(file)  # says where a device could run it
    chosen = next(row for row in choice.timed if row.chosen)
    others = ", ".join(str(row) for row in choice.timed if row is not chosen)
    log.info("auto: %s a frame; %s (%s)", chosen, others, when)
