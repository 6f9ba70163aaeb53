"""Planted faults through NVIDIA's own parser and builder: each is refused in words, at its node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.export.trt_graphs import BOOL, F64, I64, U8, F, H, f32, i64, judged, model, node
from tests.rtx_here import needs_rtx

pytestmark = needs_rtx
IMAGE = {"x": (U8, [1, 4, 8, 12])}
WHERE = {"y": (F, [1, 4, 8, 12])}
TWICE = {"y": (F, None)}
ONE = np.ones((4, 4, 1, 1), np.uint8)
LARGE = (1 << 20, 1 << 20, 8, 12)
IN_TURN = helper.make_graph(
    [node("Identity", "c", "c2"), node("Concat", "s s", "s2", axis=0)], "turn",
    [helper.make_tensor_value_info("i", I64, []), helper.make_tensor_value_info("c", BOOL, []),
     helper.make_tensor_value_info("s", F, [2])],
    [helper.make_tensor_value_info("c2", BOOL, []), helper.make_tensor_value_info("s2", F, [4])],
)  # fmt: skip


def branch(name: str, *shape: int) -> onnx.GraphProto:
    """A branch that makes ones of a shape."""
    made = node("ConstantOfShape", "s", name)
    sizes = helper.make_tensor("s", I64, [len(shape)], shape)
    out = helper.make_tensor_value_info(name, F, shape)
    return helper.make_graph([made], name, [], [out], [sizes])


def renamed(made: onnx.ModelProto, output: str) -> onnx.ModelProto:
    made.graph.output[0].name = output
    return made


FAULTS: dict[str, tuple[onnx.ModelProto, str, str, str]] = {
    # a fault: the graph, and of its first error the node, the problem and the way out
    "uint8 cast inside": (
        model(node("Cast", "x", "a", to=U8), node("Cast", "a", "y", to=F)),
        "a", "uses uint8 inside the network", "cast the image to float32 before any other node",
    ),
    "uint8 moved": (
        model(node("Transpose", "x", "a"), node("Cast", "a", "y", to=F), inputs=IMAGE),
        "a", "uses uint8 inside the network", "cast the image",
    ),
    "uint8 added": (
        model(node("Add", "x x", "a"), node("Cast", "a", "y", to=F), inputs=IMAGE),
        "a", "uses uint8 inside the network", "cast the image",
    ),
    "int16 in": (
        model(node("Abs", "n", "y"), inputs={"n": (TensorProto.INT16, [4])},
              outputs={"y": (TensorProto.INT16, None)}),
        "input n", "is of a type that TensorRT does not have", "export it as float32",
    ),
    "cast to uint32": (
        model(node("Cast", "x", "a", to=TensorProto.UINT32), node("Cast", "a", "y", to=F)),
        "a", "casts to a type that TensorRT does not have", "cast to float32",
    ),
    "dynamic int8": (
        model(node("DynamicQuantizeLinear", "x", "q s z"), node("ConvInteger", "q w z", "a"),
              node("Cast", "a", "y", to=F), w=ONE),
        "q", "TensorRT for RTX does not have this operator", "take the FP32 model",
    ),
    "biases quantised": (
        model(node("DequantizeLinear", "b s z", "bias"), node("Add", "x bias", "y"),
              b=np.ones(12, np.int32), s=f32(), z=np.zeros((), np.int32)),
        "bias", "NVIDIA says: ", "quantise weights and activations alone",
    ),
    "foreign domain": (
        model(node("Foo", "x", "y", domain="acme"), domains=["acme"], outputs=WHERE),
        "y", "does not have this operator, and no plugin for it", "standard operators",
    ),
    "unknown operator": (
        model(node("Blorp", "x", "y"), outputs=WHERE),
        "y", "does not have this operator, and no plugin for it", "standard operators",
    ),
    "operator that it lacks": (
        model(node("Det", "x", "y")), "y", "does not have this operator", "without it",
    ),
    "mixed types": (
        model(node("Cast", "x", "a", to=H), node("Add", "a c", "y"), c=f32(1)),
        "y", "mixes Half and Float", "cast one of them",
    ),
    "mixed types of a convolution": (
        model(node("Cast", "x", "a", to=H), node("Conv", "a w", "y"), w=f32(4, 4, 1, 1)),
        "y", "mixes Half and Float", "cast one of them",
    ),
    "antialias": (
        model(node("Resize", "x - s", "y", mode="cubic", antialias=1), opset=18,
              s=np.array([1, 1, 2, 2], np.float32)),
        "y", "NVIDIA says: Antialiasing is not supported", "export the model without it",
    ),
    "an output of open size": (
        model(node("NonZero", "x", "y"), outputs={"y": (I64, None)}),
        "y", "the native TensorRT lists it", "ask a machine with the native TensorRT",
    ),
    "nine dimensions in": (
        model(node("Relu", "x", "y"), inputs={"x": (F, [1] * 9)}),
        "input x", "more than the 8 dimensions", "merge some with a Reshape",
    ),
    "nine dimensions inside": (
        model(node("Reshape", "x s", "y"), s=i64(1, 1, 1, 1, 1, 1, 4, 8, 12)),
        "y", "more than the 8 dimensions", "merge some with a Reshape",
    ),
    "a second output": (
        model(node("MaxPool", "x", "y i", kernel_shape=[2, 2])),
        "y", "gives more than its first output", "nodes of their own",
    ),
    "axes from outside": (
        model(node("ReduceMean", "x axes", "y"), opset=18,
              inputs={"x": (F, [1, 4]), "axes": (I64, [1])}, outputs={"y": (F, None)}),
        "y", "NVIDIA wants a constant: Axis input", "write that value into the file",
    ),
    "a shape from outside": (
        model(node("Reshape", "x s", "y"), inputs={"x": (F, [2, 4]), "s": (I64, [2])},
              outputs={"y": (F, [None, None])}),
        "the network", "an input of the network decides a shape", "as a constant",
    ),
    "a shape that does not fit": (
        model(node("ConstantOfShape", "s", "a"), node("Add", "x a", "y"), s=i64(*LARGE),
              outputs={"y": (F, None)}),
        "y", "NVIDIA says: broadcast dimensions must be conformable", "without it",
    ),
    "a loop that carries a growing tensor": (
        model(helper.make_node("Loop", ["n", "c", "s"], ["y"], "y", body=IN_TURN),
              inputs={"s": (F, [2]), "c": (BOOL, [])}, outputs={"y": (F, [None])},
              n=i64(3).reshape(())),
        "the network", "a loop carries a tensor whose shape changes", "keep the shape the same",
    ),
    "branches of two ranks": (
        model(helper.make_node("If", ["c"], ["y"], "y", then_branch=branch("a", 2, 2),
                               else_branch=branch("b", 4)),
              inputs={"c": (BOOL, [])}, outputs={"y": (F, None)}),
        "the network", "its branches differ in rank", "give both the same rank",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_refused_in_words_at_its_node(fault: str, tmp_path: Path) -> None:
    made, node_, problem, way_out = FAULTS[fault]
    first, *_ = judged(made, tmp_path).errors
    assert first.node == node_
    assert problem in first.problem
    assert way_out in first.way_out
    for place in ("/_src", "Assertion", "Error Code", "checkMacros"):  # of NVIDIA's source
        assert place not in first.problem
    assert first.said


SOUND: dict[str, dict[str, Any]] = {
    "float64, which it takes for float32": {
        "nodes": [node("Abs", "x", "y")], "inputs": {"x": (F64, [1, 4])},
        "outputs": {"y": (F64, None)},
    },
    "uint8 to integers at the edge, which release 10 does not document": {
        "nodes": [node("Cast", "x", "a", to=I64), node("Cast", "a", "y", to=F)], "inputs": IMAGE,
    },
    "cubic": {
        "nodes": [node("Resize", "x - s", "y", mode="cubic")],
        "s": np.array([1, 1, 2, 2], np.float32),
    },
    "an opset that it does not know": {"nodes": [node("Relu", "x", "y")], "opset": 23},
    "a constant beyond 32 bits": {
        "nodes": [node("Cast", "x", "a", to=I64), node("Add", "a c", "b"),
                  node("Cast", "b", "y", to=F)], "c": i64(1 << 40),
    },
}  # fmt: skip


@pytest.mark.parametrize("case", SOUND)
def test_what_the_real_one_takes_is_taken(case: str, tmp_path: Path) -> None:
    how = dict(SOUND[case])
    assert judged(model(*how.pop("nodes"), **how), tmp_path).errors == ()


def test_weights_that_are_cut_short_are_named(tmp_path: Path) -> None:
    made = model(node("Add", "x c", "y"), c=f32(1, 4, 8, 12))
    made.graph.initializer[0].raw_data = b"123"
    first, *_ = judged(made, tmp_path).errors
    assert first.problem == "weights cannot be read: c"
