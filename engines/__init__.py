"""Arrays in, arrays out: model specs and inference backends; no boxes, no threads of their own.

A new backend is one file and one line in ``ENGINES``. Importing this package or its errors, files
and redaction brings no backend, no runtime and no NumPy: that would be 0.2 s of every command.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec as find_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from engines.errors import DeviceError, EngineError, ModelError, SettingsError

if TYPE_CHECKING:
    from engines.base import Engine, Precision
    from engines.model_file import ModelFile
    from engines.tensorrt.library import Flavour

_log = logging.getLogger(__name__)

ENGINES = {
    "openvino": "engines.openvino:open_openvino",
    "onnxruntime": "engines.onnxruntime:open_onnxruntime",
    "tensorrt": "engines.tensorrt.engine:open_tensorrt",
    "rtx": "engines.tensorrt.engine:open_rtx",
    "replay": "engines.replay:open_replay",
}
"""Backend name → its opener, which takes a ``ModelFile`` and ``EngineOptions``."""

_OF_PLANS: tuple[Flavour, ...] = ("tensorrt", "rtx")
_SLOTS = {"tensorrt": 2, "rtx": 2}
"""Runs in flight where the caller leaves it open: one, as a frame's age matters more on a CPU than
the little that overlap gains there; with TensorRT frame n+1 is prepared while n runs."""

OVERLAP = frozenset({"openvino", "tensorrt", "rtx"})
"""Backends in which a run goes on while the caller prepares another."""


def open_engine(
    model: Path | ModelFile,
    *,
    engine: str = "auto",
    precision: Precision = "default",
    slots: int | None = None,
    threads: int | None = None,
    trust: Sequence[str] = (),
) -> Engine:
    """Open a model file with the named backend, or with the best one here for 'auto'.

    ``slots`` None leaves the runs in flight to the backend; ``trust`` holds the SHA-256 of plans
    that may be loaded without a sidecar.

    Raises:
        SettingsError: unknown backend, or impossible options.
        ModelError: the file is refused, has no spec, or contradicts it.
        EngineError: the backend is not available here or cannot run the model.
        DeviceError: the device is lost or out of memory.
    """
    from engines.base import EngineOptions
    from engines.model_file import ModelFile

    file = ModelFile.of(model)

    def opened(name: str) -> Engine:
        count = _SLOTS.get(name, 1) if slots is None else slots
        options = EngineOptions(precision, count, threads, tuple(trust))
        module, _, opener = ENGINES[name].partition(":")
        return cast("Engine", getattr(import_module(module), opener)(file, options))

    if engine == "auto":
        return _open_best(file, opened, below_f32=precision != "f32")
    if engine not in ENGINES:
        raise SettingsError(f"engine {engine!r}, wanted one of {', '.join(['auto', *ENGINES])}.")
    if file.path.suffix == ".engine" and engine not in _OF_PLANS:
        raise EngineError(
            f"{file.path}: a TensorRT engine, which {engine} cannot run. Leave --engine out, or "
            "run the ONNX file that it was built from."
        )
    return opened(engine)


def cpu_engines(file: ModelFile, precision: Precision) -> tuple[str, ...]:
    """The backends of the CPU that 'auto' may take for a file here, the usual one first.

    None for what is no ONNX file, and where there are a device and an engine that was built for it.
    """
    from engines.cuda.context import device_names

    if file.path.suffix != ".onnx":
        return ()
    if precision != "f32" and _built(file) and device_names():
        return ()
    names = ["openvino"] if _suits_openvino(file) else []
    return (*names, "onnxruntime") if find_module("onnxruntime") is not None else tuple(names)


def _suits_openvino(file: ModelFile) -> bool:
    # OpenVINO turns the integer convolutions of such files back into floating point: slower.
    dynamic = "DynamicQuantizeLinear" in file.op_types
    return not dynamic and find_module("openvino") is not None


def _built(file: ModelFile) -> dict[Flavour, Path]:
    """The engines of either TensorRT that were built from this file."""
    from engines.tensorrt.identity import find_built

    return {name: plan for name in _OF_PLANS if (plan := find_built(file, flavour=name))}


def _open_best(file: ModelFile, opened: Callable[[str], Engine], *, below_f32: bool) -> Engine:
    """TensorRT where an engine was built, else OpenVINO, ONNX Runtime where that is better."""
    if file.path.suffix == ".npz":
        return opened("replay")
    if file.path.suffix == ".engine":
        from engines.tensorrt.identity import flavour_of

        return opened(flavour_of(file.path))
    if below_f32 and (built := _open_built(file, opened)) is not None:
        return built
    if not _suits_openvino(file):
        return opened("onnxruntime")
    try:
        return opened("openvino")
    except EngineError as exc:
        if find_module("onnxruntime") is None:
            raise
        _log.warning("%s; trying ONNX Runtime instead", exc)
        return opened("onnxruntime")


def built_here(file: ModelFile) -> dict[Flavour, Path]:
    """The built engines of a file that a device may run; says so where it or they are missing."""
    from engines.cuda.context import device_names
    from engines.tensorrt.library import build_command, to_build_for

    path, devices, built = file.path, device_names(), _built(file)
    if not built:
        if devices:
            command = build_command(path, to_build_for())
            _log.warning(
                "%s: there is a CUDA device (%s), but no TensorRT engine of this file; it runs on "
                "the CPU. Build one: %s", path, ", ".join(devices), command
            )  # fmt: skip
        return {}
    if not devices:  # hidden on purpose, say: CUDA_VISIBLE_DEVICES=
        name = next(iter(built.values())).name
        _log.warning("%s: no CUDA device opens here for %s; running on the CPU", path, name)
        return {}
    return built


def _open_built(file: ModelFile, opened: Callable[[str], Engine]) -> Engine | None:
    """The engine of either TensorRT that was built from this file, None where none can be used.

    Raises:
        DeviceError: there is one, but the device is lost or out of memory: a restart may help, and
            a CPU may be too slow to stand in for it.
    """
    built = built_here(file)
    for flavour in built:
        try:
            return opened(flavour)
        except DeviceError:
            raise
        except (EngineError, ModelError) as exc:
            last = flavour == list(built)[-1]
            instead = "running on the CPU" if last else "trying the one of TensorRT for RTX"
            _log.warning("%s; %s instead", exc, instead)
    return None
