"""Cross-layer equalisation: channels of one map get ranges alike, and the function stays the same.

What is linear for positive gains passes a gain of each channel on, from the convolutions that make
a map to those that read it (Nagel et al., arXiv 1906.04721, section 4.1). Ranges are those of the
values on frames; a filter of its own takes any gain for nothing, as its scale is its own, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from engines.base import Array
from export.int8.layers import Graph, Layer

_PASSES = ("Relu", "LeakyRelu", "Add", "Resize", "MaxPool", "AveragePool", "GlobalAveragePool")
"""f(s·x) = s·f(x) for s > 0, channel by channel; Clip's limits are no such thing."""
MOST = 100.0
"""How far the ranges of two channels are brought together: one that the frames do not show may hold
something in another scene."""


@dataclass(slots=True)
class _Group:
    """Maps that share one gain a channel, and the convolutions around them."""

    maps: set[str]
    fixed: bool
    """Something else reads or makes one of them."""
    makers: list[Layer] = field(default_factory=list)
    readers: list[Layer] = field(default_factory=list)


def equalise(graph: Graph, peaks: Mapping[str, Array]) -> Graph:
    """The same function with equalised channels; ``graph`` itself where none can be.

    ``peaks`` has the largest value without its sign by channel, (C,), of all maps with channels.
    """
    weights = {name: layer.weights.astype(np.float64) for name, layer in graph.layers.items()}
    biases: dict[str, Array] = {}
    groups = list(_groups(graph, peaks))
    if not groups:
        return graph
    for group in groups:
        gains = _gains(group, peaks)
        for layer in group.makers:
            weights[layer.name] = weights[layer.name] / _shaped(gains, layer)
            if layer.node.input[2:]:
                biases[layer.name] = numpy_helper.to_array(graph.constants[layer.node.input[2]])
                biases[layer.name] = biases[layer.name] / gains
        for layer in group.readers:
            each = np.repeat(gains.reshape(layer.groups, -1), len(layer.weights) // layer.groups, 0)
            weights[layer.name] = weights[layer.name] * _shaped(each, layer)
    made = onnx.ModelProto()
    made.CopyFrom(graph.model)
    for node in made.graph.node:
        for i, values in ((1, weights.get(node.name)), (2, biases.get(node.name))):
            if values is not None:
                node.input[i] = f"{node.name}/{i}/equalised"
                tensor = numpy_helper.from_array(values.astype(np.float32), node.input[i])
                made.graph.initializer.append(tensor)
    return Graph(made)


def _groups(graph: Graph, peaks: Mapping[str, Array]) -> Iterator[_Group]:
    """Groups whose gains may be chosen."""
    of: dict[str, _Group] = {}

    def group_of(name: str) -> _Group:
        return of.setdefault(name, _Group({name}, fixed=name in graph.outputs))

    for node in graph.model.graph.node:
        layer = graph.layers.get(node.name)
        known = all(name in graph.constants for name in node.input[2:])
        if layer is not None and node.op_type == "Conv" and known:
            group_of(node.input[0]).readers.append(layer)
            group_of(node.output[0]).makers.append(layer)
            continue
        if node.op_type in _PASSES or _averages_maps(node, graph):
            read = node.input if node.op_type == "Add" else node.input[:1]
            first = group_of(node.output[0])
            for other in map(group_of, read):
                if other is not first:
                    first.maps |= other.maps
                    first.fixed |= other.fixed
                    first.makers += other.makers
                    first.readers += other.readers
                    of.update(dict.fromkeys(other.maps, first))
        else:
            for name in (*node.input, *node.output):
                group_of(name).fixed = True
    for group in {id(g): g for g in of.values()}.values():
        widths = {len(peaks[n]) for n in group.maps if n in peaks}
        joined = len(widths | {len(layer.weights) for layer in group.makers}) == 1
        if not group.fixed and widths and group.makers and group.readers and joined:
            yield group


def _averages_maps(node: onnx.NodeProto, graph: Graph) -> bool:
    """Whether it is a mean over height and width, channel by channel."""
    axes: list[Any] = [list(a.ints) for a in node.attribute if a.name == "axes"]
    given = (graph.constants.get(name) for name in node.input[1:])
    axes += [numpy_helper.to_array(tensor) for tensor in given if tensor is not None]
    return node.op_type == "ReduceMean" and bool(axes) and {int(a) % 4 for a in axes[0]} == {2, 3}


def _gains(group: _Group, peaks: Mapping[str, Array]) -> Array:
    """What each channel's values are divided by, (C,)."""
    values = _floored(np.max([peaks[name] for name in group.maps if name in peaks], axis=0))
    shares = []
    for layer in group.readers:
        by_input = np.abs(layer.weights).max(axis=tuple(range(2, layer.weights.ndim)))
        if by_input.shape[1] > 1:  # (C_out, C_in / groups)
            peak = by_input.reshape(layer.groups, -1, by_input.shape[1]).max(axis=1).ravel()
            shares.append(_floored(peak) / max(float(peak.max()), 1e-12))
    gains = np.sqrt(values / np.max(shares, axis=0)) if shares else values
    return np.asarray(gains / gains.max())


def _floored(peaks: Array) -> Array:
    return np.maximum(peaks.astype(np.float64), max(float(peaks.max()) / MOST, 1e-12))


def _shaped(gains: Array, layer: Layer) -> Array:
    """``gains`` (C_out,) or (C_out, C_in / groups) with the axes of the layer's weights."""
    return gains.reshape(*gains.shape, *[1] * (layer.weights.ndim - gains.ndim))
