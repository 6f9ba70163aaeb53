"""Which layers stay float from the start, and what between int8 layers is int8, too."""

from __future__ import annotations

import numpy as np

from export.int8.layers import Graph
from tests.export.int8.graphs import dense, network

ONE = dense([1.0])


def test_the_last_layer_before_each_output_stays_float() -> None:
    graph = Graph(
        network(
            [("Conv", ["x", "w"], "a"), ("Relu", ["a"], "b"), ("Conv", ["b", "w"], "boxes"),
             ("Conv", ["b", "w"], "c"), ("Sigmoid", ["c"], "scores")],
            [1, 1, 4, 4], ["boxes", "scores"], w=ONE,
        )
    )  # fmt: skip
    assert list(graph.layers) == ["a", "boxes", "c"]
    assert list(graph.float_from_start()) == ["boxes", "c"]


def test_behind_a_softmax_the_layer_before_it_stays_float_too() -> None:
    """As in Ultralytics' boxes: a distribution, and a convolution of fixed weights for its mean."""
    graph = Graph(
        network(
            [("Conv", ["x", "w"], "a"), ("Conv", ["a", "w"], "logits"),
             ("Softmax", ["logits"], "shares", {"axis": 1}),
             ("Transpose", ["shares"], "turned", {"perm": [0, 1, 3, 2]}),
             ("Conv", ["turned", "w"], "mean")],
            [1, 1, 4, 4], ["mean"], w=ONE,
        )
    )  # fmt: skip
    assert list(graph.float_from_start()) == ["logits", "mean"]


def test_an_add_is_int8_only_between_int8_layers() -> None:
    graph = Graph(
        network(
            [("Conv", ["x", "w"], "a"), ("Add", ["x", "a"], "b"), ("Relu", ["b"], "c"),
             ("Conv", ["c", "w"], "d"), ("Add", ["d", "c"], "e"), ("Conv", ["e", "w"], "y")],
            [1, 1, 4, 4], ["y"], w=ONE,
        )
    )  # fmt: skip
    assert graph.int8_nodes({"y"}) == {"a", "b", "d"}  # e gives to the float y
    assert graph.int8_nodes({"y", "d"}) == {"a"}


def test_products_of_two_maps_are_no_layers() -> None:
    graph = Graph(network([("MatMul", ["x", "x"], "y")], [4, 4], ["y"], w=np.eye(4)))
    assert graph.layers == {}
    assert graph.float_from_start() == {}
