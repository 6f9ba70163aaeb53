"""Correcting a bias takes back what integers add to a layer's mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from export.int8.biases import corrected, mean_shifts
from export.int8.layers import Graph
from export.int8.qdq import Form, Plan, to_qdq
from tests.export.int8.graphs import Node, dense, network, run

FORMS: list[Form] = ["int8", "uint8"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bias", [[], ["b"]])
def test_the_mean_comes_back(form: Form, bias: list[str]) -> None:
    """0.4 of the second weight's step is rounded away: the mean is off by that times the input."""
    nodes: list[Node] = [("Conv", ["x", "w", *bias], "a"), ("Conv", ["a", "v"], "y")]
    most = 127 if form == "int8" else 63
    constants = {"b": np.array([0.7])} if bias else {}
    model = network(
        nodes, [1, 2, 1, 3], ["a", "y"], w=dense([most, 0.4]), v=dense([1.0]), **constants
    )
    x = np.array([[[[0.0, 1.0, 2.0]], [[10.0, 11.0, 12.0]]]], np.float32)
    ranges = {"x": (0.0, 127.0 if form == "int8" else 255.0), "a": (0.0, 1000.0)}
    graph = Graph(model)
    plan = Plan(graph, {"y": "it is the last"}, ranges, form, most)
    true = run(model, x)["a"].mean()
    made = run(to_qdq(plan), x)["a"].mean()
    assert true - made == pytest.approx(0.4 * 11, rel=1e-4)
    shifts = mean_shifts(plan, [{"x": x}], origin="a test")
    assert list(shifts) == ["a"]
    better = corrected(graph, shifts)
    assert run(to_qdq(replace(plan, graph=better)), x)["a"].mean() == pytest.approx(true, rel=1e-5)
    # the float layer's is as it was
    assert list(better.layers["y"].node.input) == ["a", "v"]
