"""Which operators, element types and opsets a release of TensorRT takes, by NVIDIA's own lists.

``operators.json`` holds onnx-tensorrt's table for release 10.1 and what its change log adds up to
10.15. It says nothing of attributes, shapes or types that must agree: a judge does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto

from export.tensorrt.check.findings import Finding

TABLE = Path(__file__).with_name("operators.json")
RELEASES = {
    "10.3": "Jetson Orin with JetPack 6",
    "10.16": "Jetson with JetPack 7.2",
    "11.4": "desktop CUDA",
}
"""The releases that the project builds engines with, and where they run."""
_TYPE_NAMES: dict[int, str] = {
    TensorProto.FLOAT: "FP32",
    TensorProto.FLOAT16: "FP16",
    TensorProto.BFLOAT16: "BF16",
    TensorProto.INT8: "INT8",
    TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT64",
    TensorProto.UINT8: "UINT8",
    TensorProto.BOOL: "BOOL",
    TensorProto.FLOAT8E4M3FN: "FP8",
    TensorProto.INT4: "INT4",
    TensorProto.DOUBLE: "FP32",  # which TensorRT takes it for
}
"""TensorRT's names of the element types that it has."""
_FLOATS = (0, TensorProto.FLOAT, TensorProto.FLOAT16)
_JUDGED_BY = {
    "Where": ("T",),
    "OneHot": ("T3",),
    **dict.fromkeys(("Cast", "CastLike"), ("T1", "T2")),
    **dict.fromkeys(("ConstantOfShape", "EyeLike"), ("T2",)),
    **dict.fromkeys(("RandomNormalLike", "RandomUniformLike"), ("T2",)),
    **dict.fromkeys(("BlackmanWindow", "HammingWindow", "HannWindow"), ("T2",)),
}
"""Type variables that the table's types are about, where it is not that of the first input."""
_CONTROL = ("If", "Loop", "Scan")
"""Their inputs may each have a type of their own; the nodes inside are judged."""
_QUANTISED = ("QuantizeLinear", "DequantizeLinear")
_HOST = "export the model without it, or leave its part of the work to the host"


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


@dataclass(frozen=True, slots=True)
class _Node:
    """A node, what it is called, and its tensors with their formal types and element types."""

    proto: onnx.NodeProto
    name: str
    ports: tuple[tuple[str, str, int], ...]
    """Name, type variable in ONNX's schema, element type or 0 where it is unknown."""


def check_operators(model: onnx.ModelProto, trt: Release) -> list[Finding]:
    """What a release lacks for a file, whose weights need not be loaded."""
    model = _inlined(model)
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    found = list(_opset(opset, trt))
    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except Exception:  # of several kinds, for a broken graph: then its types are not looked at
        graph = model.graph
    found += _edges(graph)
    edges = tuple({i.name for i in infos} for infos in (graph.input, graph.output))
    for node in _walk(graph, {}, opset):
        found += _check_node(node, edges, trt, opset)
    return found


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    if model.functions:
        from onnx import inliner

        try:
            return inliner.inline_local_functions(model)
        except Exception:  # of several kinds; then the calls are of a domain that is not known
            return model
    return model


def _opset(opset: int, trt: Release) -> Iterator[Finding]:
    first, last = trt.opsets
    if not first <= opset <= last:
        yield Finding(
            "warning", "opset", "the file", "",
            f"is of opset {opset}; TensorRT {trt.name} is documented for {first} to {last}, and "
            "may read what changed since as it was",
            f"export it again with opset {min(max(opset, first), last)}",
        )  # fmt: skip


def _edges(graph: onnx.GraphProto) -> Iterator[Finding]:
    for what, infos in (("input", graph.input), ("output", graph.output)):
        for info in infos:
            kind = info.type.tensor_type.elem_type
            if kind not in _TYPE_NAMES:
                yield Finding(
                    "error", "type", f"{what} {info.name}", "",
                    f"is {_type_name(kind) if kind else 'no tensor'}, which TensorRT does not have",
                    "export it as float32, or as int32 where it counts",
                )  # fmt: skip


def _walk(graph: onnx.GraphProto, outer: Mapping[str, int], opset: int) -> Iterator[_Node]:
    """Every node, those of branches and loop bodies behind the one that has them."""
    types = dict(outer) | {t.name: t.data_type for t in graph.initializer}
    for info in (*graph.input, *graph.value_info, *graph.output):
        types[info.name] = info.type.tensor_type.elem_type or types.get(info.name, 0)
    for i, proto in enumerate(graph.node):
        known = proto.domain in ("", "ai.onnx") and onnx.defs.has(proto.op_type, opset, "")
        schema = onnx.defs.get_schema(proto.op_type, opset, "") if known else None
        ports: list[tuple[str, str, int]] = []
        for names, formals in (
            (proto.input, schema.inputs if schema else ()),
            (proto.output, schema.outputs if schema else ()),
        ):
            for j, name in enumerate(names):
                if name and formals:  # the last one may be variadic
                    formal = formals[min(j, len(formals) - 1)].type_str
                    ports.append((name, formal, types.get(name, 0)))
        yield _Node(proto, proto.name or f"{proto.op_type} {i}", tuple(ports))
        for attribute in proto.attribute:
            for inner in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
                yield from _walk(inner, types, opset)


def _check_node(
    node: _Node, edges: tuple[set[str], ...], trt: Release, opset: int
) -> Iterator[Finding]:
    op, domain = node.proto.op_type, node.proto.domain
    types = trt.operators.get(op) if domain in ("", "ai.onnx") else ()
    if domain not in ("", "ai.onnx"):
        problem = f"is of domain {domain}, which TensorRT does not know"
        way_out = "export the model with standard operators; the project loads no plugin"
    elif types is None and not onnx.defs.has(op, opset, ""):
        problem = f"is unknown to ONNX at opset {opset}"
        way_out = "export the model again, with an opset that has it"
    elif types is None and onnx.defs.get_schema(op, opset, "").since_version > trt.opsets[1]:
        problem, way_out = f"came after the opsets that TensorRT {trt.name} knows", _HOST
    elif types is None:
        yield Finding(
            "warning", "operator", node.name, op,
            f"is not named by the table, which is of release {trt.table}",
            "build an engine to know; else export the model without it",
        )  # fmt: skip
        return
    elif not types:
        problem, way_out = f"is not taken by TensorRT {trt.name}", _HOST
    else:
        if op not in _CONTROL:
            yield from _types(node, types, edges, trt)
        return
    yield Finding("error", "operator", node.name, op, problem, way_out)


def _types(
    node: _Node, allowed: tuple[str, ...], edges: tuple[set[str], ...], trt: Release
) -> Iterator[Finding]:
    op = node.proto.op_type
    wanted = _JUDGED_BY.get(op, tuple(formal for _, formal, _ in node.ports[:1]))
    for kind in dict.fromkeys(kind for _, formal, kind in node.ports if formal in wanted and kind):
        constant = op == "Constant" and kind in (TensorProto.INT8, TensorProto.UINT8)
        if _TYPE_NAMES.get(kind, "") in allowed or constant:  # of a zero point
            continue
        yield Finding(
            "error", "type", node.name, op,
            f"computes with {_type_name(kind)}; TensorRT {trt.name} takes {', '.join(allowed)}",
            "cast to float32 or float16 before it, or export it so",
        )  # fmt: skip
    if op in ("Cast", "CastLike") and len(node.ports) > 1:
        yield from _uint8_cast(node, edges, trt)


def _uint8_cast(node: _Node, edges: tuple[set[str], ...], trt: Release) -> Iterator[Finding]:
    """TensorRT 10 documents casts of uint8 at the network's edge alone, and from and to floats."""
    (read, _, before), (made, _, after) = node.ports[0], node.ports[-1]
    inside = (before == TensorProto.UINT8 and read not in edges[0]) or (
        after == TensorProto.UINT8 and made not in edges[1]
    )
    other = after if before == TensorProto.UINT8 else before
    if TensorProto.UINT8 in (before, after) and (inside or other not in _FLOATS):
        yield Finding(
            "error", "uint8", node.name, node.proto.op_type,
            "casts a uint8 inside the network" if inside
            else f"casts between uint8 and {_type_name(other)}; TensorRT {trt.name} is documented "
            "for floats alone",
            "cast the image to float32 before any other node, and float32 to uint8 as the last",
        )  # fmt: skip


def _type_name(kind: int) -> str:
    """ONNX's name of an element type, as users write it: float32, uint8."""
    name = str(TensorProto.DataType.Name(kind)).lower()
    return {"float": "float32", "double": "float64"}.get(name, name)
