"""Whether an engine computes a quantised file as the file says, told by what rounding costs it.

Kernels round in ways of their own: right ones give other boxes near a threshold, but on the whole
lie as far from the same graph without rounding as the file itself, computed node by node in float.
One that saturates lies farther off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge.progress import counted
from edge.vision.types import Image
from engines import open_engine
from engines.base import Array, Engine
from engines.model_file import ModelFile
from engines.onnxruntime import OnnxRuntimeEngine
from engines.spec import ModelSpec
from export.onnx.graph import constant_tensor, load_checked
from export.onnx.session import open_session
from export.score.predictor import Predictor

MORE = 1.25
"""Times the file's own error that an engine may err. The shipped network in int8 and uint8, on the
highway and on the synthetic street: 0.82 to 1.06 in ONNX Runtime and OpenVINO with VNNI."""
NOTHING = 1e-3
"""Of the output's mean size, or of all labels: what is no error at all."""


@dataclass(frozen=True, slots=True)
class OutputError:
    """How far an output lies from one without rounding, in the mean; of labels the share off."""

    name: str
    own: float
    """The file's, computed in float."""
    engine: float
    size: float
    """Mean size of the values without rounding, 1 for labels."""

    @property
    def fails(self) -> bool:
        """Whether the engine errs more than the file does; so does what is not finite."""
        return not self.engine <= MORE * self.own + NOTHING * self.size

    def __str__(self) -> str:
        return f"output {self.name} is off by {self.engine:.3g}, by itself by {self.own:.3g}"


def output_errors(file: ModelFile, engine: str, frames: Sequence[Image]) -> list[OutputError]:
    """What rounding costs a file whose integers stand in pairs, as it is and in ``engine``.

    Raises:
        ModelError, EngineError: it cannot be run.
        ExportError: its weights are broken, or its graph.
    """
    model, spec = load_checked(file.path)  # of its own: the engine opens the file as it is
    with ExitStack() as stack:

        def opened(engine: Engine) -> Predictor:
            return Predictor(stack.enter_context(closing(engine)))

        candidate = opened(open_engine(file, engine=engine, precision="f32"))
        own = opened(_plain(model, spec, file.path))
        exact = opened(_plain(without_rounding(model), spec, file.path))
        predictors = (exact, own, candidate)
        sums = {tensor.name: np.zeros(3) for tensor in spec.outputs}
        for frame in counted(frames, "comparing", total=len(frames)):
            for predictor in predictors:
                predictor.predict(frame)
            for name, summed in sums.items():
                summed += _distances(*(p.outputs()[name] for p in predictors))
    return [OutputError(name, *(summed / len(frames)).tolist()) for name, summed in sums.items()]


def without_rounding(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph where maps are cut to their integers' range and not rounded.

    A ReLU may be nothing but that range's end. Integer weights stay. Where channels have scales of
    their own, integers are no whole bytes or are read by more than their pair, maps are rounded.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and (held := constant_tensor(node)) is not None:
            constants[node.output[0]] = held
    needed = {output.name for output in graph.output}
    for node in graph.node:
        if node.op_type != "DequantizeLinear":
            needed.update(node.input)
    whole: set[str] = set()
    """Integers that are none any more."""
    for node in graph.node:
        if node.op_type == "QuantizeLinear" and node.output[0] not in needed:
            if (ends := _ends(node, constants)) is None:
                continue
            names = [f"{node.output[0]}/{end}" for end in ("lowest", "highest")]
            graph.initializer.extend(map(numpy_helper.from_array, ends, names))
            node.CopyFrom(helper.make_node("Clip", [node.input[0], *names], node.output, node.name))
            whole.add(node.output[0])
        elif node.op_type == "DequantizeLinear" and node.input[0] in whole:
            node.CopyFrom(helper.make_node("Identity", node.input[:1], node.output, node.name))
    del graph.value_info[:]
    return made


def _ends(
    node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]
) -> tuple[Array, Array] | None:
    """The lowest and the highest value that a tensor's integers stand for."""
    held = [constants.get(name) for name in node.input[1:]]
    if not held or None in held:
        return None
    scale, *zeros = (numpy_helper.to_array(tensor) for tensor in held if tensor is not None)
    kind = next((a.i for a in node.attribute if a.name == "output_dtype"), 0) or TensorProto.UINT8
    zero = zeros[0] if zeros else np.zeros((), helper.tensor_dtype_to_np_dtype(kind))
    if scale.size != 1 or zero.size != 1 or zero.dtype not in (np.int8, np.uint8):
        return None
    reach = np.iinfo(zero.dtype)
    low, high = (
        (scale.ravel()[0] * np.float32(end - int(zero.ravel()[0]))).astype(scale.dtype)
        for end in (reach.min, reach.max)
    )
    return low, high


def _distances(exact: Array, own: Array, engine: Array) -> tuple[float, float, float]:
    """Of the file itself and of the engine from what is not rounded, and that one's size."""
    if exact.dtype.kind != "f":
        return float(np.mean(own != exact)), float(np.mean(engine != exact)), 1.0
    near, far = (float(np.mean(np.abs(said - exact))) for said in (own, engine))
    return near, far, float(np.mean(np.abs(exact)))


def _plain(model: onnx.ModelProto, spec: ModelSpec, path: Path) -> Engine:
    """ONNX Runtime with nothing fused: integers become floats again before each computation."""
    session = open_session(model.SerializeToString(), origin=str(path), optimise=False)
    return OnnxRuntimeEngine(session, spec, slots=1, quantized=True)
