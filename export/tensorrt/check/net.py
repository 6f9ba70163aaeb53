"""An ONNX graph as the checks for TensorRT read it: nodes, types, shapes, constants; no verdict.

Where types contradict each other it goes on with the first one, so that all contradictions are
found. Branches and loop bodies have scopes of their own; the file's functions are inlined.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import onnx
from onnx import helper, numpy_helper

from engines.base import Array
from engines.errors import ExportError
from engines.runtimes import first_line
from export.fp16.typed import kept_nodes
from export.onnx.graph import check_weights, constant_tensor, fold_constants, name_nodes, opset_of

Shape = tuple[int | None, ...]
"""Sizes of a tensor; None where one is not known before the run."""
_STANDARD_DOMAINS = ("", "ai.onnx")


Level = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong or doubtful with one node, input or output."""

    level: Level
    rule: str
    node: str
    """Its name, or ``input NAME``."""
    operator: str
    problem: str
    way_out: str
    tensors: tuple[str, ...] = ()
    """Those that it is about, where the node does not tell."""


class Fault(NamedTuple):
    """What is wrong with a node, and the way out; see ``Finding``."""

    problem: str
    way_out: str
    tensors: tuple[str, ...] = ()


@dataclass(slots=True)
class Scope:
    """What is known of the tensors that a graph sees, those of the graphs around it included."""

    types: ChainMap[str, int] = field(default_factory=ChainMap)
    shapes: ChainMap[str, Shape] = field(default_factory=ChainMap)
    constants: ChainMap[str, onnx.TensorProto] = field(default_factory=ChainMap)
    """Initialisers, and what ``Constant`` nodes hold."""
    made: ChainMap[str, None] = field(default_factory=ChainMap)
    """Tensors that there are so far, as the nodes run."""

    def inner(self) -> Scope:
        """The scope of a graph inside this one."""
        types, shapes = self.types.new_child(), self.shapes.new_child()
        return Scope(types, shapes, self.constants.new_child(), self.made.new_child())


@dataclass(frozen=True, slots=True)
class Node:
    """One node and what is known of the tensors that it touches."""

    proto: onnx.NodeProto = field(repr=False)
    scope: Scope = field(repr=False)
    name: str
    opset: int
    depth: int
    """0 in the graph itself, 1 in a branch or loop body of it, and so on."""
    fault: str = ""
    """Why ONNX does not allow the node; then no other check looks at it."""

    @property
    def operator(self) -> str:
        """Operator type, behind its domain where that is not ONNX's own."""
        domain = self.proto.domain
        return (
            self.proto.op_type if domain in _STANDARD_DOMAINS else f"{domain}:{self.proto.op_type}"
        )

    @property
    def schema(self) -> Any | None:
        """ONNX's definition of the operator at the file's opset, None where it has none."""
        name = self.operator
        known = name == self.proto.op_type and onnx.defs.has(name, self.opset, "")
        return onnx.defs.get_schema(name, self.opset, "") if known else None

    def attribute(self, name: str, default: Any = None) -> Any:
        """Value of an attribute, text decoded."""
        for a in self.proto.attribute:
            if a.name == name:
                return _decoded(helper.get_attribute_value(a))
        return default

    def input(self, i: int) -> str:
        """Name of the i-th input, empty where it is left out."""
        return self.proto.input[i] if i < len(self.proto.input) else ""

    def named(self, formal: str) -> str:
        """Name of the input that ONNX calls ``formal``, empty where it is left out or unknown."""
        schema = self.schema
        names = [f.name for f in schema.inputs] if schema else []
        return self.input(names.index(formal)) if formal in names else ""

    def type(self, name: str) -> int:
        """Element type of a tensor, 0 where it is unknown."""
        return self.scope.types.get(name, 0)

    def shape(self, i: int = 0) -> Shape | None:
        """Shape of the i-th input, None where its rank is unknown."""
        return self.scope.shapes.get(self.input(i))

    def constant(self, i: int) -> Array | None:
        """Value of the i-th input where it is an initialiser or a ``Constant``."""
        held = self.scope.constants.get(self.input(i))
        return None if held is None else numpy_helper.to_array(held)

    def ports(self) -> Iterator[tuple[str, Any, bool]]:
        """Each tensor with its formal parameter in ONNX's schema, and whether it is an input."""
        schema = self.schema
        if schema is None:
            return
        for names, formals, reads in (
            (self.proto.input, schema.inputs, True),
            (self.proto.output, schema.outputs, False),
        ):
            for i, name in enumerate(names):
                if name and formals:  # the last one may be variadic
                    yield name, formals[min(i, len(formals) - 1)], reads

    def finding(self, level: Level, rule: str, fault: Fault) -> Finding:
        """A fault of this node as a finding of a rule."""
        return Finding(level, rule, self.name, self.operator, *fault)


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(v) for v in value]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


@dataclass(frozen=True, slots=True)
class Net:
    """A whole graph; nodes of a branch stand behind the node that has it."""

    opset: int
    nodes: tuple[Node, ...]
    scope: Scope
    inputs: tuple[onnx.ValueInfoProto, ...]
    """What the caller feeds: no initialisers."""
    outputs: tuple[onnx.ValueInfoProto, ...]
    folded: frozenset[str]
    """Tensors that nodes compute from constants alone."""
    readers: Mapping[str, list[Node]] = field(repr=False)
    kept: Mapping[str, str]
    """Nodes that an FP16 file names as left in FP32, and why."""


def read_net(
    model: onnx.ModelProto, *, origin: str, fixed: Mapping[str, tuple[int, ...]] | None = None
) -> Net:
    """Read a model, which stays as it is; ``fixed`` are shapes to give to inputs.

    Raises:
        ExportError: its types cannot be inferred at all, or its weights are broken.
    """
    model = _copied(model, origin=origin)
    inputs = inputs_of(model)
    for info in inputs:
        if fixed and info.name in fixed:
            dims = info.type.tensor_type.shape
            dims.ClearField("dim")
            for size in fixed[info.name]:
                dims.dim.add().dim_value = size
    name_nodes(model)
    opset = opset_of(model)
    outputs = tuple(model.graph.output)
    check_weights(model, origin=origin)
    scope = Scope()
    nodes = tuple(_walk(_inferred(model, origin=origin), scope, opset, prefix="", depth=0))
    folded = _fold(model, scope, origin=origin)
    readers: dict[str, list[Node]] = {}
    for node in nodes:
        for name in dict.fromkeys(node.proto.input):
            if name:
                readers.setdefault(name, []).append(node)
    return Net(
        opset=opset,
        nodes=nodes,
        scope=scope,
        inputs=tuple(inputs),
        outputs=outputs,
        folded=folded,
        readers=readers,
        kept=kept_nodes(model),
    )


def inputs_of(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """What the caller feeds: inputs that are no initialisers."""
    constants = {t.name for t in model.graph.initializer}
    return [i for i in model.graph.input if i.name not in constants]


def _copied(model: onnx.ModelProto, *, origin: str) -> onnx.ModelProto:
    """A copy to work on, functions inlined."""
    if model.functions:
        from onnx import inliner

        try:
            return inliner.inline_local_functions(model)
        except Exception as exc:  # the binding maps C++ errors of several kinds
            raise ExportError(
                f"{origin}: its functions cannot be inlined: {first_line(exc)}. Export the model "
                "again without functions."
            ) from exc
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _inferred(model: onnx.ModelProto, *, origin: str) -> onnx.GraphProto:
    """The graph with the types that follow from its inputs, not with those that the file claims."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.graph.value_info[:], bare.graph.output[:]
    try:
        return onnx.shape_inference.infer_shapes(bare, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, ValueError) as exc:
        raise ExportError(
            f"{origin}: nothing can be said of its types: {first_line(exc)}. Export the model "
            "again."
        ) from exc


def _walk(
    graph: onnx.GraphProto, scope: Scope, opset: int, *, prefix: str, depth: int
) -> Iterator[Node]:
    for info in (*graph.input, *graph.output, *graph.value_info):
        if info.type.tensor_type.elem_type:
            scope.types[info.name] = info.type.tensor_type.elem_type
        if has_shape(info):
            scope.shapes[info.name] = shape_of(info)
    scope.made.update(dict.fromkeys(i.name for i in graph.input))
    for tensor in graph.initializer:
        scope.made[tensor.name] = None
        scope.types[tensor.name] = tensor.data_type
        scope.shapes[tensor.name] = tuple(tensor.dims)
        scope.constants[tensor.name] = tensor
    for i, proto in enumerate(graph.node):
        name = prefix + (proto.name or f"{proto.op_type}_{i}")
        node = Node(proto, scope, name, opset, depth, _fault(proto, scope, opset))
        scope.made.update(dict.fromkeys(proto.output))
        _bind(node)
        constant = proto.op_type == "Constant" and proto.output and not node.fault
        if constant and (held := constant_tensor(proto)) is not None:
            scope.constants[proto.output[0]] = held
        yield node
        for attribute in proto.attribute:
            for inner in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
                yield from _walk(inner, scope.inner(), opset, prefix=f"{name}/", depth=depth + 1)


def _fault(proto: onnx.NodeProto, scope: Scope, opset: int) -> str:
    for name in proto.input:
        if name and name not in scope.made:
            return f"reads {name!r}, which nothing before it makes"
    if any(a.HasField("g") or a.graphs for a in proto.attribute):
        return ""  # the nodes inside are looked at themselves
    if proto.domain not in _STANDARD_DOMAINS or not onnx.defs.has(proto.op_type, opset, ""):
        return ""  # another check finds an unknown operator
    plain = onnx.NodeProto()
    plain.CopyFrom(proto)
    plain.domain = ""
    context = type(onnx.checker.DEFAULT_CONTEXT)()
    context.ir_version, context.opset_imports = onnx.IR_VERSION, {"": opset}
    try:
        onnx.checker.check_node(plain, context)
    except (onnx.checker.ValidationError, ValueError) as exc:
        return f"is not valid ONNX: {first_line(exc)}"
    return ""


def _bind(node: Node) -> None:
    """Give an output without a type that of an input of the same type variable."""
    bound: dict[str, int] = {}
    for name, formal, reads in node.ports():
        if reads and node.type(name):
            bound.setdefault(formal.type_str, node.type(name))
        elif not reads and not node.type(name) and formal.type_str in bound:
            node.scope.types[name] = bound[formal.type_str]


def _fold(model: onnx.ModelProto, scope: Scope, *, origin: str) -> frozenset[str]:
    """Tensors computed from constants alone; shapes that follow from them go to ``scope``."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    try:
        fold_constants(made, origin=origin)
    except ExportError:  # types contradict each other, which other checks find; nothing folds
        return frozenset()
    for info in _inferred(made, origin=origin).value_info:
        if has_shape(info):
            scope.shapes[info.name] = shape_of(info)
    left = {name for node in made.graph.node for name in node.output}
    return frozenset(n for node in model.graph.node for n in node.output if n and n not in left)


def has_shape(info: onnx.ValueInfoProto) -> bool:
    """Whether at least the rank is known."""
    return bool(info.type.tensor_type.HasField("shape"))


def shape_of(info: onnx.ValueInfoProto) -> Shape:
    """Shape of an input or output that has one; sizes below 0 are unknown, as exporters mean it."""
    return tuple(
        d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else None
        for d in info.type.tensor_type.shape.dim
    )
