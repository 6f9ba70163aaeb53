"""Whether the engine that will run a model says what it was proven to say; it opens none.

A model is adopted and proven in ONNX Runtime at f32, so what was adopted is compared with that once
in OpenVINO. Kernels for integers may be wrong in either, depending on the processor: a quantised
file is held against what it says by itself. Verdicts are kept by file, versions and processor. How
far the device's own precision (bf16) moves scores is the user's choice and not asked here.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec as find_module

from edge.proven.child import export_folder, key_of, proof
from edge.telemetry.linux import cpu_identity
from engines import cpu_engines
from engines.base import Precision
from engines.files import keep, kept, user_folder
from engines.model_file import ModelFile, is_quantized, rounds_in_pairs

log = logging.getLogger(__name__)

OFF = "it does not say what it says in onnxruntime"
"""In the last line of the command where that is its verdict."""
ERRS = "it errs more than the file does by itself"
"""The same of a file whose integers stand in pairs."""
CPU = ("openvino", "onnxruntime")


def proven_engine(
    file: ModelFile,
    engine: str,
    frames: str | None,
    *,
    foreign: bool,
    precision: Precision = "default",
    stop: threading.Event | None = None,
    environ: Mapping[str, str] = os.environ,
) -> str:
    """The engine to open ``file`` with: ``engine``, or another where 'auto' took one that is off.

    An engine that was named is taken, and what is off is told.

    Args:
        file: what runs.
        engine: as the settings have it.
        frames: the source being run, for the proof.
        foreign: whether it was adopted from a file without a spec.
        precision: as the settings have it; what was built for a GPU is passed over for f32.
        stop: once set, the proof is given up.
        environ: XDG_CACHE_HOME and HOME say where the verdict is kept.
    """
    if file.path.suffix != ".onnx":
        return engine
    names = cpu_engines(file, precision) if engine == "auto" else (engine,)
    may_err: tuple[str, ...] = ()
    if rounds_in_pairs(file.model):
        may_err = CPU
    elif foreign or is_quantized(file.model):
        may_err = ("openvino",)
    may_err = tuple(name for name in names if name in may_err and find_module(name) is not None)
    if not may_err or find_module("onnxruntime") is None or export_folder() is None:
        return engine
    off = {name: verdict(file, name, frames, stop=stop, environ=environ) for name in may_err}
    right = [name for name in names if not off.get(name)]
    for said in filter(None, off.values()):
        if right:
            log.warning("%s; %s runs it instead", said, right[0])
        elif engine == "auto":
            log.warning("%s; no engine here is right: run what the file was quantised from", said)
        else:
            log.warning("%s; it runs there, as was asked. --engine auto seeks a right one", said)
    return engine if len(right) in (0, len(names)) else right[0]


def verdict(
    file: ModelFile,
    engine: str,
    frames: str | None,
    *,
    stop: threading.Event | None = None,
    environ: Mapping[str, str] = os.environ,
) -> str | None:
    """What a file says otherwise in ``engine`` than it should, empty where that is nothing.

    None where that could not be found out, which is told.
    """
    on = [f"{name} {version(name)}" for name in CPU if find_module(name)]
    place, off = None, None
    with contextlib.suppress(FileNotFoundError):  # no folder: it is not kept
        key = key_of(file, *on, cpu_identity(), engine)
        place = user_folder("CACHE", environ) / "proven" / f"{file.path.stem}-{key}"
        if (known := kept(place)) is not None:
            return known.decode()
    try:
        log.info("%s: proving what it says in %s once (edge-export verify)", file.path, engine)
        words = ["verify", str(file.path.absolute()), "--engine", engine]
        done = proof(words, frames, doing="comparing engines", stop=stop, level=logging.DEBUG)
        if done.code and OFF not in done.last and ERRS not in done.last:
            log.warning("%s: was not proven in %s: %s", file.path, engine, done.last)
            return None
        off = done.last.rstrip(".") if done.code else ""
        if place is not None:
            keep(place, off.encode(errors="replace"))
    except OSError as exc:
        log.warning("%s: the comparison is not kept: %s", file.path, exc)
    return off
