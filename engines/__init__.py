"""Arrays in, arrays out: model specs and inference backends; no boxes, no threads of their own.

A new backend is one file plus one line in ``ENGINES``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from importlib.util import find_spec as find_module
from pathlib import Path

from engines.base import Engine, EngineOptions, Precision
from engines.cuda.context import device_names
from engines.errors import DeviceError, EngineError, ModelError, SettingsError
from engines.model_file import load_model, op_types
from engines.onnxruntime import open_onnxruntime
from engines.openvino import open_openvino
from engines.replay import open_replay
from engines.tensorrt.engine import open_tensorrt
from engines.tensorrt.identity import find_built

_log = logging.getLogger(__name__)

ENGINES: dict[str, Callable[[Path, EngineOptions], Engine]] = {
    "openvino": open_openvino,
    "onnxruntime": open_onnxruntime,
    "tensorrt": open_tensorrt,
    "replay": open_replay,
}
"""Backend name → opener. None of the openers' modules imports its runtime before it is called."""

_SLOTS = {"tensorrt": 2}
"""Runs in flight where the caller leaves it open: one, as a frame's age matters more on a CPU than
the little that overlap gains there; with TensorRT frame n+1 is prepared while n runs."""


def open_engine(
    path: Path,
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

    def options(name: str) -> EngineOptions:
        n = _SLOTS.get(name, 1) if slots is None else slots
        return EngineOptions(precision=precision, slots=n, threads=threads, trust=tuple(trust))

    if engine == "auto":
        return _open_best(path, options)
    if engine not in ENGINES:
        raise SettingsError(f"engine {engine!r}, wanted one of {', '.join(['auto', *ENGINES])}.")
    if path.suffix == ".engine" and engine != "tensorrt":
        raise EngineError(
            f"{path}: a TensorRT engine, which {engine} cannot run. Leave --engine out, or run the "
            "ONNX file that it was built from."
        )
    return ENGINES[engine](path, options(engine))


def _open_best(path: Path, options: Callable[[str], EngineOptions]) -> Engine:
    """TensorRT where an engine was built, else OpenVINO, ONNX Runtime where that is better."""
    if path.suffix == ".npz":
        return open_replay(path, options("replay"))
    if path.suffix == ".engine":
        return open_tensorrt(path, options("tensorrt"))
    model = load_model(path)
    engine = _open_built(path, options("tensorrt"))
    if engine is not None:
        return engine
    if "DynamicQuantizeLinear" in op_types(model):
        # OpenVINO turns the integer convolutions of such files back into floating point: slower.
        return open_onnxruntime(path, options("onnxruntime"))
    if find_module("openvino") is None:
        return open_onnxruntime(path, options("onnxruntime"))
    try:
        return open_openvino(path, options("openvino"))
    except EngineError as exc:
        if find_module("onnxruntime") is None:
            raise
        _log.warning("%s; trying ONNX Runtime instead", exc)
        return open_onnxruntime(path, options("onnxruntime"))


def _open_built(path: Path, options: EngineOptions) -> Engine | None:
    """The TensorRT engine that was built from this ONNX file, None where there is none to use.

    Raises:
        DeviceError: there is one, but the device is lost or out of memory: a restart may help, and
            a CPU may be too slow to stand in for it.
    """
    if options.precision == "f32":
        return None  # built engines compute in less
    built, devices = find_built(path), device_names()
    if built is None:
        if devices:
            _log.warning(
                "%s: there is a CUDA device (%s), but no TensorRT engine of this file; it runs on "
                "the CPU. Build one: edge-export build %s", path, ", ".join(devices), path
            )  # fmt: skip
        return None
    if not devices:  # hidden on purpose, say: CUDA_VISIBLE_DEVICES=
        _log.warning("%s: no CUDA device opens here for %s; running on the CPU", path, built.name)
        return None
    try:
        return open_tensorrt(path, options)
    except DeviceError:
        raise
    except (EngineError, ModelError) as exc:
        _log.warning("%s; running on the CPU instead", exc)
        return None
