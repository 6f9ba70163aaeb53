"""The OpenVINO engine: runs a model file on the CPU without copying inputs or outputs.

Inputs and outputs are views of the infer requests' own tensors, one request a slot. Nothing is
cached between processes: a stale cache could answer for another file, and compiling is short.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.base import EngineBase, EngineOptions
from engines.errors import EngineError, ModelError
from engines.model_file import ModelFile, is_quantized
from engines.runtimes import check_tensors, foreign_errors
from engines.spec import ModelSpec, TensorSpec

if TYPE_CHECKING:
    import openvino as ov


def import_openvino() -> Any:
    """The ``openvino`` module without its telemetry.

    Importing it alone would report to Google Analytics, on a thread that has no deadline and that
    the interpreter waits for at its end: behind a network that swallows packets the app could not
    exit. Without the package ``openvino_telemetry``, OpenVINO takes a stub of its own instead.

    Raises:
        EngineError: OpenVINO is not installed or does not load.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino as ov
    except ImportError as exc:
        raise EngineError(f"OpenVINO is not usable here ({exc}): pip install openvino") from exc
    return ov


def open_openvino(file: ModelFile, options: EngineOptions) -> OpenVinoEngine:
    """Compile an ONNX file with a spec for this machine's CPU.

    Raises:
        EngineError: OpenVINO is not installed or cannot run the graph.
        ModelError: the file is refused, has no spec, or contradicts it.
    """
    path, spec = file.path, file.required_spec()
    ov = import_openvino()

    # Unpinned: the app's own threads share the cores, and a pinned worker cannot get out of their
    # way (5 to 10 % on two cores with another thread busy a third of the time, nothing without).
    config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False}
    if options.precision == "f32":
        config["INFERENCE_PRECISION_HINT"] = "f32"
    if options.threads is not None:
        config["INFERENCE_NUM_THREADS"] = options.threads
    if options.slots > 1:
        # One stream runs its requests one after the other, however many are in flight.
        config["NUM_STREAMS"] = min(options.slots, options.threads or len(os.sched_getaffinity(0)))
    core = ov.Core()
    with foreign_errors(f"{path}: OpenVINO cannot read it", kind=ModelError):
        graph = core.read_model(file.for_runtime())
        inputs = [_tensor(port) for port in graph.inputs]
        outputs = [_tensor(port) for port in graph.outputs]
    check_tensors(spec, inputs=inputs, outputs=outputs, origin=str(path))
    with foreign_errors(f"{path}: OpenVINO cannot compile it"):
        compiled = compile_apart(core, graph, config)
    return OpenVinoEngine(compiled, spec, slots=options.slots, quantized=is_quantized(file.model))


def compile_apart(core: ov.Core, graph: Any, config: dict[str, Any]) -> ov.CompiledModel:
    """Compile for the CPU on a thread that ends.

    Compiling gives its thread a stack for signals, and releasing the model takes it back, in
    whatever order models are released: a stack that was gone stayed with the main thread, and the
    next signal ended the process.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(core.compile_model, graph, "CPU", config).result()


class OpenVinoEngine(EngineBase):
    """One compiled model, one infer request a slot; side by side as far as there are cores."""

    def __init__(
        self, compiled: ov.CompiledModel, spec: ModelSpec, *, slots: int, quantized: bool
    ) -> None:
        self._requests: list[ov.InferRequest] = []
        with foreign_errors("OpenVINO cannot set up its requests"):
            hint = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
            # Integer weights and activations stay integer whatever the hint says about the rest.
            precision = "int8" if quantized else str(hint)
            super().__init__("openvino", spec, precision=precision, slots=slots)
            self.streams = int(compiled.get_property("NUM_STREAMS"))
            """How many slots can run at the same time."""
            for slot in range(slots):
                request = compiled.create_infer_request()
                self._requests.append(request)
                self._inputs[slot] = {spec.input.name: request.get_tensor(spec.input.name).data}
                self._outputs[slot] = {
                    t.name: request.get_tensor(t.name).data for t in spec.outputs
                }

    def _start(self, slot: int) -> None:
        with foreign_errors("OpenVINO cannot start a run"):
            self._requests[slot].start_async()

    def _finish(self, slot: int) -> None:
        with foreign_errors("OpenVINO failed while running"):
            self._requests[slot].wait()

    def _release(self) -> None:
        requests, self._requests = self._requests, []
        with foreign_errors("OpenVINO failed while closing"):
            for request, busy in zip(requests, self._in_flight, strict=True):
                if busy:
                    request.wait()


def _tensor(port: Any) -> TensorSpec:
    """A port of the graph as the runtime sees it."""
    shape = tuple(d.get_length() if d.is_static else -1 for d in port.get_partial_shape())
    return TensorSpec(port.get_any_name(), shape, np.dtype(port.get_element_type().to_dtype()).name)
