"""Writes the explicitly quantised form of a graph: QuantizeLinear and DequantizeLinear pairs.

Scales come from ranges that others measured. Biases stay float, as TensorRT wants them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
from onnx import helper, numpy_helper

from engines.base import Array
from export.int8.layers import Graph, Layer

Form = Literal["int8", "uint8"]
"""Of the activations: symmetric int8, which TensorRT asks for, or uint8 with a zero point."""
Range = tuple[float, float]
"""Lowest and highest value of a tensor that its integers reach."""
EIGHT, SEVEN = 127, 63
"""The largest weight. CPUs without VNNI add two products of uint8 and int8 in 16 bits, which
2·255·127 overflows and 2·255·63 does not."""
_SMALLEST = 2.0**-100
"""A scale that is no subnormal, of what is 0 throughout."""


def activation_scale(low_high: Range, form: Form) -> tuple[Array, Array]:
    """Scale and zero point, value = scale · (integer − zero); 0, which padding is, is met."""
    low, high = min(low_high[0], 0.0), max(low_high[1], 0.0)
    if form == "int8":
        scale = max(-low, high) / 127
        return np.asarray(max(scale, _SMALLEST), np.float32), np.asarray(0, np.int8)
    scale = max((high - low) / 255, _SMALLEST)
    return np.asarray(scale, np.float32), np.asarray(np.rint(-low / scale), np.uint8)


def integer_weights(layer: Layer, top: int) -> tuple[Array, Array]:
    """Weights up to ``top`` and one scale for each output channel, (C_out,); zero points are 0."""
    others = tuple(i for i in range(layer.weights.ndim) if i != layer.axis)
    largest = np.abs(layer.weights).max(axis=others, keepdims=True)
    scales = np.maximum(largest / top, _SMALLEST)
    return np.rint(layer.weights / scales).astype(np.int8), scales.ravel().astype(np.float32)


@dataclass(frozen=True)
class Plan:
    """A graph to be quantised; the layers ``kept`` stay float, each with its reason."""

    graph: Graph
    kept: Mapping[str, str]
    ranges: Mapping[str, Range]
    form: Form
    top: int = EIGHT
    """Of the integer weights."""


def quantised_tensors(graph: Graph, kept: Collection[str], form: Form) -> dict[str, set[str]]:
    """Name of each tensor that becomes integers → names of the nodes that read those.

    In the uint8 form what an int8 layer gives is written as integers too: CPUs fuse so.
    """
    chosen = graph.int8_nodes(kept)
    found: dict[str, set[str]] = {}
    for node in graph.model.graph.node:
        if node.name not in chosen:
            continue
        for name in graph.maps(node):
            found.setdefault(name, set()).add(node.name)
        made = graph.activated(node.output[0])
        if form == "uint8" and node.name in graph.layers and made not in graph.outputs:
            found.setdefault(made, set()).update(n.name for n in graph.readers.get(made, []))
    return found


class Pairs:
    """Pairs as they are written: their nodes, one after another, and constants by name."""

    def __init__(self, plan: Plan) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._plan, self._constants = plan, dict[str, Array]()

    def of_map(self, name: str) -> str:
        """What tensor ``name`` is after its integers; written once.

        OpenVINO (2026.4) moves a pair in front of the Concat that it stands behind, and where its
        kernels want uint8 (all but AMX) leaves a signed one two of its 256 levels. It moves none
        that a Clip parts from the Concat, if the Clip is the narrower one: -128 is not used.
        """
        if f"{name}/scale" not in self._constants:
            scale, zero = activation_scale(self._plan.ranges[name], self._plan.form)
            self._constants |= {f"{name}/scale": scale, f"{name}/zero": zero}
            source = ""
            if self._plan.form == "int8" and self._plan.graph.joined(name):
                ends = {f"{name}/lowest": -127 * scale, f"{name}/highest": 127 * scale}
                self._constants |= {at: np.asarray(end, np.float32) for at, end in ends.items()}
                source, cut = "cut", f"{name}/cut"
                self.nodes.append(helper.make_node("Clip", [name, *ends], [cut], cut))
            self.nodes.append(_node("Quantize", name, source, "integers"))
            self.nodes.append(_node("Dequantize", name, "integers", "dequantised"))
        return f"{name}/dequantised"

    def of_weights(self, layer: Layer) -> str:
        """What a layer's weights are as integers."""
        at = f"{layer.name}/weights"
        whole, scales = integer_weights(layer, self._plan.top)
        self._constants |= {f"{at}/integers": whole, f"{at}/scale": scales}
        self._constants[f"{at}/zero"] = np.zeros(scales.shape, np.int8)
        self.nodes.append(_node("Dequantize", at, "integers", "dequantised", axis=layer.axis))
        return f"{at}/dequantised"

    def write(self, graph: onnx.GraphProto) -> None:
        """Add all of it to ``graph``."""
        graph.node.extend(self.nodes)
        graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in self._constants.items())


def to_qdq(plan: Plan) -> onnx.ModelProto:
    """The quantised model."""
    graph = plan.graph
    tensors = quantised_tensors(graph, plan.kept, plan.form)
    pairs = Pairs(plan)

    def round_trip(names: Iterable[str]) -> None:
        for name in names:
            if name in tensors:
                pairs.of_map(name)

    round_trip(i.name for i in graph.model.graph.input)
    for node in graph.model.graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for i, name in enumerate(copy.input):
            if node.name in tensors.get(name, ()):
                copy.input[i] = f"{name}/dequantised"
        if node.name in graph.layers and node.name not in plan.kept:
            copy.input[1] = pairs.of_weights(graph.layers[node.name])
        pairs.nodes.append(copy)
        round_trip(node.output)
    made = onnx.ModelProto()
    made.CopyFrom(graph.model)
    del made.graph.node[:], made.graph.value_info[:], made.graph.initializer[:]
    used = {name for node in pairs.nodes for name in node.input} | graph.outputs
    made.graph.initializer.extend(t for n, t in graph.constants.items() if n in used)
    pairs.write(made.graph)
    return made


def _node(kind: str, at: str, source: str, target: str, **how: Any) -> onnx.NodeProto:
    """``kind``Linear from ``at``/``source`` to ``at``/``target``."""
    inputs = [f"{at}/{source}" if source else at, f"{at}/scale", f"{at}/zero"]
    name = f"{at}/{target}"
    return helper.make_node(f"{kind}Linear", inputs, [name], name, **how)
