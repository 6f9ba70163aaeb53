"""What every ONNX file must be before a runtime sees it; the first fault is one short message.

Runtimes refuse most of it as well, each in its own words, but some only after minutes, in a
megabyte of text or by ending the process. It does not ask whether a graph can be computed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

from engines.errors import ModelError
from engines.model_graph import graphs, nodes, tensors

if TYPE_CHECKING:
    import onnx

LARGEST_VERSION = 1000
"""Of a set of operators: ONNX's own counts to some thirty, one more every few months."""
MOST_DIMENSIONS = 64
"""Of a tensor, as in NumPy."""
MOST_VALUES = 2**33
"""Of a stored tensor: 2 GB, the most that one file holds, of the smallest type have fewer."""
SHOWN = 100
"""Characters of a name in a message."""


def check_structure(model: onnx.ModelProto, path: Path) -> None:
    """Refuse a file that contradicts itself or has what ONNX does not.

    Raises:
        ModelError: names the first fault.
    """
    for problem in _problems(model):
        raise ModelError(f"{path}: {problem}. No runtime takes that: copy or export it again.")


def _problems(model: onnx.ModelProto) -> Iterator[str]:
    imports = (*model.opset_import, *(o for f in model.functions for o in f.opset_import))
    for opset in imports:
        if not 0 <= opset.version <= LARGEST_VERSION:
            yield (
                f"says opset {opset.version} of {opset.domain[:SHOWN] or 'ai.onnx'!r}, wanted at "
                f"most {LARGEST_VERSION}"
            )
    for node in nodes(model):
        if not (node.domain + node.op_type).isprintable():
            yield f"has an operator that is called {node.op_type[:SHOWN]!r}"
    yield from _type_problems(model)
    yield from _graph_problems(model.graph, frozenset())
    for function in model.functions:
        yield from _value_problems(function.input, (), function.node, function.output, frozenset())


def _type_problems(model: onnx.ModelProto) -> Iterator[str]:
    from onnx import TensorProto

    known = set(TensorProto.DataType.values()) - {TensorProto.UNDEFINED}
    for tensor in tensors(model):
        if not tensor.ByteSize():  # what an attribute of another type has in this place
            continue
        name, dims = _shown(tensor.name), tensor.dims
        if tensor.data_type not in known:
            yield f"its weight {name} is of type {tensor.data_type}, which ONNX does not have"
        if len(dims) > MOST_DIMENSIONS:
            yield f"its weight {name} has {len(dims)} dimensions"
        if any(d < 0 or d > MOST_VALUES for d in dims) or math.prod(dims) > MOST_VALUES:
            yield f"its weight {name} is of the shape {list(dims)}"
    for graph in graphs(model):
        for info in (*graph.input, *graph.output, *graph.value_info):
            kind, count = info.type.tensor_type.elem_type, len(info.type.tensor_type.shape.dim)
            if count > MOST_DIMENSIONS:
                yield f"has the tensor {_shown(info.name)} of {count} dimensions"
            if kind and kind not in known:
                yield f"its tensor {_shown(info.name)} is of type {kind}, which ONNX does not have"


def _graph_problems(graph: onnx.GraphProto, outer: frozenset[str]) -> Iterator[str]:
    stored = [t.name for t in graph.initializer]
    stored += [s.values.name for s in graph.sparse_initializer]
    inputs, outputs = ([v.name for v in values] for values in (graph.input, graph.output))
    yield from _value_problems(inputs, stored, graph.node, outputs, outer)


def _value_problems(
    inputs: Iterable[str],
    stored: Iterable[str],
    own: Iterable[onnx.NodeProto],
    outputs: Iterable[str],
    outer: frozenset[str],
) -> Iterator[str]:
    """What is wrong with the values of one graph; ``outer`` are those of the graphs around it."""
    inputs, stored, own = list(inputs), list(stored), list(own)
    makers = {name: i for i, node in enumerate(own) for name in node.output if name}
    # A weight may be an input as well (IR 3), what a node makes may be neither.
    made = Counter(name for node in own for name in node.output if name)
    for names in (inputs, stored, [*made.elements(), *{*inputs, *stored}]):
        twice = next((name for name, count in Counter(names).items() if count > 1), None)
        if twice is not None:
            yield f"has the tensor {_shown(twice)} twice"
    known = outer.union(inputs, stored, makers)
    for node in own:
        for name in node.input:
            if name and name not in known:
                yield (
                    f"its node {_shown(node.name or node.op_type)} takes {_shown(name)}, which is "
                    "neither an input nor a weight nor made by a node"
                )
        for attribute in node.attribute:
            for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _graph_problems(graph, known)
    for name in outputs:
        if name not in known:
            yield f"has the output {_shown(name)}, which nothing makes"
    order = TopologicalSorter(
        {i: {makers[name] for name in node.input if name in makers} for i, node in enumerate(own)}
    )
    try:
        order.prepare()
    except CycleError as exc:
        first = own[exc.args[1][0]]
        yield f"its node {_shown(first.name or first.op_type)} needs what is made of its own result"


def _shown(name: str) -> str:
    return repr(name[:SHOWN])
