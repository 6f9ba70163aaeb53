"""Equalising changes no value that leaves the network, and evens the channels inside."""

from __future__ import annotations

import numpy as np
import onnx

from engines.base import Array
from export.int8.equalise import equalise
from export.int8.layers import Graph
from tests.export.int8.graphs import Node, dense, network, run

RNG = np.random.default_rng(1)
X = RNG.normal(size=(1, 3, 6, 6)).astype(np.float32)


def peaks(model: onnx.ModelProto) -> dict[str, Array]:
    """Of every map, on ``X``."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    known = {o.name for o in copy.graph.output}
    for node in model.graph.node:
        if node.output[0] not in known:
            kind = onnx.TensorProto.FLOAT
            copy.graph.output.append(onnx.helper.make_tensor_value_info(node.output[0], kind, None))
    return {n: np.abs(v).max(axis=(0, 2, 3)) for n, v in run(copy, X).items()}


def test_a_whole_block_says_what_it_said() -> None:
    """Pointwise, depthwise with padding, an add, a mean over the map, groups of two."""
    nodes: list[Node] = [
        ("Conv", ["x", "wide", "bias"], "a"), ("Relu", ["a"], "b"),
        ("Conv", ["b", "deep"], "c", {"group": 4, "pads": [1, 1, 1, 1]}),
        ("Conv", ["c", "square"], "d"), ("Add", ["b", "d"], "e"),
        ("ReduceMean", ["e"], "m", {"axes": [2, 3]}), ("Conv", ["m", "square"], "n"),
        ("Add", ["e", "n"], "f"), ("Conv", ["f", "halves"], "g", {"group": 2}),
        ("Relu", ["g"], "h"), ("Conv", ["h", "last"], "y"),
    ]  # fmt: skip
    model = network(
        nodes, [1, 3, 6, 6], ["y"],
        wide=RNG.normal(size=(4, 3, 1, 1)) * np.array([1, 50, 0.02, 1])[:, None, None, None],
        bias=np.abs(RNG.normal(size=4)), deep=RNG.normal(size=(4, 1, 3, 3)),
        square=RNG.normal(size=(4, 4, 1, 1)), halves=RNG.normal(size=(4, 2, 1, 1)),
        last=RNG.normal(size=(2, 4, 1, 1)),
    )  # fmt: skip
    before = peaks(model)
    even = equalise(Graph(model), before).model
    y = run(model, X)["y"]
    np.testing.assert_allclose(run(even, X)["y"], y, rtol=1e-4, atol=1e-5 * np.abs(y).max())
    after = peaks(even)
    for name in ("c", "d"):
        spread = [np.ptp(np.log(np.maximum(p[name], 1e-3))) for p in (after, before)]
        assert spread[0] < spread[1], name


def test_before_filters_of_their_own_channels_become_equal() -> None:
    """4 and 1 before a depthwise layer: it takes any gain, so both end at the larger."""
    model = network(
        [("Conv", ["x", "w"], "a"), ("Conv", ["a", "deep"], "y", {"group": 2})],
        [1, 1, 1, 1], ["y"], w=dense([4.0], [1.0]), deep=[[[[1.0]]], [[[1.0]]]],
    )  # fmt: skip
    even = equalise(Graph(model), {"a": np.array([4.0, 1.0])})
    assert even.layers["a"].weights.ravel().tolist() == [4.0, 4.0]
    assert even.layers["y"].weights.ravel().tolist() == [1.0, 0.25]


def test_limits_outputs_and_other_readers_hold_channels_as_they_are() -> None:
    for reader in (("Sigmoid", ["a"], "s"), ("Clip", ["a", "low", "high"], "s")):
        model = network(
            [("Conv", ["x", "w"], "a"), reader, ("Conv", ["s", "v"], "y")],
            [1, 1, 1, 1], ["y"], w=dense([4.0], [1.0]), v=dense([1.0, 1.0]),
            low=np.float32(0), high=np.float32(6),
        )  # fmt: skip
        even = equalise(Graph(model), {"a": np.array([4.0, 1.0]), "s": np.ones(2)})
        assert even.layers["a"].weights.ravel().tolist() == [4.0, 1.0]
    model = network(
        [("Conv", ["x", "w"], "a"), ("Conv", ["a", "v"], "y")],
        [1, 1, 1, 1], ["a", "y"], w=dense([4.0], [1.0]), v=dense([1.0, 1.0]),
    )  # fmt: skip
    even = equalise(Graph(model), {"a": np.array([4.0, 1.0])})
    assert even.layers["a"].weights.ravel().tolist() == [4.0, 1.0]


def test_a_channel_that_the_frames_do_not_show_is_not_blown_up() -> None:
    model = network(
        [("Conv", ["x", "w"], "a"), ("Conv", ["a", "deep"], "y", {"group": 2})],
        [1, 1, 1, 1], ["y"], w=dense([1.0], [1.0]), deep=[[[[1.0]]], [[[1.0]]]],
    )  # fmt: skip
    even = equalise(Graph(model), {"a": np.array([1.0, 0.0])})
    np.testing.assert_allclose(even.layers["a"].weights.ravel(), [1.0, 100.0])  # MOST
