"""The ONNX Runtime engine: runs a model file on the CPU through preallocated buffers.

It owns no thread: ``submit`` runs the model and ``wait`` has nothing left to wait for, so more
slots give more buffers here, not more overlap.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from engines.base import EngineBase, EngineOptions
from engines.errors import EngineError
from engines.model_file import ModelFile, is_quantized
from engines.runtimes import check_tensors, foreign_errors
from engines.spec import ModelSpec, TensorSpec

if TYPE_CHECKING:
    import onnxruntime as ort

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
}
"""ONNX Runtime's names that are not NumPy's; the others are 'tensor(uint8)' and the like."""


def import_onnxruntime() -> Any:
    """The ``onnxruntime`` module without its telemetry; everything here imports it through this.

    Version 1.31 writes an id of the device and a database of events into the user's cache and, nine
    seconds after its first session, looks up where to send them.

    Raises:
        EngineError: ONNX Runtime is not installed or does not load.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when it is imported
    try:
        import onnxruntime as ort
    except ImportError as exc:
        raise EngineError(
            f"ONNX Runtime is not usable here ({exc}): pip install onnxruntime"
        ) from exc
    return ort


def histogram_collector(method: str, *, bins: int, levels: int, percentile: float) -> Any:
    """ONNX Runtime's calibration by 'percentile' or 'entropy'.

    It has ``collect`` for {name: array}, and ``compute_collection_result``, which gives the low and
    high end of each tensor's range. ``bins`` are those of a histogram, ``levels`` the
    integers that entropy compares it with.

    Raises:
        EngineError: ONNX Runtime is not installed.
    """
    import_onnxruntime()
    from onnxruntime.quantization.calibrate import HistogramCollector

    return HistogramCollector(method, False, bins, levels, percentile, "same")


def open_session(
    model: Path | bytes, *, threads: int | None = None, optimise: bool = True
) -> ort.InferenceSession:
    """A session on the CPU; without ``optimise`` no node is fused or left out.

    Raises:
        EngineError: ONNX Runtime is not installed.
        Exception: what ONNX Runtime raises over the model.
    """
    ort = import_onnxruntime()
    settings = ort.SessionOptions()
    settings.log_severity_level = 4  # what fails is raised, too; warnings are about itself
    if not optimise:
        settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    # A count of its own also keeps ONNX Runtime from pinning threads, which fails in containers.
    settings.intra_op_num_threads = threads or _physical_cores()
    settings.inter_op_num_threads = 1
    # Spinning within a run is worth a third of its time on a net of many small nodes (YOLOX-nano:
    # 8.5 against 12.8 ms on two quiet cores), spinning after it only burns the other core (43
    # against 18 ms of CPU a frame at 30 fps): spin, and stop with the run.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "1")
    settings.add_session_config_entry("session.force_spinning_stop", "1")
    source = model if isinstance(model, bytes) else os.fspath(model)
    providers = ["CPUExecutionProvider"]
    # Its fallback would print on standard output, where lines of JSON may be.
    return ort.InferenceSession(source, settings, providers=providers, enable_fallback=0)


def open_onnxruntime(file: ModelFile, options: EngineOptions) -> OnnxRuntimeEngine:
    """Load an ONNX file with a spec into a CPU session.

    Raises:
        EngineError: ONNX Runtime is not installed or cannot run the graph.
        ModelError: the file is refused, has no spec, or contradicts it.
    """
    path, spec = file.path, file.required_spec()
    with foreign_errors(f"{path}: ONNX Runtime cannot load it"):
        session = open_session(file.for_runtime(), threads=options.threads)
    check_tensors(
        spec,
        inputs=[_tensor(node) for node in session.get_inputs()],
        outputs=[_tensor(node) for node in session.get_outputs()],
        origin=str(path),
    )
    return OnnxRuntimeEngine(session, spec, slots=options.slots, quantized=is_quantized(file.model))


class OnnxRuntimeEngine(EngineBase):
    """One session; each slot has NumPy buffers that are bound to inputs and outputs."""

    def __init__(
        self, session: ort.InferenceSession, spec: ModelSpec, *, slots: int, quantized: bool
    ) -> None:
        # ONNX Runtime's CPU kernels have no bf16 and compute float16 graphs in f32.
        precision = "int8" if quantized else "f32"
        super().__init__("onnxruntime", spec, precision=precision, slots=slots)
        self._session: ort.InferenceSession | None = session
        self._bindings: list[Any] = []
        with foreign_errors("ONNX Runtime cannot set up its buffers"):
            for inputs, outputs in zip(self._inputs, self._outputs, strict=True):
                outputs.update({t.name: np.zeros(t.shape, t.dtype) for t in spec.outputs})
                binding = session.io_binding()
                for bind, arrays in (
                    (binding.bind_input, inputs),
                    (binding.bind_output, outputs),
                ):
                    for name, array in arrays.items():
                        bind(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
                self._bindings.append(binding)

    def _start(self, slot: int) -> None:
        """Do the whole run, without holding the GIL."""
        assert self._session is not None
        with foreign_errors("ONNX Runtime failed while running"):
            self._session.run_with_iobinding(self._bindings[slot])

    def _release(self) -> None:
        self._bindings, self._session = [], None


def _physical_cores() -> int:
    """Cores that this process may run on, hyperthreads not counted."""
    allowed = len(os.sched_getaffinity(0))
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))


def _tensor(node: Any) -> TensorSpec:
    """An input or output of the session as the runtime sees it."""
    shape = tuple(n if isinstance(n, int) else -1 for n in node.shape)
    dtype = _DTYPES.get(node.type, node.type.removeprefix("tensor(").removesuffix(")"))
    return TensorSpec(node.name, shape, dtype)
