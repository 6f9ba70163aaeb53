"""Restrictions of single operators: each has a graph that breaks it and one that keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from export.tensorrt.check.operators import RELEASES, release
from export.tensorrt.check.rules import RULES
from tests.export.trt_graphs import BOOL, I64, F, H, check, f32, found, i64, model, node


def one(
    op: str,
    inputs: str = "x",
    outputs: str = "y",
    *,
    also: Mapping[str, Any] | None = None,
    shape: list[int | str | None] | None = None,
    kind: int = F,
    made: int = F,
    opset: int = 17,
    **how: Any,
) -> onnx.ModelProto:
    """A graph of the one node and the constants that it reads."""
    names = outputs.split()
    shape = [1, 4, 8, 12] if shape is None else shape
    return model(
        node(op, inputs, outputs, **how),
        inputs={"x": (kind, shape)},
        outputs={names[0]: (made, None)},
        opset=opset,
        **dict(also or {}),
    )


def computed(op: str, kind: int = F, **how: Any) -> onnx.ModelProto:
    """``op`` of x with a second input that the graph computes from another input."""
    return model(
        node("Abs", "n", "m"),
        node(op, how.pop("inputs", "x m"), "y", **how),
        inputs={"x": (kind, [1, 4, 8, 12]), "n": (I64, [1])},
        outputs={"y": (kind, None)},
        opset=18,
    )


def lstm(op: str = "LSTM", **how: Any) -> onnx.ModelProto:
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    ways = 2 if how.get("direction") == "bidirectional" else 1
    weights = {"w": f32(ways, gates * 2, 3), "r": f32(ways, gates * 2, 2)}
    return one(op, "x w r", "y", also=weights, shape=[5, 1, 3], hidden_size=2, **how)


def scales(*values: float) -> dict[str, Any]:
    return {"s": np.array(values, np.float32)}


def resize(opset: int = 19, **how: Any) -> onnx.ModelProto:
    return one("Resize", "x - s", "y", also=scales(1, 1, 2, 2), opset=opset, **how)


def branches(names: tuple[str, str], ranks: tuple[int, int] = (4, 4)) -> onnx.ModelProto:
    """An If whose branches give ``names`` of ``ranks``; the second one flattens to less."""
    graphs = []
    for name, rank in zip(names, ranks, strict=True):
        op = node("Relu", "x", name) if rank == 4 else node("Flatten", "x", name)
        out = helper.make_tensor_value_info(name, F, [1, 4, 8, 12] if rank == 4 else [1, 384])
        graphs.append(helper.make_graph([op], name, [], [out]))
    return model(
        node("If", "c", "y", then_branch=graphs[0], else_branch=graphs[1]),
        inputs={"x": (F, [1, 4, 8, 12]), "c": (BOOL, [])},
    )


def loop(*, trips: bool, stacked: bool = True, grows: bool = False) -> onnx.ModelProto:
    """A Loop that carries a row and stacks it; ``trips`` tells whether their count is constant."""
    width = 8 if grows else 4
    step = node("Concat", "v v", "w", axis=1) if grows else node("Relu", "v", "w")
    nodes = [node("Identity", "c", "again"), step]
    value = helper.make_tensor_value_info
    outs = [value("again", BOOL, []), value("w", F, [1, width])]
    if stacked:
        nodes.append(node("Identity", "w", "row"))
        outs.append(value("row", F, [1, width]))
    ins = [value("i", I64, []), value("c", BOOL, []), value("v", F, [1, 4])]
    body = helper.make_graph(nodes, "body", ins, outs)
    inputs: dict[str, Any] = {
        "x": (F, [1, 4]),
        "go": (BOOL, []),
        **({} if trips else {"n": (I64, [])}),
    }
    constants: dict[str, Any] = {"n": np.array(3, np.int64)} if trips else {}
    return model(
        node("Loop", "n go x", "y rows" if stacked else "y", body=body),
        inputs=inputs,
        outputs={"y": (F, [1, width])},
        **constants,
    )


def norm(statistics: Any = np.float32, **how: Any) -> onnx.ModelProto:
    constants: dict[str, Any] = {
        "a": np.ones(4, np.float16), "b": np.ones(4, np.float16),
        "m": np.ones(4, statistics), "v": np.ones(4, statistics),
    }  # fmt: skip
    return one("BatchNormalization", "x a b m v", "y", also=constants, kind=H, made=H, **how)


def quantised(zero: int | None, op: str = "QuantizeLinear") -> onnx.ModelProto:
    constants: dict[str, Any] = {"s": np.array(0.1, np.float32)}
    if zero is not None:
        constants["z"] = np.array(zero, np.int8)
    pair = [
        node("QuantizeLinear", "x s z" if zero is not None else "x s", "q"),
        node("DequantizeLinear", "q s z" if zero is not None else "q s", "y"),
    ]
    return model(*pair, **constants)


POOL: dict[str, Any] = {"kernel_shape": [2, 2]}
AXES = {"a": i64(1)}
BREAKS: dict[str, tuple[str, onnx.ModelProto]] = {
    "1d pooling": ("spatial-2-or-3", one("MaxPool", shape=[1, 4, 8], kernel_shape=[2])),
    "dilated max": ("dilations-1", one("MaxPool", dilations=[2, 2], **POOL)),
    "dilated mean": ("dilations-1", one("AveragePool", dilations=[2, 1], opset=19, **POOL)),
    "dilated norm": ("dilations-1", one("LpPool", dilations=[1, 2], opset=18, **POOL)),
    "indices": ("no-indices", one("MaxPool", outputs="y i", **POOL)),
    "sparse constant": (
        "dense-numbers",
        model(node("Constant", "", "k", value_string="text"), node("Relu", "x", "y")),
    ),
    "computed sum axis": (
        "initializer:axis",
        model(
            node("Abs", "n", "m"),
            node("CumSum", "x m", "y"),
            inputs={"x": (F, [1, 4]), "n": (I64, [])},
        ),
    ),
    "computed reduced axes": ("initializer:axes", computed("ReduceMean")),
    "computed padded axes": (
        "initializer:axes",
        model(
            node("Abs", "n", "m"),
            node("Pad", "x p - m", "y"),
            inputs={"x": (F, [1, 4]), "n": (I64, [1])},
            opset=18,
            p=i64(1, 1),
        ),
    ),
    "computed squeezed axes": ("initializer:axes", computed("Squeeze")),
    "computed new axes": ("constant:axes", computed("Unsqueeze")),
    "computed depth": (
        "constant:depth",
        model(
            node("Abs", "n", "m"),
            node("OneHot", "n m v", "y"),
            inputs={"n": (I64, [1])},
            v=np.array([0, 1], np.float32),
        ),
    ),
    "asymmetric int8": ("zero:y_zero_point", quantised(3)),
    "training dropout": (
        "no-training",
        one("Dropout", "x r t", also={"r": np.float32(0.5) * f32(), "t": np.array(True)}),
    ),
    "training norm": ("no-training-mode", norm(np.float16, training_mode=1)),
    "mixed norm": ("one-type", norm(np.float32)),
    "eye of open size": (
        "static-input",
        model(node("EyeLike", "x", "y", dtype=F), inputs={"x": (F, ["n", 4])}),
    ),
    "hardmax along an open axis": (
        "static-axis",
        model(node("Hardmax", "x", "y", axis=1), inputs={"x": (F, [1, "n"])}),
    ),
    "sampled volume": (
        "rank-4",
        one(
            "GridSample", "x g", also={"g": f32(1, 2, 2, 2, 3)}, shape=[1, 1, 2, 2, 2], opset=20,
            mode="linear",
        ),
    ),
    "lopsided lstm": (
        "same-activations",
        lstm(
            direction="bidirectional",
            activations=["Sigmoid", "Tanh", "Tanh", "Sigmoid", "Relu", "Tanh"],
        ),
    ),
    "lopsided gru": (
        "same-activations",
        lstm("GRU", direction="bidirectional", activations=["Sigmoid", "Tanh", "Tanh", "Tanh"]),
    ),
    "lopsided rnn": (
        "same-activations",
        lstm("RNN", direction="bidirectional", activations=["Tanh", "Relu"]),
    ),
    "coupled gates": ("no-input-forget", lstm(input_forget=1)),
    "batch first": ("no-layout", lstm(layout=1)),
    "one name in both branches": ("branches-alike", branches(("o", "o"))),
    "branches of two ranks": ("branches-alike", branches(("o", "p"), (4, 2))),
    "stacked without a count": ("static-scan", loop(trips=False)),
    "growing state": ("static-carried", loop(trips=True, stacked=False, grows=True)),
    "mean beside": (
        "first-output-only",
        one("LayerNormalization", "x s", "y m", also={"s": f32(12)}),
    ),
    "cubic": ("resize-mode", resize(mode="cubic")),
    "symmetric half pixel": (
        "resize-coordinates",
        resize(mode="linear", coordinate_transformation_mode="half_pixel_symmetric"),
    ),
    "aspect kept": (
        "resize-aspect",
        one(
            "Resize", "x - - z", "y", also={"z": i64(16, 16)}, opset=19, axes=[2, 3],
            keep_aspect_ratio_policy="not_larger",
        ),
    ),
    "two scales": (
        "resize-axes",
        one("Resize", "x - s", "y", also=scales(2, 2), opset=19, axes=[2, 3]),
    ),
    "antialiased": ("no-antialias", resize(mode="linear", antialias=1)),
    "adding scatter": (
        "no-reduction",
        one(
            "ScatterND", "x i u", also={"i": i64(0).reshape(1, 1), "u": f32(1, 4, 8, 12)},
            opset=18, reduction="add",
        ),
    ),
    "unsorted": (
        "sorted",
        one("TopK", "x k", "y i", also={"k": i64(2)}, sorted=0),
    ),
    "too many": (
        "k-below-3840",
        one("TopK", "x k", "y i", also={"k": i64(3840)}, shape=[1, 5000]),
    ),
    "uneven pads": (
        "symmetric-pads",
        one(
            "DeformConv", "x w o", also={"w": f32(2, 4, 3, 3), "o": f32(1, 18, 7, 10)},
            opset=19, pads=[1, 0, 0, 0], kernel_shape=[3, 3],
        ),
    ),
}  # fmt: skip
"""By what is wrong: the rule that finds it, and the graph."""


@pytest.mark.parametrize("fault", BREAKS)
def test_each_fault_is_found_with_its_node_and_a_way_out(fault: str) -> None:
    rule, made = BREAKS[fault]
    findings = [f for f in check(made).findings if f.rule == rule]
    assert findings, check(made).findings
    for finding in findings:
        assert finding.level == "error"
        assert finding.node in {n.name for n in made.graph.node}
        assert finding.problem
        assert finding.way_out
    others = {f.rule for f in check(made).errors} - {rule, "zero:x_zero_point", "shape", "typing"}
    assert others == set()


KEEPS: dict[str, onnx.ModelProto] = {
    "plain pooling": one("MaxPool", dilations=[1, 1], **POOL),
    "volume pooling": one("AveragePool", shape=[1, 4, 8, 8, 8], kernel_shape=[2, 2, 2]),
    "reduced axes": one("ReduceMean", "x a", also=AXES, opset=18),
    "reduced attribute": one("ReduceMean", axes=[1]),
    "axes of a Constant": model(
        node("Constant", "", "a", value_ints=[1]), node("ReduceSum", "x a", "y")
    ),
    "no axes": one("ReduceMean", opset=18),
    "squeezed": one("Squeeze", "x a", also={"a": i64(0)}),
    "new axis": one("Unsqueeze", "x a", also=AXES),
    "new axis, folded": model(
        node("Neg", "b", "a"),
        node("Unsqueeze", "x a", "y"),
        outputs={"y": (F, [1, 1, 4, 8, 12])},
        b=i64(-1),
    ),
    "symmetric int8": quantised(0),
    "dropout at rest": one(
        "Dropout", "x r t", also={"r": np.array(0.5, np.float32), "t": np.array(False)}
    ),
    "norm": norm(np.float16),
    "lstm": lstm(),
    "two directions alike": lstm(
        direction="bidirectional", activations=["Sigmoid", "Tanh", "Tanh"] * 2
    ),
    "gru": lstm("GRU"),
    "branches": branches(("o", "p")),
    "counted loop": loop(trips=True),
    "layer norm": one("LayerNormalization", "x s", also={"s": f32(12)}),
    "nearest": resize(mode="nearest", nearest_mode="floor"),
    "linear with any nearest_mode": resize(mode="linear", nearest_mode="round_prefer_floor"),
    "top": one("TopK", "x k", "y i", also={"k": i64(2)}),
    "scatter": one(
        "ScatterND", "x i u", also={"i": i64(0).reshape(1, 1), "u": f32(1, 4, 8, 12)}, opset=18
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", KEEPS)
@pytest.mark.parametrize("trt", RELEASES)
def test_what_keeps_to_the_rules_raises_no_alarm(case: str, trt: str) -> None:
    onnx.checker.check_model(KEEPS[case], full_check=True)
    assert check(KEEPS[case], trt).findings == ()


def test_every_rule_of_every_release_is_known_and_broken_by_a_test() -> None:
    named = {r for trt in RELEASES for e in release(trt).operators.values() for r in e.rules}
    plain = {r for r in named if ":" not in r}
    assert plain <= set(RULES)
    assert set(RULES) - plain == {"no-training-mode", "one-type"}  # beyond the table
    untested = {"seed-ignored", "spatial-1-or-2", "resize-nearest"}
    # the first is below; the others cannot be broken in a graph that ONNX allows
    assert {r for r, _ in BREAKS.values()} >= plain - untested
    assert {r.partition(":")[0] for r in named if ":" in r} == {"initializer", "constant", "zero"}


def test_a_seed_is_a_warning() -> None:
    made = one("RandomNormalLike", seed=1.0)
    report = check(made)
    assert report.taken
    assert [(f.level, f.rule, f.node) for f in report.findings] == [
        ("warning", "seed-ignored", "y")
    ]


@pytest.mark.parametrize(
    ("fault", "since"),
    [
        ("mixed norm", "10.16"),
        ("computed padded axes", "10.16"),
        ("computed sum axis", None),
        ("cubic", None),
    ],
)
def test_what_a_later_release_takes_is_no_fault_there(fault: str, since: str | None) -> None:
    rule, made = BREAKS[fault]
    assert rule in {f.rule for f in check(made, "10.3").errors}
    later = {f.rule.partition(":")[2] or f.rule for f in check(made, "10.16").errors}
    assert ((rule.partition(":")[2] or rule) in later) == (since is None)


def test_folded_constants_are_enough_for_a_later_squeeze() -> None:
    made = model(node("Neg", "b", "a"), node("Squeeze", "x a", "y"), b=i64(0))
    assert found(made, "10.3") == [("initializer:axes", "y")]
    assert found(made, "10.16") == []


def test_a_fault_in_a_branch_is_named_with_the_node_that_holds_it() -> None:
    made = branches(("o", "p"))
    then = next(a for a in made.graph.node[0].attribute if a.name == "then_branch").g
    del then.node[:]
    then.node.extend([node("MaxPool", "x", "o q", kernel_shape=[1, 1])])
    assert found(made) == [("no-indices", "y/o")]


def test_of_a_constant_condition_one_branch_is_read() -> None:
    made = branches(("o", "p"), (4, 2))
    del made.graph.input[1]
    made.graph.initializer.append(numpy_helper.from_array(np.array(True), "c"))
    assert found(made) == []


def test_shapes_that_nobody_knows_raise_no_alarm() -> None:
    made = model(
        node("Reshape", "x n", "z"),
        node("GridSample", "z g", "y"),
        inputs={"x": (F, [1, 4]), "n": (I64, [4]), "g": (F, [1, 2, 2, 2])},
    )
    assert "rank-4" not in {f.rule for f in check(made).findings}
