"""Whether the engine that will run a model says what it was proven to say; it opens none.

A model is adopted and proven in ONNX Runtime at f32. OpenVINO takes integer graphs apart in its own
way: scores of an int8 net were off by up to 0.5. So what was adopted or quantised is compared in
both once, and the verdict kept by file, versions and processor. How far the device's own precision
(bf16) moves scores is the user's choice and not asked here.
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
from engines.model_file import ModelFile, is_quantized

log = logging.getLogger(__name__)

OFF = "it does not say what it says in onnxruntime"
"""In the last line of the command where that is its verdict."""
ERRS = "it errs more than the file does by itself"
"""The same of an int8 file beside the one that it was made from."""


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
    asked = engine == "openvino" or (
        engine == "auto" and "openvino" in cpu_engines(file, precision)
    )
    both = find_module("openvino") is not None and find_module("onnxruntime") is not None
    if not asked or not both or export_folder() is None:
        return engine
    if not (foreign or is_quantized(file.model)):
        return engine
    off = verdict(file, "openvino", frames, stop=stop, environ=environ)
    if not off:
        return engine
    if engine == "auto":
        log.warning("%s; ONNX Runtime runs it instead", off)
        return "onnxruntime"
    log.warning("%s; it runs there, as was asked. ONNX Runtime: --engine onnxruntime", off)
    return engine


def verdict(
    file: ModelFile,
    engine: str,
    frames: str | None,
    *,
    against: ModelFile | None = None,
    stop: threading.Event | None = None,
    environ: Mapping[str, str] = os.environ,
) -> str | None:
    """What a file says otherwise in ``engine`` than it should, empty where that is nothing.

    None where that could not be found out, which is told. ``against`` is the file that an int8 one
    was made from; without it what ONNX Runtime says is right.
    """
    on = [f"{name} {version(name)}" for name in ("openvino", "onnxruntime") if find_module(name)]
    place, off = None, None
    with contextlib.suppress(FileNotFoundError):  # no folder: it is not kept
        source = against.sha256 if against else ""
        key = key_of(file, *on, cpu_identity(), engine, source)
        place = user_folder("CACHE", environ) / "proven" / f"{file.path.stem}-{key}"
        if (known := kept(place)) is not None:
            return known.decode()
    try:
        log.info("%s: proving what it says in %s once (edge-export verify)", file.path, engine)
        files = [str(each.path.absolute()) for each in (against, file) if each is not None]
        words = ["verify", *files, "--engine", engine]
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
