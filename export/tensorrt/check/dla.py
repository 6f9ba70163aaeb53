"""Which layers a Jetson's DLA could run, by NVIDIA's public rules; it builds and moves nothing.

``RULES`` names their sources. They are necessary, not sufficient: buffer limits are the compiler's.
What cannot run there runs on the GPU, where a build allows the fallback.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from export.tensorrt.check.net import Finding, Net, Node, Shape
from export.tensorrt.check.operators import Release, judged, type_name
from export.tensorrt.check.strong_types import is_half

RULES = (
    "NVIDIA TensorRT developer guide, 'DLA Supported Layers and Restrictions'; API reference of "
    "TensorRT 10.3 (IResizeLayer, ISliceLayer, ISoftMaxLayer, IUnaryLayer); operator list of "
    "NVIDIA/Deep-Learning-Accelerator-SW"
)
_LARGEST_BATCH, _LARGEST_SIZE = 4096, 8192
_NO_LAYER = frozenset({"Constant", "Identity", "Shape", "Size", "ConstantOfShape", "Dropout"})
"""Folded before a build, or nothing at inference."""
_ELEMENTWISE = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "Sum", "Abs")
Judge = Callable[[Node], str]
"""Why the DLA cannot run a node; empty where nothing speaks against it."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One node and whether a DLA could run it."""

    node: str
    operator: str
    eligible: bool
    reason: str


def check_dla(trt: Release) -> Iterator[Finding]:
    """Whether this release has a DLA at all."""
    if trt.at_least("11.4"):
        yield Finding(
            "warning", "dla", "the file", "",
            "TensorRT 11.4.0 has no DLA on a Jetson; 11.4.1 has, on AGX Orin with JetPack 7.2.2",
            "build there, or with TensorRT 10.3 of JetPack 6",
        )  # fmt: skip
    elif trt.at_least("10.8"):
        yield Finding(
            "error", "dla", "the file", "",
            f"TensorRT {trt.name} has no DLA; of 10.x, 10.7 is the last that has",
            "build with TensorRT 10.3 of JetPack 6, or leave --dla out: the GPU takes all of it",
        )  # fmt: skip


def layers(net: Net) -> list[Layer]:
    """Every node that becomes a layer, with the verdict.

    A graph without float16 is judged as its FP16 form would be: DLA computes float16 and int8.
    """
    half = is_half(net)
    found = []
    for node in net.nodes:
        if node.operator in _NO_LAYER or set(filter(None, node.proto.output)) <= net.folded:
            continue
        reason = _reason(node, half=half)
        found.append(Layer(node.name, node.operator, not reason, reason))
    return found


def _reason(node: Node, *, half: bool) -> str:
    judge = JUDGES.get(node.operator)
    if judge is None:
        return "is none of the layers that a DLA has"
    for name in judged(node):
        kind = node.type(name)
        if kind == TensorProto.FLOAT and half and name not in node.scope.constants:
            return "computes in float32; a DLA computes float16 and int8"
        if kind and kind not in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT8):
            return f"computes with {type_name(kind)}; a DLA computes float16 and int8"
        if name in node.scope.constants:
            continue
        if reason := _sizes(node.scope.shapes.get(name)):
            return reason
    if judge is not _reshape:
        wide = node.operator in _ELEMENTWISE  # judged by the output, as the wider operand
        shape = node.scope.shapes.get(node.proto.output[0]) if wide else node.shape()
        if not shape or len(shape) != 4:
            return "works on other than four dimensions"
    return judge(node)


def _sizes(shape: Shape | None) -> str:
    if shape is None or None in shape:
        return "has an open shape; a DLA wants every size fixed"
    known = [n for n in shape if n is not None]
    if int(np.prod(known[:-3], dtype=np.int64)) > _LARGEST_BATCH:
        return f"has a batch beyond {_LARGEST_BATCH}"
    if any(n > _LARGEST_SIZE for n in known[-3:]):
        return f"has a size beyond {_LARGEST_SIZE}"
    return ""


def _any(_node: Node) -> str:
    return ""


def _within(what: str, values: list[int], low: int, high: int) -> str:
    outside = [v for v in values if not low <= v <= high]
    return f"has {what} {outside[0]}, wanted {low} to {high}" if outside else ""


def _first(*reasons: str) -> str:
    return next(filter(None, reasons), "")


def _clip(node: Node) -> str:
    low, high = node.constant(1), node.constant(2)
    at_zero = node.attribute("min") == 0 if low is None else not low.any()
    held = node.attribute("max") is not None or high is not None
    return "" if at_zero and held else "clips other than at 0 and a constant"


def _concat(node: Node) -> str:
    if node.attribute("axis") not in (1, -3):
        return "joins along another axis than the channels"
    return "" if len(node.proto.input) > 1 else "joins a single tensor"


def _kernel(node: Node) -> list[int]:
    given = node.attribute("kernel_shape")
    if given:
        return list(given)
    weights = node.scope.shapes.get(node.input(1)) or ()
    return [n for n in weights[2:] if n is not None]


def _conv(node: Node) -> str:
    weights = node.scope.shapes.get(node.input(1)) or ()
    return _first(
        "" if node.input(1) in node.scope.constants else "has weights that are computed",
        _within("a kernel of", _kernel(node), 1, 32),
        _within("a stride of", node.attribute("strides", []), 1, 8),
        _within("a padding of", node.attribute("pads", []), 0, 31),
        _within("a dilation of", node.attribute("dilations", []), 1, 32),
        _within("output channels of", [weights[0] or 0] if weights else [], 1, _LARGEST_SIZE),
    )


def _deconv(node: Node) -> str:
    return _first(
        "" if node.input(1) in node.scope.constants else "has weights that are computed",
        "is grouped" if node.attribute("group", 1) != 1 else "",
        "is dilated" if any(d != 1 for d in node.attribute("dilations", [])) else "",
        "is padded" if any(node.attribute("pads", [])) else "",
        _within("a kernel of", _kernel(node), 1, 32),
        _within("a stride of", node.attribute("strides", []), 1, 32),
    )


def _pool(node: Node) -> str:
    return _first(
        _within("a window of", _kernel(node), 1, 8),
        _within("a padding of", node.attribute("pads", []), 0, 7),
        _within("a stride of", node.attribute("strides", []), 1, 16),
    )


def _slope(node: Node) -> str:
    return "" if node.input(1) in node.scope.constants else "has a slope that is computed"


def _statistics(node: Node) -> str:
    held = all(n in node.scope.constants for n in node.proto.input[1:])
    return "" if held else "has statistics that are computed"


def _lrn(node: Node) -> str:
    size = node.attribute("size")
    return "" if size in (3, 5, 7, 9) else f"has a window of {size}"


def _reduce(node: Node) -> str:
    held = node.constant(1)
    axes = node.attribute("axes") if held is None else held.reshape(-1).tolist()
    return "reduces over the batch" if not axes or any(a in (0, -4) for a in axes) else ""


def _reshape(node: Node) -> str:
    before, after = node.shape(), node.scope.shapes.get(node.proto.output[0])
    if before is None or after is None or len(before) != 4 or len(after) != 4:
        return "reshapes from or to other than four dimensions"
    return "" if before[0] == after[0] else "changes the batch"


def _transpose(node: Node) -> str:
    perm = node.attribute("perm", [])
    return "" if perm and perm[0] == 0 else "moves the batch"


def _resize(node: Node) -> str:
    before, after = node.shape(), node.scope.shapes.get(node.proto.output[0])
    if before is None or after is None or None in after or before[:2] != after[:2]:
        return "changes batch or channels"
    mode = node.attribute("mode", "nearest")
    high = {"nearest": 32, "linear": 4}.get(mode, 0)
    ways = (
        node.attribute("coordinate_transformation_mode", "half_pixel"),
        node.attribute("nearest_mode", "round_prefer_floor") if mode == "nearest" else "",
    )
    if ways not in _RESIZES.get(mode, ()):
        return f"resizes as {' '.join(filter(None, (mode, *ways)))}"
    for a, b in zip(before[2:], after[2:], strict=True):
        if not a or not b or b % a or not 1 <= b // a <= high:
            return f"resizes {a} to {b}, wanted a whole factor of 1 to {high}"
    return ""


_RESIZES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "nearest": (
        ("asymmetric", "floor"),
        ("half_pixel", "round_prefer_floor"),
        ("half_pixel", "round_prefer_ceil"),
    ),
    "linear": (("half_pixel", ""),),
}
"""Coordinates and rounding, as IResizeLayer lists them for a DLA."""


def _slice(node: Node) -> str:
    bounds = [node.constant(i) for i in (1, 2, 3, 4)]
    axes = node.attribute("axes") if bounds[2] is None else bounds[2].reshape(-1).tolist()
    given = [i for i in (1, 2, 3, 4) if node.input(i)]
    if any(bounds[i - 1] is None for i in given):
        return "has bounds that are computed"
    if bounds[3] is not None and (bounds[3] != 1).any():
        return "has steps beyond 1"
    return "slices the batch" if axes is None or any(a in (0, -4) for a in axes) else ""


def _split(node: Node) -> str:
    return "splits the batch" if node.attribute("axis", 0) in (0, -4) else ""


def _softmax(node: Node) -> str:
    shape = node.shape()
    assert shape is not None
    axis = int(node.attribute("axis", -1 if node.opset >= 13 else 1)) % 4
    if axis == 0:
        return "works along the batch"
    alone = all(n == 1 for i, n in enumerate(shape) if i not in (0, axis))
    high = _LARGEST_SIZE if alone else 1024
    return _within("an axis of", [shape[axis] or 0], 1, high)


JUDGES: Mapping[str, Judge] = {
    **dict.fromkeys(("Relu", "Sigmoid", "Tanh", "LeakyRelu", *_ELEMENTWISE), _any),
    **dict.fromkeys(("MaxPool", "AveragePool"), _pool),
    "BatchNormalization": _statistics,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "ConvTranspose": _deconv,
    "LRN": _lrn,
    "PRelu": _slope,
    "ReduceMax": _reduce,
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape),
    "Resize": _resize,
    "Slice": _slice,
    "Softmax": _softmax,
    "Split": _split,
    "Transpose": _transpose,
}
