"""Which operators, element types and opsets a release of TensorRT takes, by NVIDIA's own lists.

``operators.json`` holds onnx-tensorrt's table for release 10.1 and what its change log adds up to
10.15. It says nothing of attributes, shapes or types that must agree: a judge does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import onnx
from onnx import TensorProto

from export.onnx.graph import opset_of
from export.tensorrt.check.findings import STANDARD, Finding, usual_way_out

TABLE = Path(__file__).with_name("operators.json")
RELEASES = {
    "10.3": "Jetson Orin with JetPack 6",
    "10.16": "Jetson with JetPack 7.2",
    "11.4": "desktop CUDA",
}
"""The releases that the project builds engines with, and where they run."""
_TYPE_NAMES = {
    "FLOAT": "FP32",
    "FLOAT16": "FP16",
    "BFLOAT16": "BF16",
    "DOUBLE": "FP32",  # which TensorRT takes it for
    "FLOAT8E4M3FN": "FP8",
}
"""TensorRT's names of element types where they are not ONNX's."""
_JUDGED_BY: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("If", "Loop", "Scan"), ()),  # the nodes inside are judged
    "Where": ("T",),
    "OneHot": ("T3",),
    **dict.fromkeys(("Cast", "CastLike"), ("T1", "T2")),
    **dict.fromkeys(("ConstantOfShape", "EyeLike"), ("T2",)),
    **dict.fromkeys(("RandomNormalLike", "RandomUniformLike"), ("T2",)),
    **dict.fromkeys(("BlackmanWindow", "HammingWindow", "HannWindow"), ("T2",)),
}
"""Type variables that the table's types are about, where it is not that of the first input."""
_ONNX = ("", "ai.onnx")
"""Its own domain."""


@dataclass(frozen=True, slots=True)
class Release:
    """What the table knows of one release; an operator without types is refused."""

    name: str
    table: str
    """The release that the table is of."""
    opsets: tuple[int, int]
    """First and last that it is documented for."""
    operators: Mapping[str, tuple[str, ...]]


@cache
def release(name: str) -> Release:
    """What the table knows of a release, one of ``RELEASES``."""
    held: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    operators = {op: tuple(types) for op, types in held["operators"].items()}
    for op, (since, types) in held["since"].items():
        if _order(name) >= _order(since):
            operators[op] = tuple(types)
    first, last = held["opsets"][name]
    return Release(name, held["release"], (first, last), operators)


def _order(name: str) -> tuple[int, ...]:
    return tuple(map(int, name.split(".")))


class _Node(NamedTuple):
    proto: onnx.NodeProto
    name: str
    ports: tuple[tuple[str, str, str], ...]
    """Tensor, its type variable in ONNX's schema, its element type or '' where it is unknown."""


def check_operators(model: onnx.ModelProto, trt: Release) -> list[Finding]:
    """What a release lacks for a file, whose weights need not be loaded."""
    model = _inlined(model)
    opset, (first, last) = opset_of(model), trt.opsets
    found = []
    if not first <= opset <= last:
        problem = f"is of opset {opset}; TensorRT {trt.name} is documented for {first} to {last}"
        way_out = f"export it again with opset {min(max(opset, first), last)}"
        found.append(Finding("warning", "opset", "the file", "", problem, way_out))
    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except Exception:  # of several kinds, for a broken graph: then its types are not looked at
        graph = model.graph
    edges = {info.name for info in (*graph.input, *graph.output)}
    for node in _walk(graph, {}, opset):
        found += _check_node(node, trt, opset, edges)
    return found


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    if model.functions:
        from onnx import inliner

        try:
            return inliner.inline_local_functions(model)
        except Exception:  # of several kinds; then the calls are of a domain that is not known
            return model
    return model


def _walk(graph: onnx.GraphProto, outer: Mapping[str, str], opset: int) -> Iterator[_Node]:
    """Every node, those of branches and loop bodies behind the one that has them."""
    kinds = {t.name: t.data_type for t in graph.initializer}
    kinds |= {i.name: i.type.tensor_type.elem_type
              for i in (*graph.input, *graph.value_info, *graph.output)}  # fmt: skip
    types = {**outer, **{name: _type_name(kind) for name, kind in kinds.items() if kind}}
    for i, proto in enumerate(graph.node):
        ports: list[tuple[str, str, str]] = []
        if proto.domain in _ONNX and onnx.defs.has(proto.op_type, opset, ""):
            schema = onnx.defs.get_schema(proto.op_type, opset, "")
            for names, formals in ((proto.input, schema.inputs), (proto.output, schema.outputs)):
                variables = [f.type_str for f in formals]
                variables += variables[-1:] * len(names)  # the last one may be variadic
                ports += [(n, v, types.get(n, "")) for n, v in zip(names, variables, strict=False)]
        yield _Node(proto, proto.name or f"{proto.op_type} {i}", tuple(ports))
        for attribute in proto.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _walk(inner, types, opset)


def _type_name(kind: int) -> str:
    known = TensorProto.DataType
    name = str(known.Name(kind)) if kind in known.values() else f"type {kind}"
    return _TYPE_NAMES.get(name, name)


def _check_node(node: _Node, trt: Release, opset: int, edges: Set[str]) -> Iterator[Finding]:
    op, standard = node.proto.op_type, node.proto.domain in _ONNX
    types = trt.operators.get(op) if standard else ()
    level: Literal["error", "warning"] = "error"
    way_out = usual_way_out(op)
    if not standard:
        problem = f"is of domain {node.proto.domain}, which TensorRT does not know"
        way_out = STANDARD
    elif types is not None and not types:
        problem = f"is not taken by TensorRT {trt.name}"
    elif types:
        yield from _check_types(node, types, trt, edges)
        return
    elif not onnx.defs.has(op, opset, ""):
        problem = f"is unknown to ONNX at opset {opset}"
    elif onnx.defs.get_schema(op, opset, "").since_version > trt.opsets[1]:
        problem = f"came after the opsets that TensorRT {trt.name} is documented for"
    else:
        level = "warning"
        problem = f"is not named by the table, which is of release {trt.table}"
        way_out = "build an engine to know; else export the model without it"
    yield Finding(level, "operator", node.name, op, problem, way_out)


def _check_types(
    node: _Node, allowed: tuple[str, ...], trt: Release, edges: Set[str]
) -> Iterator[Finding]:
    op, ports = node.proto.op_type, node.ports
    judged = _JUDGED_BY.get(op, tuple(variable for _, variable, _ in ports[:1]))
    used = dict.fromkeys(kind for _, variable, kind in ports if variable in judged and kind)
    if op == "Constant":
        allowed = (*allowed, "INT8", "UINT8")  # zero points, which the table forgets
    for kind in used:
        if kind not in allowed:
            problem = f"computes with {kind}; TensorRT {trt.name} takes {', '.join(allowed)}"
            way_out = "cast to float32 or float16 before it, or export it so"
            yield Finding("error", "type", node.name, op, problem, way_out)
    if op in ("Cast", "CastLike") and "UINT8" in used:
        inside = any(kind == "UINT8" and name not in edges for name, _, kind in ports)
        if inside or not used.keys() <= {"UINT8", "FP32", "FP16"}:
            problem = (
                "casts uint8 inside the network, or from or to integers; TensorRT "
                f"{trt.name} is documented for its edge and floats alone"
            )
            way_out = "cast the image to float32 first, and float32 to uint8 as the last"
            yield Finding("error", "uint8", node.name, op, problem, way_out)
