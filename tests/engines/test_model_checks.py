"""Hostile and damaged ONNX files: one short message, whatever is wrong inside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.errors import ModelError
from engines.model_file import load_model


def relu_then_add() -> onnx.ModelProto:
    """y = relu(x) + w, in nodes 'first' and 'second'."""
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], "first"),
        helper.make_node("Add", ["r", "w"], ["y"], "second"),
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [2]) for n in "xy")
    weight = numpy_helper.from_array(np.ones(2, np.float32), "w")
    graph = helper.make_graph(nodes, "graph", [x], [y], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def branch(value: str) -> onnx.GraphProto:
    """A branch that hands on a value of the graph around it."""
    out = helper.make_tensor_value_info("b", TensorProto.FLOAT, [2])
    return helper.make_graph([helper.make_node("Identity", [value], ["b"])], "branch", [], [out])


def choice(value: str) -> onnx.NodeProto:
    return helper.make_node(
        "If", ["x"], ["c"], "If", then_branch=branch("r"), else_branch=branch(value)
    )


def own_function(value: str) -> onnx.FunctionProto:
    body = [helper.make_node("Relu", [value], ["b"])]
    return helper.make_function("own", "f", ["a"], ["b"], body, [helper.make_opsetid("", 17)])


FAULTS: dict[str, Callable[[onnx.ModelProto], object]] = {
    "says opset 1000000000 of 'ai.onnx', wanted at most 1000": lambda m: setattr(
        m.opset_import[0], "version", 10**9
    ),
    "says opset -1 of": lambda m: setattr(m.opset_import[0], "version", -1),
    r"an operator that is called '\x1b[31mRelu'": lambda m: setattr(
        m.graph.node[0], "op_type", "\x1b[31mRelu"
    ),
    "its weight 'w' is of type 99": lambda m: setattr(m.graph.initializer[0], "data_type", 99),
    "its weight 'w' is of type 0": lambda m: setattr(m.graph.initializer[0], "data_type", 0),
    "its weight 'w' is of the shape [-3]": lambda m: m.graph.initializer[0].dims.__setitem__(0, -3),
    f"its weight 'w' is of the shape [{2**62}]": lambda m: m.graph.initializer[0].dims.__setitem__(
        0, 2**62
    ),
    f"is of the shape [2, {2**32}, 2]": lambda m: m.graph.initializer[0].dims.extend([2**32, 2]),
    "its weight 'w' has 100001 dim": lambda m: m.graph.initializer[0].dims.extend([1] * 100_000),
    "tensor 'x' of 100001 dimensions": lambda m: m.graph.input[0].type.tensor_type.shape.MergeFrom(
        helper.make_tensor_value_info("", 1, [1] * 100_000).type.tensor_type.shape
    ),
    "its tensor 'x' is of type 77": lambda m: setattr(
        m.graph.input[0].type.tensor_type, "elem_type", 77
    ),
    "its node 'first' needs what is made of its own result": lambda m: m.graph.node[
        0
    ].input.__setitem__(0, "y"),
    "its node 'second' needs what": lambda m: m.graph.node[1].input.__setitem__(0, "y"),
    "its node 'second' takes 'w', which is neither": lambda m: m.graph.ClearField("initializer"),
    "its node 'Identity' takes 'nobody'": lambda m: m.graph.node.append(choice("nobody")),
    "its node 'Relu' takes 'nobody'": lambda m: m.functions.append(own_function("nobody")),
    "has the output 'z', which nothing makes": lambda m: setattr(m.graph.output[0], "name", "z"),
    "has the tensor 'w' twice": lambda m: m.graph.initializer.append(m.graph.initializer[0]),
    "has the tensor 'x' twice": lambda m: m.graph.input.append(m.graph.input[0]),
    "has the tensor 'y' twice": lambda m: m.graph.node.append(m.graph.node[1]),
    "has the tensor 'r' twice": lambda m: setattr(m.graph.initializer[0], "name", "r"),
}


@pytest.mark.parametrize("said", FAULTS, ids=lambda said: said[:40])
def test_a_fault_of_the_structure_is_named_in_one_short_line(tmp_path: Path, said: str) -> None:
    path, model = tmp_path / "model.onnx", relu_then_add()
    FAULTS[said](model)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError) as caught:
        load_model(path)
    message = str(caught.value)
    assert said in message
    assert message.isprintable()
    assert len(message) < 500


def test_what_looks_odd_and_is_right_is_read(tmp_path: Path) -> None:
    """Nodes in any order, weights among the inputs (IR 3), outer values, inputs left out."""
    path, model = tmp_path / "model.onnx", relu_then_add()
    shape = helper.make_tensor_value_info("w", TensorProto.FLOAT, [2])
    model.graph.input.append(shape)
    model.graph.node.append(choice("w"))
    model.graph.node.append(helper.make_node("Resize", ["x", "", "w"], ["unused"]))
    last, *others = reversed(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([last, *others])
    model.functions.append(own_function("a"))
    model.opset_import.append(helper.make_opsetid("own", 0))
    path.write_bytes(model.SerializeToString())
    assert len(load_model(path).graph.node) == 4


def test_a_graph_in_a_graph_ten_thousand_deep_is_refused(tmp_path: Path) -> None:
    """Written by hand: protobuf's own writer stops at some thirty."""
    path, graph = tmp_path / "model.onnx", b""
    for _ in range(10_000):
        attribute = field(1, b"then_branch") + field(6, graph) + b"\xa0\x01\x05"
        graph = field(1, field(2, b"o") + field(4, b"If") + field(5, attribute))
    path.write_bytes(relu_then_add().SerializeToString() + field(7, graph))
    with pytest.raises(ModelError, match="not an ONNX model"):
        load_model(path)


def field(number: int, data: bytes) -> bytes:
    """A length-delimited field of protobuf."""
    length, size = b"", len(data)
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + data
