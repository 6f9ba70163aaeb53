"""Bias correction: what int8 adds to a convolution's mean output is taken off its bias.

Every convolution runs beside its int8 self on the same float input (Nagel et al., arXiv 1906.04721,
section 4.2, measured rather than derived): padding is counted as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edge.progress import counted
from engines.base import Array
from export.int8.layers import Graph
from export.int8.qdq import Pairs, Plan
from export.int8.ranges import watching
from export.onnx.session import run_session


def corrected(graph: Graph, shifts: Mapping[str, Array]) -> Graph:
    """The graph with the biases of the layers in ``shifts`` that much lower."""
    made = onnx.ModelProto()
    made.CopyFrom(graph.model)
    for node in made.graph.node:
        if node.name in shifts:
            old = numpy_helper.to_array(graph.constants[node.input[2]]) if node.input[2:] else 0.0
            name = f"{node.name}/bias/corrected"
            values = (old - shifts[node.name]).astype(np.float32)
            made.graph.initializer.append(numpy_helper.from_array(values, name))
            del node.input[2:]
            node.input.append(name)
    return Graph(made)


def mean_shifts(
    plan: Plan, feeds: Sequence[Mapping[str, Array]], *, origin: str
) -> dict[str, Array]:
    """Mean of int8 minus float by output channel, (C_out,), of each convolution that is not kept.

    Raises:
        ExportError: the graph cannot be run.
    """
    graph = plan.graph
    layers = [
        layer
        for layer in graph.layers.values()
        if layer.name not in plan.kept
        and layer.node.op_type == "Conv"
        and all(name in graph.constants for name in layer.node.input[2:])
    ]
    means = {layer.name: f"{layer.name}/shift" for layer in layers}
    pairs = Pairs(plan)
    for layer in layers:
        node = layer.node
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name = copy.output[0] = at = f"{layer.name}/beside"
        copy.input[0] = pairs.of_map(node.input[0])
        copy.input[1] = pairs.of_weights(layer)
        pairs.nodes += [
            copy,
            helper.make_node("Sub", [at, node.output[0]], [f"{at}/off"]),
            helper.make_node("GlobalAveragePool", [f"{at}/off"], [means[layer.name]]),
        ]
    beside = onnx.ModelProto()
    beside.CopyFrom(graph.model)
    pairs.write(beside.graph)
    session = watching(beside, means.values(), origin=origin)
    found: dict[str, Array] = {}
    for feed in counted(feeds, "correcting biases", total=len(feeds)):
        made = run_session(session, feed, origin=origin)
        for layer_name, mean in means.items():
            shift = made[mean].mean(axis=0).ravel()  # (N, C_out, 1, ...) -> (C_out,)
            found[layer_name] = found.get(layer_name, 0.0) + shift / len(feeds)
    return found
