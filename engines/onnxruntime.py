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

from engines.base import Array
from engines.errors import EngineError
from engines.model_file import is_quantized, load_model, no_spec, spec_of
from engines.seam import EngineOptions, SlotStates, check_tensors, foreign_errors
from engines.spec import ModelSpec, TensorSpec

if TYPE_CHECKING:
    import onnxruntime as ort

_NAME = "onnxruntime"
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
}
"""ONNX Runtime's names that are not NumPy's; the others are 'tensor(uint8)' and the like."""


def open_onnxruntime(path: Path, options: EngineOptions) -> OnnxRuntimeEngine:
    """Load an ONNX file with a spec into a CPU session.

    Raises:
        EngineError: ONNX Runtime is not installed or cannot run the graph.
        ModelError: the file is refused, has no spec, or contradicts it.
    """
    model = load_model(path)
    spec = spec_of(model, origin=str(path))
    if spec is None:
        raise no_spec(path)
    try:
        import onnxruntime as ort
    except ImportError as exc:
        raise EngineError(
            f"ONNX Runtime is not usable here ({exc}): pip install onnxruntime"
        ) from exc

    settings = ort.SessionOptions()
    settings.log_severity_level = 3  # errors only: its warnings are about its own optimiser
    # A count of its own also keeps ONNX Runtime from pinning threads, which fails in containers.
    settings.intra_op_num_threads = options.threads or _physical_cores()
    settings.inter_op_num_threads = 1
    # Spinning within a run is worth a third of its time on a net of many small nodes (YOLOX-nano:
    # 8.5 against 12.8 ms on two quiet cores), spinning after it only burns the other core (43
    # against 18 ms of CPU a frame at 30 fps): spin, and stop with the run.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "1")
    settings.add_session_config_entry("session.force_spinning_stop", "1")
    with foreign_errors(f"{path}: ONNX Runtime cannot load it"):
        session = ort.InferenceSession(
            os.fspath(path), sess_options=settings, providers=["CPUExecutionProvider"]
        )
    check_tensors(
        spec,
        inputs=[_tensor(node) for node in session.get_inputs()],
        outputs=[_tensor(node) for node in session.get_outputs()],
        origin=str(path),
    )
    return OnnxRuntimeEngine(session, spec, slots=options.slots, quantized=is_quantized(model))


class OnnxRuntimeEngine:
    """One session; each slot has NumPy buffers that are bound to inputs and outputs."""

    def __init__(
        self, session: ort.InferenceSession, spec: ModelSpec, *, slots: int, quantized: bool
    ) -> None:
        self._session: ort.InferenceSession | None = session
        self._spec = spec
        self._states = SlotStates(slots, engine=_NAME)
        self._slots = slots
        # ONNX Runtime's CPU kernels have no bf16 and compute float16 graphs in f32.
        self._precision = "int8" if quantized else "f32"
        self._inputs: list[dict[str, Array]] = []
        self._outputs: list[dict[str, Array]] = []
        self._bindings: list[Any] = []
        with foreign_errors("ONNX Runtime cannot set up its buffers"):
            for _ in range(slots):
                image = np.zeros(spec.input.tensor.shape, spec.input.tensor.dtype)
                outputs = {t.name: np.zeros(t.shape, t.dtype) for t in spec.outputs}
                binding = session.io_binding()
                binding.bind_input(
                    spec.input.name, "cpu", 0, image.dtype, image.shape, image.ctypes.data
                )
                for name, array in outputs.items():
                    binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
                    array.flags.writeable = False
                self._bindings.append(binding)
                self._inputs.append({spec.input.name: image})
                self._outputs.append(outputs)

    @property
    def name(self) -> str:
        """'onnxruntime'."""
        return _NAME

    @property
    def precision(self) -> str:
        """'f32', or 'int8' for a quantised file."""
        return self._precision

    @property
    def spec(self) -> ModelSpec:
        """The spec of the file."""
        return self._spec

    @property
    def slots(self) -> int:
        """Sets of buffers."""
        return self._slots

    def inputs(self, slot: int) -> dict[str, Array]:
        """The slot's bound input buffer, to be filled in place.

        Raises:
            EngineError: no such slot, or closed.
        """
        self._states.check(slot)
        return dict(self._inputs[slot])

    def submit(self, slot: int) -> None:
        """Run the model on this slot's buffers, without holding the GIL; returns when it is done.

        Raises:
            EngineError: not waited for since the last submit, no such slot, closed, or it failed.
        """
        self._states.begin(slot)
        try:
            with foreign_errors("ONNX Runtime failed while running"):
                assert self._session is not None
                self._session.run_with_iobinding(self._bindings[slot])
        except EngineError:
            self._states.forget(slot)
            raise

    def wait(self, slot: int) -> dict[str, Array]:
        """The outputs of the run that ``submit`` did, as read-only views.

        Raises:
            EngineError: not submitted, no such slot, or closed.
        """
        self._states.end(slot)
        return dict(self._outputs[slot])

    def close(self) -> None:
        """Release the session and the buffers; safe to call twice."""
        if self._states.close():
            self._bindings, self._inputs, self._outputs = [], [], []
            self._session = None


def _physical_cores() -> int:
    """Cores that this process may run on, hyperthreads not counted."""
    allowed = len(os.sched_getaffinity(0))
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))


def _tensor(node: Any) -> TensorSpec:
    """An input or output of the session as the runtime sees it."""
    shape = tuple(n if isinstance(n, int) else -1 for n in node.shape)
    dtype = _DTYPES.get(node.type, node.type.removeprefix("tensor(").removesuffix(")"))
    return TensorSpec(node.name, shape, dtype)
