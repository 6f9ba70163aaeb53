"""Small networks of a few convolutions whose integers can be computed by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engines.base import Array
from export.onnx.session import open_session, run_session

Node = tuple[str, list[str], str] | tuple[str, list[str], str, dict[str, Any]]
"""Operator, inputs, output, which is its name, too, and attributes."""


def network(
    nodes: Sequence[Node], shape: Sequence[int], outputs: Sequence[str], **constants: Any
) -> onnx.ModelProto:
    """``x`` float32 of ``shape`` through ``nodes`` to ``outputs``."""
    made = helper.make_graph(
        [
            helper.make_node(op, inputs, [out], out, **(rest[0] if rest else {}))
            for op, inputs, out, *rest in nodes
        ],
        "made",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, list("nchw")) for o in outputs],
        [numpy_helper.from_array(np.asarray(v, np.float32), k) for k, v in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def dense(*rows: Sequence[float]) -> NDArray[np.float32]:
    """Weights of a 1×1 convolution: a row for each output channel."""
    weights: NDArray[np.float32] = np.asarray(rows, np.float32)[:, :, None, None]
    return weights


def run(model: onnx.ModelProto, x: Array) -> Mapping[str, Array]:
    """All outputs for ``x``."""
    session = open_session(model.SerializeToString(), origin="a test")
    return run_session(session, {"x": np.asarray(x, np.float32)}, origin="a test")
