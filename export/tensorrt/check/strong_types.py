"""What a strongly typed network asks of a graph's types: uint8, agreement, FP32 islands, 64 bits.

Inputs that ONNX's schemas bind to one type variable must agree, since TensorRT casts nothing by
itself. What ONNX types apart (scales of a Resize, shapes, indices) is free of that.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import TensorProto, numpy_helper

from engines.base import Array
from export.tensorrt.check.net import Fault, Finding, Net, Node
from export.tensorrt.check.operators import CONTROL, TYPE_NAMES, Release, judged, type_name

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)
UINT8 = TensorProto.UINT8
_INT32 = np.iinfo(np.int32)
_CASTS = ("Cast", "CastLike")


def check_edges(net: Net) -> Iterator[Finding]:
    """Types of the network's inputs and outputs."""
    for what, infos in (("input", net.inputs), ("output", net.outputs)):
        for info in infos:
            kind = info.type.tensor_type.elem_type
            made = net.scope.types.get(info.name, 0)
            if kind not in TYPE_NAMES:
                yield Finding(
                    "error", "type", f"{what} {info.name}", "",
                    f"is {type_name(kind) if kind else 'no tensor'}, which TensorRT does not have",
                    "export it as float32, or as int32 where it counts",
                )  # fmt: skip
            elif what == "output" and made and made != kind:
                yield Finding(
                    "error", "typing", f"output {info.name}", "",
                    f"is declared {type_name(kind)} and computed as {type_name(made)}",
                    f"cast it to {type_name(kind)}, or declare what it is",
                )  # fmt: skip


def check_uint8(node: Node, net: Net) -> Iterator[Fault]:
    """TensorRT has uint8 at the network's edge alone, cast from or to float32 or float16 there."""
    inputs, outputs = ({i.name for i in infos} for infos in (net.inputs, net.outputs))
    read = [n for n in node.proto.input if n and node.type(n) == UINT8]
    made = [n for n in node.proto.output if n and node.type(n) == UINT8]
    if not read and not made:
        return
    about = tuple((read or made)[:1])
    other = node.type(node.proto.output[0] if read else node.input(0))
    if node.operator not in _CASTS:
        yield Fault(
            f"{'reads' if read else 'makes'} uint8 inside the network",
            "quantise to int8 with zero points of 0"
            if "Quantize" in node.operator
            else "cast the image to float32 before any other node, and to uint8 behind the last",
            about,
        )
    elif read and (node.depth or not set(read) <= inputs):
        way_out = "stay in float32 or float16 until the output"
        yield Fault("casts a uint8 that is no input of the network", way_out, about)
    elif made and (made[0] not in outputs or made[0] in net.readers):
        way_out = "cast to uint8 for the output alone, as the last node"
        yield Fault("casts to a uint8 that is used inside the network", way_out, about)
    elif other and other not in FLOATS:
        arrow = f"uint8 to {type_name(other)}" if read else f"{type_name(other)} to uint8"
        yield Fault(
            f"casts {arrow}; TensorRT casts uint8 from and to floats alone",
            "cast in two steps, with float32 between",
            about,
        )


def check_agreement(node: Node, trt: Release) -> Iterator[Fault]:
    """Inputs of one type variable agree, and each has a type that ONNX allows there."""
    schema = node.schema
    if schema is None or node.operator in CONTROL:
        return
    allowed = {c.type_param_str: set(c.allowed_type_strs) for c in schema.type_constraints}
    bound: dict[str, str] = {}
    for name, formal, reads in node.ports():
        kind = node.type(name)
        if not kind:
            continue
        text = f"tensor({TensorProto.DataType.Name(kind).lower()})"
        if text not in allowed.get(formal.type_str, {formal.type_str}):
            yield Fault(
                f"{formal.name!r} is {type_name(kind)}, which ONNX does not allow there",
                f"cast it where it is {'read' if reads else 'made'}",
                (name,),
            )
            continue
        first = bound.setdefault(formal.type_str, name)
        if node.type(first) != kind:
            yield Fault(
                f"mixes {type_name(node.type(first))} and {type_name(kind)}",
                "cast one of them; edge-export fp16 writes such casts",
                (first, name),
            )
    if node.operator == "Pow" and not _pow(node, trt):
        base, exponent = (type_name(node.type(node.input(i))) for i in (0, 1))
        yield Fault(
            f"raises {base} to a power of {exponent}", "cast the exponent to the type of the base"
        )


def _pow(node: Node, trt: Release) -> bool:
    """ONNX lets the exponent have any type; TensorRT takes integer ones from 10.8 on."""
    base, exponent = node.type(node.input(0)), node.type(node.input(1))
    integers = (TensorProto.INT32, TensorProto.INT64)
    same = base == exponent or not (base and exponent)
    return same or (trt.at_least("10.8") and exponent in integers)


def check_islands(net: Net) -> Iterator[Finding]:
    """In an FP16 network, nodes that compute in FP32 without being named as meant to."""
    if not is_half(net):
        return
    free = _free(net)
    for node in net.nodes:
        if node.operator in (*_CASTS, "Constant", *CONTROL) or node.name in net.kept:
            continue
        made = [n for n in node.proto.output if n and n not in free]
        kinds = {node.type(n) for n in judged(node)} & set(FLOATS)  # both: found as mixed
        if made and kinds == {TensorProto.FLOAT} and not _bound_to_float(node):
            fault = Fault(
                "computes in FP32 in an FP16 network, and the file does not say that it should",
                "convert the FP32 file with edge-export fp16; keep it in FP32, and named, with "
                "--keep NODE",
            )
            yield node.finding("error", "island", fault)


def is_half(net: Net) -> bool:
    """Whether any node makes float16."""
    return any(
        node.type(n) == TensorProto.FLOAT16 for node in net.nodes for n in node.proto.output if n
    )


def _bound_to_float(node: Node) -> bool:
    """Whether ONNX has no float16 for the data of this operator."""
    schema = node.schema
    constraints = schema.type_constraints if schema else ()
    allowed = {c.type_param_str: c.allowed_type_strs for c in constraints}
    data = set(judged(node))
    return any(
        name in data
        and node.type(name) == TensorProto.FLOAT
        and "tensor(float16)" not in allowed.get(formal.type_str, [formal.type_str])
        for name, formal, _ in node.ports()
    )


def _free(net: Net) -> set[str]:
    """Tensors that only serve as scales, shapes or indices, directly or through other nodes."""
    free: set[str] = set()
    outputs = {o.name for o in net.outputs}
    for node in reversed(net.nodes):
        for name in node.proto.output:
            readers = net.readers.get(name, [])
            if name in outputs or not readers:
                continue
            if all(
                name not in judged(r)
                or r.operator in ("Shape", "Size")
                or set(filter(None, r.proto.output)) <= free
                for r in readers
            ):
                free.add(name)
    return free


def check_integers(node: Node) -> Iterator[Fault]:
    """64-bit constants beyond 32 bits, but for bounds of a Slice that mean 'to the end'."""
    for i, name in enumerate(node.proto.input):
        held = node.scope.constants.get(name) if name else None
        if held is None or held.data_type not in (TensorProto.INT64, TensorProto.UINT64):
            continue
        values = numpy_helper.to_array(held)
        if not _beyond(values).any():
            continue
        if node.operator == "Slice" and i in (1, 2) and _to_the_end(node, values, ends=i == 2):
            continue
        worst = max(values[_beyond(values)].tolist(), key=abs)
        yield Fault(
            f"reads a constant of {worst}: beyond 32 bits",
            "export a smaller value; a Slice to the end may have any large bound",
            (name,),
        )


def _beyond(values: Array) -> Array:
    return (values > _INT32.max) | (values < _INT32.min)


def _to_the_end(node: Node, values: Array, *, ends: bool) -> bool:
    """Whether each large bound lies where its slice ends, or begins, anyway."""
    steps = node.constant(4)
    if steps is not None and steps.shape != values.shape:
        return False
    forward = np.ones(values.shape, bool) if steps is None else steps > 0
    upper = forward == ends  # ends of a forward slice and starts of a backward one lie above
    meant = np.where(upper, values > _INT32.max, values < _INT32.min)
    return bool((meant | ~_beyond(values)).all())
