"""Which nodes of a plain FP32 graph can compute in int8, and what stays float from the start.

It reads graphs whose constants are folded and whose nodes have names; it changes none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

COMPUTES = ("Conv", "MatMul", "Gemm")
"""Operators with weights, in which the time goes."""
GLUE = ("Add", "Concat", "Resize", "MaxPool", "AveragePool")
"""Between two int8 layers these move int8, else a device would write their maps in float."""
ACTIVATIONS = ("Relu", "Clip", "LeakyRelu")
"""What engines fuse into the layer before: nothing is quantised between the two."""
_RESHAPES = ("Reshape", "Transpose", "Softmax")
_LEFT_OUT = (
    *("Relu", "Identity", "Dropout", "Slice"),
    *("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"),
)
"""What OpenVINO moves a pair over, or takes out where it changes nothing."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A node with constant weights; ``axis`` is that of its output channels in them."""

    node: onnx.NodeProto
    weights: NDArray[np.float32]
    axis: int
    groups: int = 1

    @property
    def name(self) -> str:
        """The node's."""
        return str(self.node.name)


class Graph:
    """A model's graph with its edges looked up once."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model, graph = model, model.graph
        self.constants = {t.name: t for t in graph.initializer}
        self.outputs = {o.name for o in graph.output}
        self.maker = {name: node for node in graph.node for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        found = (self._layer(node) for node in graph.node if node.op_type in COMPUTES)
        self.layers = {layer.name: layer for layer in found if layer is not None}

    def _layer(self, node: onnx.NodeProto) -> Layer | None:
        held = self.constants.get(node.input[1])
        if held is None or held.data_type != TensorProto.FLOAT or node.input[0] in self.constants:
            return None
        weights = numpy_helper.to_array(held)
        how = {a.name: a.i for a in node.attribute}
        if node.op_type == "Conv":
            return Layer(node, weights, 0, how.get("group", 1))
        return Layer(node, weights, 0 if how.get("transB") else 1) if weights.ndim == 2 else None

    def activated(self, name: str) -> str:
        """The tensor behind the activation that alone reads ``name``, or ``name`` itself."""
        readers = self.readers.get(name, [])
        if len(readers) == 1 and name not in self.outputs and readers[0].op_type in ACTIVATIONS:
            return str(readers[0].output[0])
        return name

    def joined(self, name: str) -> bool:
        """Whether a Concat makes it, with nothing behind that keeps OpenVINO from moving a pair."""
        made = self.maker.get(name)
        while made is not None and made.op_type in _LEFT_OUT:
            made = self.maker.get(made.input[0])
        return made is not None and made.op_type == "Concat"

    def maps(self, node: onnx.NodeProto) -> list[str]:
        """The inputs that are maps: not weights, biases, sizes."""
        read = node.input if node.op_type in ("Add", "Concat", "Mul") else node.input[:1]
        return [name for name in read if name not in self.constants]

    def float_from_start(self) -> dict[str, str]:
        """Layers that stay float, by name, and why: those whose values an output is read from.

        Behind a Softmax there is another of fixed weights, which takes the mean of a distribution.
        """
        last: set[str] = set()
        seen: set[str] = set()
        pending = sorted(self.outputs)
        while pending:
            name = pending.pop()
            node = self.maker.get(name)
            if node is None or name in seen:
                continue
            seen.add(name)
            if node.name in self.layers:
                last.add(node.name)
                before = self.maker.get(node.input[0])
                while before is not None and before.op_type in _RESHAPES:
                    if before.op_type == "Softmax":
                        pending.append(before.input[0])
                    before = self.maker.get(before.input[0])
            else:
                pending += node.input
        return {n: "the last before an output: its values are it" for n in self.layers if n in last}

    def int8_nodes(self, kept: Collection[str]) -> set[str]:
        """Names of all nodes that compute in int8 where the layers ``kept`` do not."""
        chosen = {name for name in self.layers if name not in kept}
        for node in reversed(self.model.graph.node):
            if node.op_type in GLUE and self._joins(node, chosen):
                chosen.add(node.name)
        return chosen

    def _joins(self, node: onnx.NodeProto, chosen: set[str]) -> bool:
        """Whether ``node`` reads maps of layers, or of its like, and gives one to int8."""
        after = self.readers.get(self.activated(node.output[0]), [])
        made = any(n.op_type in (*COMPUTES, *GLUE) for n in self._before(node))
        whole = node.op_type not in ("Add", "Concat") or len(self.maps(node)) == len(node.input)
        return made and whole and any(n.name in chosen for n in after)

    def _before(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        for name in self.maps(node):
            made = self.maker.get(name)
            if made is not None and made.op_type in ACTIVATIONS:
                made = self.maker.get(made.input[0])
            if made is not None:
                yield made
