"""Whether an engine computes a quantised file as the file says, told by its errors against FP32.

Kernels round in ways of their own: right ones give other boxes near a threshold, but on the whole
err as much as the file itself, computed node by node in float. One that saturates errs more.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

import numpy as np

from edge.progress import counted
from edge.vision.types import Image
from engines import open_engine
from engines.base import Array, Engine
from engines.errors import ExportError
from engines.model_file import ModelFile
from engines.onnxruntime import OnnxRuntimeEngine, open_session
from engines.runtimes import foreign_errors
from export.score.predictor import Predictor

MORE = 1.25
"""Times the file's own error that an engine may err. The shipped network in int8 and uint8, on the
highway and on the synthetic street: 0.91 to 1.05 in ONNX Runtime and OpenVINO with VNNI."""
NOTHING = 1e-3
"""Of the FP32 output's mean size, or of all labels: what is no error at all."""


@dataclass(frozen=True, slots=True)
class OutputError:
    """Mean distance of an output from FP32's, over all frames; of labels the share that differs."""

    name: str
    own: float
    """The file's, computed in float."""
    engine: float
    size: float
    """Mean size of FP32's values, 1 for labels."""

    @property
    def fails(self) -> bool:
        """Whether the engine errs more than the file does; so does what is not finite."""
        return not self.engine <= MORE * self.own + NOTHING * self.size

    def __str__(self) -> str:
        return f"output {self.name} is {self.engine:.3g} from FP32's, the file's own {self.own:.3g}"


def output_errors(
    reference: ModelFile, quantised: ModelFile, engine: str, frames: Sequence[Image]
) -> list[OutputError]:
    """How far a quantised file lies from its FP32 file, as it is and in ``engine``.

    Raises:
        ModelError, EngineError: a file cannot be run.
        ExportError: the two do not give the same outputs.
    """
    with ExitStack() as stack:
        fp32, own, candidate = (
            Predictor(stack.enter_context(closing(opened)))
            for opened in (
                open_engine(reference, engine="onnxruntime", precision="f32"),
                _plain(quantised),
                open_engine(quantised, engine=engine, precision="f32"),
            )
        )
        if fp32.spec.outputs != own.spec.outputs:
            raise ExportError(f"{quantised.path}: has other outputs than {reference.path}.")
        sums = {tensor.name: np.zeros(3) for tensor in fp32.spec.outputs}
        for frame in counted(frames, "comparing", total=len(frames)):
            for predictor in (fp32, own, candidate):
                predictor.predict(frame)
            for name, summed in sums.items():
                summed += _distances(*(p.outputs()[name] for p in (fp32, own, candidate)))
    return [OutputError(name, *(summed / len(frames)).tolist()) for name, summed in sums.items()]


def _distances(fp32: Array, own: Array, engine: Array) -> tuple[float, float, float]:
    """Of the file itself and of the engine from FP32, and FP32's size, each in the mean."""
    if fp32.dtype.kind != "f":
        return float(np.mean(own != fp32)), float(np.mean(engine != fp32)), 1.0
    near, far = (float(np.mean(np.abs(said - fp32))) for said in (own, engine))
    return near, far, float(np.mean(np.abs(fp32)))


def _plain(file: ModelFile) -> Engine:
    """ONNX Runtime with nothing fused: integers become floats again before each computation."""
    with foreign_errors(f"{file.path}: ONNX Runtime cannot load it"):
        session = open_session(file.for_runtime(), optimise=False)
    return OnnxRuntimeEngine(session, file.required_spec(), slots=1, quantized=True)
