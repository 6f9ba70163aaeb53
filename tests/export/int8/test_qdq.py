"""Integers and scales by hand, and what the written graph computes with them."""

from __future__ import annotations

import os
import subprocess
import sys
from platform import machine

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from engines.openvino import import_openvino
from export.int8.layers import Graph
from export.int8.qdq import (
    EIGHT,
    SEVEN,
    Form,
    Plan,
    activation_scale,
    integer_weights,
    quantised_tensors,
    to_qdq,
)
from tests.export.int8.graphs import dense, network, run


def test_a_range_becomes_a_scale_and_a_zero_point() -> None:
    scale, zero = activation_scale((-2.0, 4.0), "int8")
    assert (float(scale), int(zero)) == pytest.approx((4 / 127, 0))  # symmetric: the larger side
    scale, zero = activation_scale((-2.0, 4.0), "uint8")
    assert (float(scale), int(zero)) == pytest.approx((6 / 255, 85))  # 2 / (6 / 255) = 85
    assert zero.dtype == np.uint8
    scale, zero = activation_scale((1.0, 5.1), "uint8")
    assert (float(scale), int(zero)) == pytest.approx((0.02, 0))  # 0 is always among the values
    scale, zero = activation_scale((0.0, 0.0), "int8")
    assert scale > 0  # a dead tensor


def test_weights_have_a_scale_for_each_output_channel() -> None:
    graph = Graph(
        network([("Conv", ["x", "w"], "y")], [1, 2, 1, 1], ["y"],
                w=dense([1.27, -0.635], [0, 0], [0.02, 2.54]))
    )  # fmt: skip
    whole, scales = integer_weights(graph.layers["y"], EIGHT)
    assert whole[:, :, 0, 0].tolist() == [[127, -64], [0, 0], [1, 127]]  # -63.5 to even
    np.testing.assert_allclose(scales[[0, 2]], [0.01, 0.02], rtol=1e-6)
    assert scales[1] > 0
    whole, scales = integer_weights(graph.layers["y"], SEVEN)
    assert np.abs(whole).max() == 63  # seven bits: 2 · 255 · 63 < 2^15


@pytest.mark.parametrize(("form", "step", "weight"), [("int8", 1.0, 1.0), ("uint8", 0.5, 1.0)])
def test_the_graph_computes_with_rounded_values(form: Form, step: float, weight: float) -> None:
    model = network(
        [("Conv", ["x", "w", "b"], "a"), ("Relu", ["a"], "c"), ("Conv", ["c", "v"], "y")],
        [1, 1, 1, 2], ["y"], w=dense([weight]), v=dense([3.0]), b=[10.0],
    )  # fmt: skip
    graph = Graph(model)
    top = 127.0 if form == "int8" else 127.5
    ranges = {"x": (0.0, top), "c": (0.0, 2 * top)}
    made = to_qdq(Plan(graph, {"y": ""}, ranges, form))
    onnx.checker.check_model(made, full_check=True)
    # 5.2 and 500 in steps: rounded, and cut at the end of the range; the bias stays float
    x = np.array([[[[5.2, 500.0]]]])
    y = run(made, x)["y"].ravel()
    hand = np.minimum(np.rint(np.array([5.2, 500.0]) / step) * step, top) + 10.0
    if form == "uint8":  # which writes what the layer gives in integers, too: steps of 1
        hand = np.rint(hand)
    np.testing.assert_allclose(y, 3 * hand, rtol=1e-5)


def test_biases_and_kept_layers_stay_float() -> None:
    model = network(
        [("Conv", ["x", "w", "b"], "a"), ("Conv", ["a", "w"], "y")],
        [1, 1, 1, 1], ["y"], w=dense([0.3]), b=[0.1],
    )  # fmt: skip
    made = to_qdq(Plan(Graph(model), {"y": ""}, {"x": (0.0, 1.0)}, "int8"))
    kinds = {t.name: numpy_helper.to_array(t).dtype for t in made.graph.initializer}
    assert kinds["b"] == np.float32
    assert kinds["w"] == np.float32  # for y, which reads it as it was
    conv = {n.name: list(n.input) for n in made.graph.node if n.op_type == "Conv"}
    assert conv == {"a": ["x/dequantised", "a/weights/dequantised", "b"], "y": ["a", "w"]}


def test_only_the_uint8_form_writes_integers_where_float_reads() -> None:
    model = network(
        [("Conv", ["x", "w"], "a"), ("Relu", ["a"], "b"), ("Conv", ["b", "w"], "y")],
        [1, 1, 1, 1], ["y"], w=dense([1.0]),
    )  # fmt: skip
    graph = Graph(model)
    assert quantised_tensors(graph, {"y"}, "int8") == {"x": {"a"}}
    assert quantised_tensors(graph, {"y"}, "uint8") == {"x": {"a"}, "b": {"y"}}


def behind_concat(form: Form, *between: str) -> onnx.ModelProto:
    """x and -x side by side, ``between``, and a convolution that takes both sides of it."""
    names = ["c", *(f"c{i}" for i in range(len(between)))]
    names[-1] = "a"
    model = network(
        [("Neg", ["x"], "n"), ("Concat", ["x", "n"], names[0], {"axis": 1}),
         *((op, [name], to) for op, name, to in zip(between, names, names[1:], strict=False)),
         ("Conv", ["a", "w"], "y"), ("Conv", ["y", "v"], "z")],
        [1, 2, 1, 64], ["z"], w=dense([1, 2, 0, 0.5], [0, 0.3, 0, 1]), v=dense([1, 0], [0, 1]),
    )  # fmt: skip
    return to_qdq(Plan(Graph(model), {"z": ""}, {"a": (-2.54, 1.0), "y": (-9, 9)}, form, SEVEN))


def test_a_clip_that_changes_nothing_stands_between_a_concat_and_symmetric_integers() -> None:
    made = behind_concat("int8")
    (clip,) = [n for n in made.graph.node if n.op_type == "Clip"]
    held = {t.name: numpy_helper.to_array(t) for t in made.graph.initializer}
    assert clip.input[0] == "a"
    ends = [float(held[name]) for name in clip.input[1:]]
    assert ends == pytest.approx([-2.54, 2.54])  # 127 steps of 0.02
    assert [n.op_type for n in made.graph.node if clip.output[0] in n.input] == ["QuantizeLinear"]
    assert not [n for n in behind_concat("uint8").graph.node if n.op_type == "Clip"]


def far_in_openvino(*between: str) -> float:
    """How far it is from what the graph says in OpenVINO, at most."""
    made, x = (
        behind_concat("int8", *between),
        np.linspace(-2, 2, 128, dtype=np.float32).reshape(1, 2, 1, 64),
    )
    core = import_openvino().Core()
    config = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(made.SerializeToString()), "CPU", config)
    return float(np.abs(compiled({"x": x})[0] - run(made, x)["z"]).max())


@pytest.mark.skipif(machine() != "x86_64", reason="plays a processor of x86 without AMX")
@pytest.mark.parametrize("isa", ["AVX2", "ALL"])
def test_openvino_computes_a_layer_behind_a_concat_as_the_graph_says(isa: str) -> None:
    """Without the Clip OpenVINO on AVX2 leaves of each number little more than its sign."""
    code = (
        "from tests.export.int8.test_qdq import far_in_openvino as far\n"
        "print(max(far(), far('Relu'), far('Identity'), far('Relu', 'Dropout')))"
    )
    environ = {**os.environ, "ONEDNN_MAX_CPU_ISA": isa}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 1e-3
