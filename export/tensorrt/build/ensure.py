"""Engines that a service's settings want and this machine has not: built before the app starts.

Where every engine fits, or no GPU is there, it says so and does nothing. It never changes settings.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from edge.proven.adopt_cache import runnable
from edge.settings.settings import ModelSettings, Settings
from edge.sources import source_files
from engines.cuda.context import Device, device_names
from engines.errors import (
    DeviceError,
    EngineError,
    EngineMismatch,
    ExportError,
    ExportNotNow,
    ModelError,
    OutriderError,
    SettingsError,
)
from engines.files import lock
from engines.model_file import ModelFile
from engines.tensorrt.identity import (
    Sidecar,
    check_identity,
    find_built,
    has_sidecar,
    read_sidecar,
)
from engines.tensorrt.library import FLAVOURS, Flavour, installed, open_library

Say = Callable[[str], None]
_OF_PLANS: dict[str, Flavour] = {"tensorrt": "tensorrt", "rtx": "rtx"}
"""What ``[model] engine`` says → the flavour that it then must be."""


@dataclass(frozen=True, slots=True)
class Missing:
    """An engine to build: from which file, where to (None: the folder of built ones), and why."""

    onnx: Path
    target: Path | None
    flavour: Flavour
    old: Sidecar | None
    why: str


def ensure_engines(settings: Settings, *, say: Say, notes: Path | None = None) -> None:
    """Build each engine that the settings want and that is missing or does not fit.

    Args:
        settings: a run's.
        say: takes the report line by line.
        notes: a folder that is emptied at boot. What the builder or the proof refuses is noted
            there and not tried again: an app that restarts must not wait minutes for the same
            refusal each time.

    Raises:
        EngineError, ExportError, ModelError: at least one cannot be built; the others are.
        DeviceError: the device is lost or lacks memory.
    """
    # Frames of the source prove more than those of the built-in street, where they can be had.
    frames = settings.source.uri if source_files(settings.source.uri) else None
    refusals: list[OutriderError] = []
    for path in settings.model.files:
        try:
            missing = _missing(path, settings, say)
            if missing is None:
                continue
            with _alone(missing.onnx, say):
                if missing := _missing(path, settings, say):
                    _build(missing, frames=frames, say=say, notes=notes)
        except OutriderError as exc:
            refusals.append(exc)
    if refusals:
        first = next((e for e in refusals if isinstance(e, DeviceError)), refusals[0])
        raise type(first)("\n".join(str(exc) for exc in refusals)) from first


@contextlib.contextmanager
def _alone(onnx: Path, say: Say) -> Iterator[None]:
    """Cameras that share a model start together at boot: one builds, the others wait for it."""
    with onnx.open("rb") as file:
        if lock(file.fileno(), wait=False) is False:
            say(f"{onnx.name}: an engine of it is being built for another service; waits for that")
            lock(file.fileno(), wait=True)
        yield


def _missing(path: Path, settings: Settings, say: Say) -> Missing | None:
    """What has to be built for one model file of the settings."""
    if path.suffix == ".engine":
        return _replacement(path, settings.model, say)
    flavour, why_not = _flavour(settings.model)
    if path.suffix != ".onnx" or flavour is None:
        say(f"{path.name}: no engine is needed: {why_not or 'it is no ONNX file'}")
        return None
    here = _device(flavour)
    file = runnable(path, settings.source.uri)
    plan = find_built(file, flavour=flavour)
    if plan is None:
        return Missing(file.path, None, flavour, None, "no engine was built from this file")
    old, misfit = _judged(plan, file, here)
    if misfit:
        return Missing(file.path, None, flavour, old, misfit)
    say(f"{path.name}: {plan.name} fits")
    return None


def _flavour(model: ModelSettings) -> tuple[Flavour | None, str]:
    """The TensorRT that ONNX files are to run in; None, and why, where that is none."""
    if model.engine != "auto":
        return _OF_PLANS.get(model.engine), f"[model] engine is {model.engine}"
    if model.precision == "f32":
        return None, "[model] precision is f32"
    if not device_names():
        return None, "no CUDA device opens here"
    if not installed("tensorrt"):
        return None, "native TensorRT is not installed here"
    return "tensorrt", ""


def _device(flavour: Flavour) -> Device | None:
    """This machine's, None where TensorRT for RTX finds none."""
    from export.tensorrt.build.prove import device_here

    return device_here(open_library(flavour))[0]


def _replacement(path: Path, model: ModelSettings, say: Say) -> Missing | None:
    """What is to be built anew where an engine that the settings name does not fit any more.

    Raises:
        EngineMismatch: what it was made of is not found.
    """
    if not path.is_file():
        raise EngineMismatch(
            f"{path}: no such engine, and nothing says what it was made of; name its ONNX file in "
            "the settings instead"
        )
    if not has_sidecar(path):
        say(f"{path.name}: has no sidecar, so it is left as it is")
        return None
    flavour = read_sidecar(path).identity.flavour
    old, misfit = _judged(path, None, _device(flavour))
    if not misfit:
        say(f"{path.name}: fits")
        return None
    try:
        return Missing(_origin(path, model), path, flavour, old, misfit)
    except SettingsError as exc:
        raise EngineMismatch(f"{misfit} It cannot be built anew here: {exc}") from exc


def _origin(engine: Path, model: ModelSettings) -> Path:
    """The ONNX file that an engine was made of, looked for among those of the settings, too."""
    from export.tensorrt.build.prove import made_from

    for path in model.files:
        if path.suffix == ".onnx":
            with contextlib.suppress(SettingsError):  # of another one
                return made_from(engine, path)
    return made_from(engine, None)


def _judged(plan: Path, onnx: ModelFile | None, here: Device | None) -> tuple[Sidecar | None, str]:
    """The sidecar of an engine, where it is whole, and why it does not fit, '' where it does."""
    old = None
    try:
        old = read_sidecar(plan)
        if here is not None:
            check_identity(old, plan, here, onnx=onnx)
    except EngineMismatch as exc:
        return old, str(exc)
    return old, ""


def _build(missing: Missing, *, frames: str | None, say: Say, notes: Path | None) -> None:
    """Build one, or refuse it as before.

    Raises:
        OutriderError: as ``build_file``, and what was noted.
    """
    from export.tensorrt.build.build import Request, build_file
    from export.tensorrt.build.builder import BuildOptions
    from export.tensorrt.build.prove import limits_of

    note = None if notes is None else notes / _key(missing)
    if note is not None and note.is_file():
        raise EngineError(
            f"{missing.onnx.name}: was refused already since this machine was booted: "
            f"{note.read_text()} To try it again by hand: edge-export build {missing.onnx}"
        )
    request = Request(flavour=missing.flavour, frames=frames)
    if missing.old is not None:  # as the one that it replaces
        core = missing.old.identity.options.get("dla_core")
        options = BuildOptions(dla_core=core if isinstance(core, int) else None)
        limits = limits_of(missing.onnx, missing.old)
        request = replace(request, options=options, limits=limits)
    say(missing.why)
    say(f"{missing.onnx.name}: builds an engine of {FLAVOURS[missing.flavour]}; the app waits")
    try:
        build_file(missing.onnx, missing.target, request=request, say=say)
    except (EngineError, ExportError, ModelError) as exc:
        if note is not None and not isinstance(exc, (DeviceError, ExportNotNow)):
            note.write_text(str(exc))
        raise


def _key(missing: Missing) -> str:
    """Another file, TensorRT or place is another try."""
    told = (ModelFile(missing.onnx).sha256, open_library(missing.flavour).version, missing.target)
    return hashlib.sha256(os.fsencode(repr(told))).hexdigest()[:20]
