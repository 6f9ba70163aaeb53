"""Bias correction: what int8 adds to a convolution's mean output is taken off its bias.

Every convolution runs beside its int8 self on the same float input (Nagel et al., arXiv 1906.04721,
section 4.2, measured rather than derived): padding is counted as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edge.progress import counted
from engines.base import Array
from export.int8.layers import Graph, Layer
from export.int8.qdq import Form, Range, activation_scale, integer_weights
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
    graph: Graph,
    kept: Collection[str],
    ranges: Mapping[str, Range],
    form: Form,
    feeds: Sequence[Mapping[str, Array]],
    *,
    origin: str,
) -> dict[str, Array]:
    """Mean of int8 minus float by output channel, (C_out,), of each convolution that is not kept.

    Raises:
        ExportError: the graph cannot be run.
    """
    layers = [
        layer
        for layer in graph.layers.values()
        if layer.name not in kept and layer.node.op_type == "Conv" and _has_known_bias(layer, graph)
    ]
    beside = onnx.ModelProto()
    beside.CopyFrom(graph.model)
    means = {layer.name: f"{layer.name}/shift" for layer in layers}
    for layer in layers:
        at, node = f"{layer.name}/beside", layer.node
        scale, zero = activation_scale(ranges[node.input[0]], form)
        whole, scales = integer_weights(layer, form)
        constants = {"scale": scale, "zero": zero, "whole": whole, "scales": scales}
        beside.graph.initializer.extend(
            numpy_helper.from_array(value, f"{at}/{key}") for key, value in constants.items()
        )
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name, copy.output[0] = at, f"{at}/y"
        copy.input[0], copy.input[1] = f"{at}/x", f"{at}/w"
        pair = [f"{at}/scale", f"{at}/zero"]
        axes = [0, *range(2, layer.weights.ndim)]
        beside.graph.node.extend(
            (
                helper.make_node("QuantizeLinear", [node.input[0], *pair], [f"{at}/q"]),
                helper.make_node("DequantizeLinear", [f"{at}/q", *pair], [f"{at}/x"]),
                helper.make_node(
                    "DequantizeLinear", [f"{at}/whole", f"{at}/scales"], [f"{at}/w"], axis=0
                ),
                copy,
                helper.make_node("Sub", [f"{at}/y", node.output[0]], [f"{at}/off"]),
                _mean(f"{at}/off", means[layer.name], axes, beside),
            )
        )
    session = watching(beside, means.values(), origin=origin)
    found: dict[str, Array] = {}
    for feed in counted(feeds, "correcting biases", total=len(feeds)):
        made = run_session(session, feed, origin=origin)
        for layer_name, mean in means.items():
            found[layer_name] = found.get(layer_name, 0.0) + made[mean].ravel() / len(feeds)
    return found


def _has_known_bias(layer: Layer, graph: Graph) -> bool:
    return all(name in graph.constants for name in layer.node.input[2:])


def _mean(source: str, target: str, axes: Sequence[int], model: onnx.ModelProto) -> onnx.NodeProto:
    """A mean over ``axes``, in the form of the model's opset."""
    if max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")) < 18:
        return helper.make_node("ReduceMean", [source], [target], axes=axes)
    model.graph.initializer.append(
        numpy_helper.from_array(np.array(axes, np.int64), f"{target}/axes")
    )
    return helper.make_node("ReduceMean", [source, f"{target}/axes"], [target])
