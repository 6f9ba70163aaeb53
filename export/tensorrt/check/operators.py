"""Which operators, types and opsets a release of TensorRT takes.

``operators.json`` holds onnx-tensorrt's table for release 10.1, restrictions as names of rules in
``rules.py``, and what its change log adds up to 10.15. What neither names is a warning.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from onnx import TensorProto

from export.tensorrt.check.net import Fault, Finding, Net, Node

TABLE = Path(__file__).with_name("operators.json")
RELEASES = {
    "10.3": "Jetson Orin with JetPack 6",
    "10.16": "Jetson with JetPack 7.2",
    "11.4": "desktop CUDA",
}
"""The releases that the project builds engines with, and where they run."""
TYPE_NAMES: dict[int, str] = {
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
    TensorProto.DOUBLE: "FP64",
}
"""TensorRT's names of the element types that it has."""
_QUANTISED = ("DynamicQuantizeLinear", "ConvInteger", "MatMulInteger", "QLinearConv",
              "QLinearMatMul")  # fmt: skip
_JUDGED_BY = {
    "Where": ("T",),
    "OneHot": ("T3",),
    **dict.fromkeys(("Cast", "CastLike"), ("T1", "T2")),
    **dict.fromkeys(("ConstantOfShape", "EyeLike"), ("T2",)),
    **dict.fromkeys(("RandomNormalLike", "RandomUniformLike"), ("T2",)),
    **dict.fromkeys(("BlackmanWindow", "HammingWindow", "HannWindow"), ("T2",)),
}
"""Type variables that the table's types are about, where it is not that of the first input."""
CONTROL = ("If", "Loop", "Scan")
"""Their inputs may each have a type of their own; the nodes inside are judged."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a release takes of one operator; ``rules`` are names in ``rules.py``."""

    supported: bool
    types: tuple[str, ...]
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Release:
    """What the table knows of one release of TensorRT."""

    name: str
    table: str
    """The release that the table is of."""
    opsets: tuple[int, int]
    """First and last that it takes."""
    operators: Mapping[str, Entry]

    def at_least(self, release: str) -> bool:
        """Whether this release is ``release`` or came after it."""
        return _order(self.name) >= _order(release)


@cache
def release(name: str) -> Release:
    """What the table knows of a release, one of ``RELEASES``."""
    held: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    entries = {op: dict(entry) for op, entry in held["operators"].items()}
    for key in ("since", "eased"):
        for op, change in held[key].items():
            if _order(name) >= _order(change["release"]):
                later = {k: v for k, v in change.items() if k != "release"}
                entries[op] = {**entries.get(op, {}), **later}
                entries[op].pop("supported", None)
    operators = {
        op: Entry(e.get("supported", True), tuple(e.get("types", ())), tuple(e.get("rules", ())))
        for op, e in entries.items()
    }
    first, last = held["opsets"][name]
    return Release(name, held["release"], (first, last), operators)


def _order(name: str) -> tuple[int, ...]:
    return tuple(map(int, name.split(".")))


def check_opset(net: Net, trt: Release) -> Iterator[Finding]:
    """The file's version of ONNX's operators."""
    first, last = trt.opsets
    if not first <= net.opset <= last:
        yield Finding(
            "error", "opset", "the file", "",
            f"is of opset {net.opset}; TensorRT {trt.name} takes {first} to {last}",
            f"export it again with opset {min(max(net.opset, first), last)}",
        )  # fmt: skip


def check_operators(net: Net, trt: Release) -> Iterator[Finding]:
    """Each node's operator, and the types of the data that it computes with."""
    for node in net.nodes:
        op, entry = node.operator, trt.operators.get(node.operator)
        if op != node.proto.op_type:
            fault = Fault(
                "is of a domain that TensorRT does not know",
                "export the model with standard operators; the project loads no plugin",
            )
        elif entry is None and node.schema is None:
            fault = Fault(
                f"is unknown to ONNX at opset {net.opset}",
                "export the model again, with an opset that has it",
            )
        elif entry is None:
            fault = Fault(
                f"is unknown for this version: the table, of release {trt.table}, does not name it",
                "build an engine to know; else export the model without it",
            )
            yield node.finding("warning", "operator", fault)
            continue
        elif not entry.supported:
            fault = Fault(
                f"is not taken by TensorRT {trt.name}",
                "take the FP32 model that this one was quantised from, and edge-export fp16"
                if op in _QUANTISED
                else "export the model without it, or leave its part of the work to the host",
            )
        else:
            if op not in CONTROL:
                yield from _types(node, entry, trt, net)
            continue
        yield node.finding("error", "operator", fault)


def _types(node: Node, entry: Entry, trt: Release, net: Net) -> Iterator[Finding]:
    seen = set()
    if node.operator == "Constant" and _is_zero_point(node, net):
        return
    for name in judged(node):
        kind = node.type(name)
        known = "FP32" if kind == TensorProto.DOUBLE else TYPE_NAMES.get(kind, "")
        # uint8 has rules of its own; tensors of unknown type stem from nodes with findings
        if not kind or kind in seen or kind == TensorProto.UINT8 or known in entry.types:
            continue
        seen.add(kind)
        fault = Fault(
            f"computes with {type_name(kind)}; TensorRT {trt.name} takes {', '.join(entry.types)}",
            f"cast to {_NEAREST.get(kind, 'float32')} before it, or export it so",
        )
        yield node.finding("error", "type", fault)


def _is_zero_point(node: Node, net: Net) -> bool:
    """The table gives ``Constant`` no int8, though quantised graphs hold their zero points so."""
    readers = net.readers.get(node.proto.output[0], [])
    return all(r.operator in ("QuantizeLinear", "DequantizeLinear") for r in readers)


_NEAREST: dict[int, str] = {
    TensorProto.INT8: "float16",
    TensorProto.INT16: "int32",
    TensorProto.UINT16: "int32",
    TensorProto.UINT32: "int64",
    TensorProto.UINT64: "int64",
}


def judged(node: Node) -> Iterator[str]:
    """The tensors of a node that hold its data: no indices, shapes or flags."""
    schema = node.schema
    if schema is None:
        return
    if node.operator in _JUDGED_BY:
        wanted = _JUDGED_BY[node.operator]
    elif schema.inputs:
        wanted = (schema.inputs[0].type_str,)
    else:
        wanted = tuple(o.type_str for o in schema.outputs)
    for name, formal, _ in node.ports():
        if formal.type_str in wanted:
            yield name


def check_doubles(node: Node) -> Iterator[Fault]:
    """TensorRT has no float64: it takes it for float32, values cut to what that holds."""
    if any(node.type(name) == TensorProto.DOUBLE for name in judged(node)):
        yield Fault(
            "computes with float64, for which TensorRT takes float32", "export the model in float32"
        )


def type_name(kind: int) -> str:
    """ONNX's name of an element type, as users write it: float32, uint8."""
    name = TensorProto.DataType.Name(kind).lower() if kind else "an unknown type"
    return {"float": "float32", "double": "float64"}.get(name, name)
