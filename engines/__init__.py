"""Arrays in, arrays out: model specs and inference backends; no boxes, no threads of their own.

A new backend is one file plus one line in ``ENGINES``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.util import find_spec as find_module
from pathlib import Path

from engines.base import Engine
from engines.errors import EngineError, EngineMismatch, SettingsError
from engines.model_file import load_model, op_types
from engines.onnxruntime import open_onnxruntime
from engines.openvino import open_openvino
from engines.replay import open_replay
from engines.seam import EngineOptions, Precision

_log = logging.getLogger(__name__)

ENGINES: dict[str, Callable[[Path, EngineOptions], Engine]] = {
    "openvino": open_openvino,
    "onnxruntime": open_onnxruntime,
    "replay": open_replay,
}
"""Backend name → opener. None of the openers' modules imports its runtime before it is called."""


def open_engine(
    path: Path,
    *,
    engine: str = "auto",
    precision: Precision = "default",
    slots: int = 1,
    threads: int | None = None,
) -> Engine:
    """Open a model file with the named backend, or with the best one here for 'auto'.

    Raises:
        SettingsError: unknown backend, or impossible options.
        ModelError: the file is refused, has no spec, or contradicts it.
        EngineError: the backend is not available here or cannot run the model.
    """
    options = EngineOptions(precision=precision, slots=slots, threads=threads)
    if engine == "tensorrt" or (engine == "auto" and path.suffix == ".engine"):
        raise _no_tensorrt(path)
    if engine == "auto":
        return _open_best(path, options)
    if engine not in ENGINES:
        wanted = ", ".join(["auto", *ENGINES, "tensorrt"])
        raise SettingsError(f"engine {engine!r}, wanted one of {wanted}.")
    return ENGINES[engine](path, options)


def _open_best(path: Path, options: EngineOptions) -> Engine:
    """OpenVINO for an ONNX file, ONNX Runtime where that is better or all there is."""
    if path.suffix == ".npz":
        return open_replay(path, options)
    # A TensorRT engine built from this very file comes first, right here, once one can be built.
    if "DynamicQuantizeLinear" in op_types(load_model(path)):
        # OpenVINO turns the integer convolutions of such files back into floating point: slower.
        return open_onnxruntime(path, options)
    if find_module("openvino") is None:
        return open_onnxruntime(path, options)
    try:
        return open_openvino(path, options)
    except EngineError as exc:
        if find_module("onnxruntime") is None:
            raise
        _log.warning("%s; trying ONNX Runtime instead", exc)
        return open_onnxruntime(path, options)


def _no_tensorrt(path: Path) -> EngineError:
    if path.suffix == ".engine":
        return EngineError(
            f"{path}: a TensorRT engine, which this version of Outrider cannot run yet. Run the "
            "ONNX file it was built from, with --engine auto."
        )
    return EngineMismatch(
        f"{path}: no TensorRT engine was built from this file, and this version of Outrider cannot "
        "build one yet. Run it with --engine auto."
    )
