"""Small graphs for the checks for TensorRT, and what the table and the real parser say of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engines.tensorrt.library import open_library
from export.tensorrt.check.check import Report, check_file
from export.tensorrt.check.judge import Judge
from export.tensorrt.check.operators import check_operators, release
from export.tensorrt.profiles import Profile

F, H, U8, I64 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8, TensorProto.INT64
I32, BOOL, F64 = TensorProto.INT32, TensorProto.BOOL, TensorProto.DOUBLE
Tensor = tuple[int, Sequence[int | str | None] | None]
"""Element type and shape."""
IMAGE: Mapping[str, Tensor] = {"x": (F, [1, 4, 8, 12])}


def node(op: str, inputs: str, outputs: str, **how: Any) -> onnx.NodeProto:
    """``inputs`` and ``outputs`` are names with blanks between; the node is called as its first
    output. A ``-`` is an input left out."""
    names = [("" if n == "-" else n) for n in inputs.split()]
    return helper.make_node(op, names, outputs.split(), outputs.split()[0], **how)


def model(
    *nodes: onnx.NodeProto,
    inputs: Mapping[str, Tensor] = IMAGE,
    outputs: Mapping[str, Tensor] | None = None,
    opset: int = 17,
    metadata: Mapping[str, str] | None = None,
    domains: Sequence[str] = (),
    **constants: NDArray[np.generic],
) -> onnx.ModelProto:
    """Nodes from ``inputs`` to ``outputs``; without these, the last node's first one, float32.

    Outputs of no shape have the one that ONNX infers, as its checker wants.
    """
    outputs = outputs or {nodes[-1].output[0]: (F, None)}
    graph = helper.make_graph(
        list(nodes),
        "made",
        [helper.make_tensor_value_info(n, *t) for n, t in inputs.items()],
        [helper.make_tensor_value_info(n, *t) for n, t in outputs.items()],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    made = helper.make_model(graph, opset_imports=imports, ir_version=10)
    helper.set_model_props(made, dict(metadata or {}))
    inferred = {o.name: o for o in onnx.shape_inference.infer_shapes(made).graph.output}
    for info in made.graph.output:
        if inferred[info.name].type.tensor_type.HasField("shape"):
            shape = inferred[info.name].type.tensor_type.shape
            info.type.tensor_type.shape.CopyFrom(shape)
    return made


def listed(made: onnx.ModelProto, trt: str = "10.3") -> list[tuple[str, str]]:
    """Rule and node of every error by the table of a release."""
    found = check_operators(made, release(trt))
    return [(f.rule, f.node) for f in found if f.level == "error"]


def judged(made: onnx.ModelProto, folder: Path, **sizes: Profile) -> Report:
    """What TensorRT for RTX says of a model; ``sizes`` are profiles of inputs."""
    path = folder / "made.onnx"
    path.write_bytes(made.SerializeToString())
    return check_file(path, judge=rtx_judge(), release=None, profiles=sizes)


def rtx_judge() -> Judge:
    """TensorRT for RTX in this process, also on a machine that has the native one."""
    return Judge(open_library("rtx"), builds=True, apart=False)


def i64(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def f32(*shape: int) -> NDArray[np.float32]:
    return np.ones(shape, np.float32)
