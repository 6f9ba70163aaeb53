"""True half: rounded after every node, infinite beyond 65504, and named where that begins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engines import open_engine
from engines.errors import EngineError, ExportError, ModelError
from engines.model_file import save_model
from export.fp16.typed import to_float16
from export.onnx.graph import name_nodes
from export.onnx.half import HalfNet, open_half
from tests.export.planted import gain, plant
from tests.tiny_models import grey, paint, tiny_street

H, F = TensorProto.FLOAT16, TensorProto.FLOAT


def net(nodes: list[onnx.NodeProto], *, size: int = 4, **constants: object) -> HalfNet:
    """A graph from x float32 (size,) to y float32 (size,)."""
    graph = helper.make_graph(
        nodes,
        "half",
        [helper.make_tensor_value_info("x", F, [size])],
        [helper.make_tensor_value_info("y", F, [size])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    return HalfNet(helper.make_model(graph, opset_imports=opset, ir_version=8), origin="a test")


def cast(x: str, y: str, to: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [x], [y], to=to)


@settings(deadline=None, max_examples=50)
@given(arrays(np.float32, 4, elements=st.floats(-3e5, 3e5, width=32)))
def test_it_computes_what_numpy_does_in_half_step_by_step(x: NDArray[np.float32]) -> None:
    a, b = np.float16(1.2345), np.float16(-7.5)
    with np.errstate(all="ignore"):
        first = x.astype(np.float16)
        second = (first.astype(np.float32) * np.float32(a)).astype(np.float16)
        wanted = (second.astype(np.float32) + np.float32(b)).astype(np.float16)
    made = HALF_CHAIN.run({"x": x})
    np.testing.assert_array_equal(made.outputs["y"], wanted.astype(np.float32))
    assert bool(made.overflowed) == (not np.isfinite(wanted).all())


HALF_CHAIN = net(
    [
        cast("x", "h", H),
        helper.make_node("Mul", ["h", "a"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["s"]),
        cast("s", "y", F),
    ],
    a=np.float16(1.2345),
    b=np.float16(-7.5),
)


def test_a_value_beyond_65504_is_infinite_although_the_output_would_be_small_again() -> None:
    made = net(
        [
            cast("x", "h", H),
            helper.make_node("Mul", ["h", "k"], ["large"]),
            helper.make_node("Div", ["large", "k"], ["small"]),
            cast("small", "y", F),
        ],
        k=np.float16(1000),
    ).run({"x": np.array([65, 66, -66, 0], np.float32)})
    # 65 · 1000 fits; 66 · 1000 is past 65504 and stays infinite
    assert made.outputs["y"].tolist() == [65.0, np.inf, -np.inf, 0.0]
    assert made.overflowed == ("large", "small")


def test_an_output_that_hides_the_infinity_is_named_all_the_same() -> None:
    made = net(
        [
            cast("x", "h", H),
            helper.make_node("Mul", ["h", "h"], ["square"]),
            helper.make_node("Sigmoid", ["square"], ["s"]),
            cast("s", "y", F),
        ]
    ).run({"x": np.array([300, 0, 0, 0], np.float32)})  # 300² = 90000, its sigmoid is 1 either way
    assert made.outputs["y"].tolist() == [1.0, 0.5, 0.5, 0.5]
    assert made.overflowed == ("square",)


def test_nodes_in_float32_are_not_rounded() -> None:
    made = net(
        [helper.make_node("Mul", ["x", "k"], ["m"]), helper.make_node("Div", ["m", "k"], ["y"])],
        k=np.float32(1000),
    ).run({"x": np.array([66, 1 + 2**-20, 0, -1], np.float32)})
    np.testing.assert_allclose(made.outputs["y"], [66, 1 + 2**-20, 0, -1], rtol=1e-7)
    assert made.overflowed == ()


def test_small_numbers_lose_digits_and_then_vanish() -> None:
    made = net([cast("x", "h", H), cast("h", "y", F)]).run(
        {"x": np.array([2**-14, 2**-24, 2**-26, 1.5 * 2**-24], np.float32)}
    )
    # the smallest half is 2^-24; halfway between two of them goes to the even one
    assert made.outputs["y"].tolist() == [2**-14, 2**-24, 0.0, 2**-23]


@pytest.fixture
def overflowing(tmp_path: Path) -> Path:
    """The tiny street in FP16 throughout; its image passes 255000 on its way: ·1000, then ·1/1000.

    The second gain's weights are halves near 1/1000, so its outputs are not far from before.
    """
    tiny_street(tmp_path / "fp32.onnx")
    planted = plant(
        tmp_path / "fp32.onnx",
        tmp_path / "planted.onnx",
        behind="Transpose",
        steps=[gain(1000), gain(1 / 1000)],
    )
    model = onnx.load(planted)
    name_nodes(model)
    save_model(to_float16(model, (), origin="a test"), tmp_path / "overflows.onnx")
    return tmp_path / "overflows.onnx"


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_cpu_runtimes_hide_an_overflow_that_half_shows(overflowing: Path, engine: str) -> None:
    image = paint(grey(75), (32, 0, 64, 32), 0)  # blue, 255: past 65504 after the gain
    opened, half = open_engine(overflowing, engine=engine, precision="f32"), open_half(overflowing)
    reference = open_engine(overflowing.with_name("fp32.onnx"), engine=engine, precision="f32")
    made = []
    for one in (opened, half, reference):
        one.inputs(0)["image"][0] = image
        one.submit(0)
        made.append({k: v.copy() for k, v in one.wait(0).items()})
        if one is not half:
            one.close()
    of_runtime, of_half, wanted = made
    for name in ("boxes_8", "boxes_16", "boxes_32"):
        np.testing.assert_allclose(of_runtime[name], wanted[name], atol=0.05)
    np.testing.assert_array_equal(of_runtime["labels"], wanted["labels"])
    assert not np.isfinite(of_half["boxes_32"]).all()
    assert half.overflowed[0] == "planted_0"


def test_a_graph_within_a_graph_is_refused() -> None:
    inner = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["z"])],
        "inner",
        [],
        [helper.make_tensor_value_info("z", F, [4])],
    )
    branch = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    with pytest.raises(ExportError, match="nested graphs"):
        net([branch], c=np.bool_(True))


def test_types_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ExportError, match="contradict"):
        net([cast("x", "h", H), helper.make_node("Add", ["h", "x"], ["y"])])
    with pytest.raises(ExportError, match="or are unknown: Invalid tensor data type 0"):
        net([cast("x", "y", 0)])


def test_an_operator_that_onnx_does_not_define_is_refused() -> None:
    with pytest.raises(ExportError, match="unknown"):
        net([helper.make_node("Own", ["x"], ["m"], domain="mine"), cast("m", "y", F)])


def test_the_engine_keeps_to_the_protocol_of_slots(tmp_path: Path) -> None:
    tiny_street(tmp_path / "a.onnx")
    engine = open_half(tmp_path / "a.onnx")
    assert (engine.name, engine.precision, engine.slots) == ("half", "f16", 1)
    with pytest.raises(EngineError, match="not submitted"):
        engine.wait(0)
    engine.submit(0)
    with pytest.raises(EngineError, match="twice"):
        engine.submit(0)
    outputs = engine.wait(0)
    assert set(outputs) == {"boxes_8", "boxes_16", "boxes_32", "labels"}
    assert not outputs["labels"].flags.writeable
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.inputs(0)


def test_a_file_whose_tensors_are_not_its_specs_is_refused(tmp_path: Path) -> None:
    from dataclasses import replace

    spec = tiny_street(tmp_path / "a.onnx")
    wrong = replace(spec, outputs=(replace(spec.outputs[0], name="other"), *spec.outputs[1:]),
                    detection=None)  # fmt: skip
    tiny_street(tmp_path / "a.onnx", spec=wrong)
    with pytest.raises(ModelError, match="no output 'other'"):
        open_half(tmp_path / "a.onnx")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model file"):
        open_half(tmp_path / "none.onnx")
