"""Small ONNX files as other projects' exporters would make them: float input, no Outrider spec.

Every net sees the same in a picture: a cell of red is class 0, a cell of blue class 1, grey is
neither. How much of both is a dot product of the three colours with ``RED`` and ``BLUE``, whose
numbers all differ, so a wrong channel order, mean or scale changes every output.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)
CLASSES = ("bright", "dark")
COLOUR_CLASSES = ("red", "blue")
RED, BLUE = (14.0, -8.0, -4.0), (-4.0, -8.0, 14.0)
"""Weights of R, G and B in 0..1; with ``BIAS``, the logit is 9 for a pure colour, -3 for white."""
BIAS = -5.0
BINS = 8
"""NanoDet's reg_max + 1."""
ANCHORS = {16: ((16.0, 16.0), (40.0, 20.0)), 32: ((32.0, 32.0), (60.0, 60.0))}
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""ImageNet's, as most semantic nets are normalised."""


def foreign_yolov8(path: Path, height: int = 64, width: int = 96) -> None:
    """Boxes are the cells of all strides; a cell's score for 'bright' is its mean brightness.

    (1, 4 + 2, N): cx, cy, w, h in input pixels, mean, and 0 for 'dark'.
    """
    nodes, constants, rows, scores = [], [], [], []
    for s in STRIDES:
        ys, xs = np.mgrid[0 : height // s, 0 : width // s]
        centres = (np.stack([xs, ys], axis=0).reshape(2, -1) + 0.5) * s  # (2, n)
        rows.append(np.concatenate([centres, np.full_like(centres, s)]))  # (4, n)
        cell = [s, s]
        pool = helper.make_node(
            "AveragePool", ["images"], [f"pool{s}"], kernel_shape=cell, strides=cell
        )
        nodes.append(pool)
        nodes.append(helper.make_node("ReduceMean", [f"pool{s}"], [f"mean{s}"], axes=[1]))
        nodes.append(helper.make_node("Reshape", [f"mean{s}", "flat"], [f"row{s}"]))  # (1, 1, n)
        scores.append(f"row{s}")
    boxes = np.concatenate(rows, axis=1)[None].astype(np.float32)  # (1, 4, N)
    nodes.append(helper.make_node("Concat", scores, ["bright"], axis=2))  # (1, 1, N)
    nodes.append(helper.make_node("Sub", ["bright", "bright"], ["dark"]))
    nodes.append(helper.make_node("Concat", ["boxes", "bright", "dark"], ["output0"], axis=1))
    constants.append(numpy_helper.from_array(boxes, "boxes"))
    constants.append(numpy_helper.from_array(np.array([1, 1, -1], np.int64), "flat"))
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, height, width])
    found = helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 6, boxes.shape[2]])
    graph = helper.make_graph(nodes, "foreign", [image], [found], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    entries = {
        "names": str(dict(enumerate(CLASSES))),
        "stride": "32",
        "task": "detect",
        "imgsz": f"[{height}, {width}]",
        "description": "a test's own net",
    }
    helper.set_model_props(model, entries)
    onnx.checker.check_model(model)
    onnx.save(model, path)


class _Net:
    """Collects nodes and weights; the methods return the names of their results."""

    def __init__(self, height: int, width: int, opset: int) -> None:
        self.height, self.width, self.opset = height, width, opset
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, values: NDArray[np.generic]) -> str:
        name = f"weight{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def op(self, kind: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        name = out or f"value{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name, **attributes))
        return name

    def conv(
        self,
        stride: int,
        planes: Sequence[Sequence[float]],
        biases: Sequence[float],
        out: str = "",
    ) -> str:
        """Dot products of each cell's mean colour: (1, len(planes), H/stride, W/stride)."""
        per_pixel = np.asarray(planes, np.float32) / stride**2  # (K, 3)
        kernel = np.tile(per_pixel[:, :, None, None], (1, 1, stride, stride))
        weights = self.weight(kernel), self.weight(np.asarray(biases, np.float32))
        size = [stride, stride]
        return self.op("Conv", "images", *weights, out=out, kernel_shape=size, strides=size)

    def top(self, value: str, count: int, axis: int) -> tuple[str, str]:
        """The highest values along an axis and their places."""
        names = [f"value{len(self.nodes)}", f"place{len(self.nodes)}"]
        inputs = [value, self.weight(np.array([count], np.int64))]
        self.nodes.append(helper.make_node("TopK", inputs, names, names[0], axis=axis))
        return names[0], names[1]

    def flat(self, value: str, channels: int) -> str:
        """(1, C, h, w) → (1, C, h·w)."""
        return self.op("Reshape", value, self.weight(np.array([1, channels, -1], np.int64)))

    def model(
        self,
        outputs: Sequence[str],
        metadata: Mapping[str, str],
        *,
        integers: Sequence[str] = (),
        sizes: str = "",
    ) -> onnx.ModelProto:
        shape = [1, 3, self.height, self.width]
        inputs = [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)]
        if sizes:
            inputs.append(helper.make_tensor_value_info(sizes, TensorProto.INT64, ["N", 2]))
        made = [
            helper.make_tensor_value_info(
                n, TensorProto.INT64 if n in integers else TensorProto.FLOAT, None
            )
            for n in outputs
        ]
        graph = helper.make_graph(self.nodes, "foreign", inputs, made, self.weights)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", self.opset)],
            ir_version=10 if self.opset >= 21 else 8,
        )
        helper.set_model_props(model, dict(metadata))
        return model


NOTHING = (0.0, 0.0, 0.0)


def ultralytics(height: int = 64, width: int = 96, *, opset: int = 17) -> onnx.ModelProto:
    """YOLOv8's output (1, 4 + 2, N) and metadata; RGB / 255. Boxes are the cells."""
    net = _Net(height, width, opset)
    rows = []
    for s in STRIDES:
        ys, xs = np.mgrid[0 : height // s, 0 : width // s]
        centres = (np.stack([xs, ys]).reshape(2, -1) + 0.5) * s  # (2, n)
        cells = np.concatenate([centres, np.full_like(centres, s)])[None].astype(np.float32)
        scores = net.op("Sigmoid", net.conv(s, [RED, BLUE], [BIAS] * 2))
        rows.append(net.op("Concat", net.weight(cells), net.flat(scores, 2), axis=1))
    net.op("Concat", *rows, axis=2, out="output0")
    metadata = {
        "description": "Ultralytics tiny model",
        "license": "AGPL-3.0",
        "stride": "32",
        "task": "detect",
        "imgsz": f"[{height}, {width}]",
        "names": str(dict(enumerate(COLOUR_CLASSES))),
    }
    return net.model(["output0"], metadata)


def yolox(height: int = 64, width: int = 96, *, opset: int = 17) -> onnx.ModelProto:
    """YOLOX's raw grid (1, N, 5 + 2), no metadata; BGR 0..255. Boxes are 1.35 cells wide."""
    net = _Net(height, width, opset)
    planes = [tuple(w / 255 for w in reversed(colours)) for colours in (RED, BLUE)]
    rows = []
    for s in STRIDES:
        boxes = net.conv(s, [(0, 0, 0.002), *[NOTHING] * 3], [0.25, 0.5, 0.3, 0.0])
        scores = net.op("Sigmoid", net.conv(s, [NOTHING, *planes], [4.0, BIAS, BIAS]))
        rows.append(net.flat(net.op("Concat", boxes, scores, axis=1), 7))
    net.op("Transpose", net.op("Concat", *rows, axis=2), perm=[0, 2, 1], out="output")
    return net.model(["output"], {})


def cells(stride: int, height: int, width: int) -> NDArray[np.float32]:
    """(4, n) cx, cy, w, h of the cells in pixels, row by row."""
    ys, xs = np.mgrid[0 : height // stride, 0 : width // stride]
    centres = (np.stack([xs, ys]).reshape(2, -1) + 0.5) * stride
    return np.concatenate([centres, np.full_like(centres, stride)]).astype(np.float32)


def corners(height: int, width: int) -> NDArray[np.float32]:
    """(1, N, 4) x0, y0, x1, y1 of the cells of all strides in pixels."""
    boxes = np.concatenate([cells(s, height, width) for s in STRIDES], axis=1).T[None]
    half = boxes[..., 2:] / 2
    return np.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], axis=2)


def ultralytics_segment(height: int = 64, width: int = 96, *, opset: int = 17) -> onnx.ModelProto:
    """YOLOv8-seg: the boxes of ``ultralytics`` with 3 mask coefficients each, and prototypes."""
    model = ultralytics(height, width, opset=opset)
    net = _Net(height, width, opset)
    net.nodes, net.weights = list(model.graph.node), list(model.graph.initializer)
    net.nodes[-1].output[0] = net.nodes[-1].name = "boxes"
    waves = np.sin(np.arange(3 * corners(height, width).shape[1], dtype=np.float32))
    net.op("Concat", "boxes", net.weight(waves.reshape(1, 3, -1)), axis=1, out="output0")
    net.conv(4, [RED, BLUE, NOTHING], [0.0, 0.0, 1.0], out="output1")
    metadata = {p.key: p.value for p in model.metadata_props} | {"task": "segment"}
    return net.model(["output0", "output1"], metadata)


def yolo26(height: int = 64, width: int = 96, *, opset: int = 17) -> onnx.ModelProto:
    """End-to-end: the 40 best cells (1, 40, 6) as x0, y0, x1, y1, score, class; RGB / 255."""
    net = _Net(height, width, opset)
    boxes, score, label = _best_cells(net, net.weight(corners(height, width)), 40)
    column = net.weight(np.array([1, -1, 1], np.int64))
    parts = [net.op("Reshape", part, column) for part in (score, label)]
    parts[1] = net.op("Cast", parts[1], to=TensorProto.FLOAT)
    net.op("Concat", boxes, *parts, axis=2, out="output0")
    metadata = {
        "description": "Ultralytics tiny end-to-end model",
        "stride": "32",
        "task": "detect",
        "imgsz": f"[{height}, {width}]",
        "names": str(dict(enumerate(COLOUR_CLASSES))),
        "end2end": "True",
    }
    return net.model(["output0"], metadata)


def _best_cells(net: _Net, table: str, count: int) -> tuple[str, str, str]:
    """Of a table (1, N, 4): boxes (1, count, 4), scores and labels (count,) of the best cells."""
    rows = [net.flat(net.conv(s, [RED, BLUE], [BIAS] * 2), 2) for s in STRIDES]
    logits = net.op("Transpose", net.op("Concat", *rows, axis=2), perm=[0, 2, 1])  # (1, N, 2)
    best, label = net.top(net.op("Sigmoid", logits), 1, 2)
    line = net.weight(np.array([-1], np.int64))
    score, place = net.top(net.op("Reshape", best, line), count, 0)
    labels = net.op("Gather", net.op("Reshape", label, line), place, axis=0)
    return net.op("Gather", table, place, axis=1), score, labels


def yolov5(height: int = 64, width: int = 96, *, opset: int = 17) -> onnx.ModelProto:
    """YOLOv5's decoded (1, 3·N, 5 + 2), names in the metadata; RGB / 255. Boxes grow by anchor."""
    net = _Net(height, width, opset)
    rows = []
    for s in STRIDES:
        table = cells(s, height, width)[None]
        scores = net.op("Sigmoid", net.conv(s, [NOTHING, RED, BLUE], [3.0, BIAS, BIAS]))
        for size in (1.0, 1.5, 2.0):
            boxes = table * np.array([1, 1, size, size], np.float32)[None, :, None]
            rows.append(net.op("Concat", net.weight(boxes), net.flat(scores, 3), axis=1))
    net.op("Transpose", net.op("Concat", *rows, axis=2), perm=[0, 2, 1], out="output0")
    return net.model(["output0"], {"stride": "32", "names": str(list(COLOUR_CLASSES))})


def nanodet(height: int = 64, width: int = 96, *, opset: int = 17) -> onnx.ModelProto:
    """NanoDet's three heads of classes and three of distances; BGR, ImageNet's mean and std."""
    net = _Net(height, width, opset)
    std, mean = np.asarray(STD), np.asarray(MEAN)
    planes = [tuple((np.asarray(c) / 255 * std)[::-1]) for c in (RED, BLUE)]
    biases = [BIAS + float(np.dot(c, mean)) / 255 for c in (RED, BLUE)]
    row = np.random.default_rng(5).normal(0, 1, 4 * BINS).tolist()  # the sides of a box differ
    for s in STRIDES:
        scores = net.flat(net.op("Sigmoid", net.conv(s, planes, biases)), 2)
        net.op("Transpose", scores, perm=[0, 2, 1], out=f"cls_{s}")
        sides = net.flat(net.conv(s, [(0.0, 0.1, 0.1 * (i % 3)) for i in range(4 * BINS)], row), 32)
        net.op("Transpose", sides, perm=[0, 2, 1], out=f"dis_{s}")
    return net.model([f"{head}_{s}" for head in ("cls", "dis") for s in STRIDES], {})


def rtdetr(
    height: int = 64, width: int = 96, *, opset: int = 17, classes: int = 2
) -> onnx.ModelProto:
    """RT-DETR's labels, boxes and scores of 40 cells, in the size it is given; RGB / 255.

    Of all cells and classes the best are taken, so a place in that list names both, as there.
    """
    net = _Net(height, width, opset)
    planes, biases = [RED, BLUE, *[NOTHING] * classes], [BIAS, BIAS, *[-9.0] * classes]
    logits = [net.conv(s, planes[:classes], biases[:classes]) for s in STRIDES]
    rows = net.op("Concat", *(net.flat(value, classes) for value in logits), axis=2)
    shares = net.op("Sigmoid", net.op("Transpose", rows, perm=[0, 2, 1]))
    line, row = (net.weight(np.array(n, np.int64)) for n in ([-1], [1, -1]))
    score, place = net.top(net.op("Reshape", shares, line), 40, 0)
    count = net.weight(np.array(classes, np.int64))
    cell = net.op("Div", place, count)
    net.op("Reshape", net.op("Sub", place, net.op("Mul", cell, count)), row, out="labels")
    table = corners(height, width) / np.array([width, height] * 2, np.float32)
    size = net.op("Cast", "orig_target_sizes", to=TensorProto.FLOAT)
    boxes = net.op("Gather", net.weight(table), cell, axis=1)
    net.op("Mul", boxes, net.op("Concat", size, size, axis=1), out="boxes")
    net.op("Reshape", score, row, out="scores")
    return net.model(
        ["labels", "boxes", "scores"], {}, integers=["labels"], sizes="orig_target_sizes"
    )


def ultralytics_rtdetr(height: int = 64, width: int = 96, *, opset: int = 17) -> onnx.ModelProto:
    """Ultralytics' RT-DETR: ``yolo26``, but with cx, cy, w, h in shares of the input."""
    model = yolo26(height, width, opset=opset)
    side = np.array([width, height] * 2, np.float32)[:, None]
    table = np.concatenate([cells(s, height, width) / side for s in STRIDES], axis=1).T[None]
    boxes = next(t for t in model.graph.initializer if list(t.dims) == list(table.shape))
    boxes.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(table), boxes.name))
    entries = {p.key: p.value for p in model.metadata_props}
    del model.metadata_props[:]
    helper.set_model_props(model, entries | {"end2end": "False", "head": "RTDETRDecoder"})
    return model


def rfdetr(height: int = 64, width: int = 96, *, opset: int = 17) -> onnx.ModelProto:
    """RF-DETR's ``dets``, in shares of the input, and logits of 3 classes; ImageNet's numbers."""
    net = _Net(height, width, opset)
    std, mean = np.asarray(STD), np.asarray(MEAN)
    planes = [tuple(np.asarray(c) / 255 * std) for c in (RED, BLUE)]
    biases = [BIAS + float(np.dot(c, mean)) / 255 for c in (RED, BLUE)]
    side = np.array([width, height] * 2, np.float32)[:, None]
    rows = [net.flat(net.conv(s, [*planes, NOTHING], [*biases, -9.0]), 3) for s in STRIDES]
    table = np.concatenate([cells(s, height, width) / side for s in STRIDES], axis=1)
    # A little of the picture in the boxes, as a head that looks at it would have.
    shift = net.op(
        "Mul", net.op("Concat", *rows, axis=2), net.weight(np.full((1, 1, 1), 1e-4, np.float32))
    )
    four = net.op("Gather", shift, net.weight(np.array([0, 1, 0, 1])), axis=1)
    moved = net.op("Add", net.weight(table[None].astype(np.float32)), net.op("Abs", four))
    net.op("Transpose", moved, perm=[0, 2, 1], out="dets")
    net.op("Transpose", net.op("Concat", *rows, axis=2), perm=[0, 2, 1], out="labels")
    return net.model(["dets", "labels"], {})


def darknet(height: int = 64, width: int = 96, *, opset: int = 17) -> onnx.ModelProto:
    """Darknet's raw heads (1, 2·(5 + 2), h, w), the coarse one first; RGB / 255."""
    net = _Net(height, width, opset)
    for s in (32, 16):
        live = [(0.5, 0, 0), (0, 0.5, 0), NOTHING, (0, 0, 0.1), NOTHING, RED, BLUE]
        wide = [NOTHING, NOTHING, NOTHING, NOTHING, (0, 2, 0), RED, BLUE]
        biases = [0.0, 0.0, 0.1, 0.0, 6.0, BIAS, BIAS, 0.0, 0.0, 0.0, 0.0, -1.0, BIAS, BIAS]
        net.conv(s, [*live, *wide], biases, out=f"yolo{s}")
    metadata = {
        "strides": json.dumps([32, 16]),
        "anchors": json.dumps([ANCHORS[32], ANCHORS[16]]),
        "scale_x_y": "[1.0, 1.0]",
        "names": json.dumps(COLOUR_CLASSES),
    }
    return net.model(["yolo32", "yolo16"], metadata)


def yolov5_raw(
    height: int = 64, width: int = 96, *, opset: int = 17, split: bool = True
) -> onnx.ModelProto:
    """YOLOv5's raw heads, (1, 2, h, w, 5 + 2) or not ``split`` (1, 14, h, w); RGB / 255.

    The second anchor of a cell never fires; the first is wide by tw = 1, and high by th = 0 or,
    where it is red, a little more.
    """
    net = _Net(height, width, opset)
    for s in (32, 16):
        live = [(0.5, 0, 0), (0, 0.5, 0), NOTHING, (0.1, 0, 0), NOTHING, RED, BLUE]
        biases = [0.0, 0.0, 1.0, 0.0, 6.0, BIAS, BIAS, *[0.0] * 4, -9.0, BIAS, BIAS]
        flat = net.conv(s, [*live, *[NOTHING] * 7], biases, out="" if split else f"out{s}")
        if split:
            shape = np.array([1, 2, 7, height // s, width // s], np.int64)
            parted = net.op("Reshape", flat, net.weight(shape))
            net.op("Transpose", parted, perm=[0, 1, 3, 4, 2], out=f"out{s}")
    return net.model(["out32", "out16"], {})


def twinlite(height: int = 64, width: int = 96, *, opset: int = 17) -> onnx.ModelProto:
    """TwinLiteNet's two heads (1, 2, H, W) by name; RGB / 255. Red is drivable, blue a lane."""
    net = _Net(height, width, opset)
    net.conv(1, [NOTHING, RED], [0.0, BIAS], out="drive_area")
    net.conv(1, [NOTHING, BLUE], [0.0, BIAS], out="lane_line")
    return net.model(["drive_area", "lane_line"], {})


def semantic(height: int = 64, width: int = 96, *, opset: int = 17) -> onnx.ModelProto:
    """Logits (1, 3, H/4, W/4) of background, red and blue; RGB, ImageNet's mean and std."""
    net = _Net(height, width, opset)
    std, mean = np.asarray(STD), np.asarray(MEAN)
    planes = [np.asarray(colours) / 255 * std for colours in (RED, BLUE)]
    biases = [BIAS + float(np.dot(colours, mean)) / 255 for colours in (RED, BLUE)]
    net.conv(4, [NOTHING, *map(tuple, planes)], [0.0, *biases], out="logits")
    return net.model(["logits"], {})


def semantic_labels(height: int = 64, width: int = 96, *, opset: int = 17) -> onnx.ModelProto:
    """``semantic`` with its argmax inside: labels int64 (1, H/4, W/4)."""
    model = semantic(height, width, opset=opset)
    net = _Net(height, width, opset)
    net.nodes, net.weights = list(model.graph.node), list(model.graph.initializer)
    net.op("ArgMax", "logits", axis=1, keepdims=0, out="classes")
    return net.model(["classes"], {}, integers=["classes"])


def semantic_binary(height: int = 64, width: int = 96, *, opset: int = 17) -> onnx.ModelProto:
    """A single channel after sigmoid (1, 1, H, W): how likely a pixel is red; RGB / 255."""
    net = _Net(height, width, opset)
    net.op("Sigmoid", net.conv(1, [RED], [BIAS]), out="red")
    return net.model(["red"], {})


def ultralytics_semantic(
    height: int = 64, width: int = 96, *, opset: int = 17, classes: int = 3, baked: bool = False
) -> onnx.ModelProto:
    """Of road, red and blue the best, uint8 (1, H, W), or not ``baked`` logits; RGB / 255.

    Of one class it is whether there is red.
    """
    net = _Net(height, width, opset)
    planes, biases = [NOTHING, RED, BLUE], [0.0, BIAS, BIAS]
    if classes == 1:
        planes, biases = planes[1:2], biases[1:2]
    logits = net.conv(1, planes, biases, out="" if baked else "output0")
    names = dict(enumerate(["road", "red", "blue"] if classes == 3 else ["red"]))
    if baked:
        if classes == 1:
            first = net.op("Squeeze", logits, net.weight(np.array([1], np.int64)))
            best = net.op("Greater", first, net.weight(np.array(0, np.float32)))
        else:
            best = net.op("ArgMax", logits, axis=1, keepdims=0)
        net.op("Cast", best, to=TensorProto.UINT8, out="output0")
    metadata = {
        "description": "Ultralytics tiny semantic model",
        "stride": "32",
        "task": "semantic",
        "imgsz": f"[{height}, {width}]",
        "names": str(names),
    }
    model = net.model(["output0"], metadata)
    if baked:
        model.graph.output[0].type.tensor_type.elem_type = TensorProto.UINT8
    return model


FOREIGN: Mapping[str, Callable[..., onnx.ModelProto]] = {
    "ultralytics": ultralytics,
    "ultralytics-segment": ultralytics_segment,
    "yolo26": yolo26,
    "yolov5": yolov5,
    "yolov5-raw": yolov5_raw,
    "yolox": yolox,
    "nanodet": nanodet,
    "rtdetr": rtdetr,
    "rfdetr": rfdetr,
    "ultralytics-rtdetr": ultralytics_rtdetr,
    "darknet": darknet,
    "twinlite": twinlite,
    "ultralytics-semantic": ultralytics_semantic,
    "semantic": semantic,
    "semantic-labels": semantic_labels,
    "semantic-binary": semantic_binary,
}
"""One builder a net: ``FOREIGN[name](height, width, opset=…) -> ModelProto``."""


def options_for(name: str, folder: Path) -> list[str]:
    """What must be said on the command line to adopt the net: what its file does not."""
    if name in ("yolox", "nanodet", "rtdetr", "rfdetr", "yolov5-raw"):
        names = folder / "names.txt"
        classes = (*COLOUR_CLASSES, "never") if name == "rfdetr" else COLOUR_CLASSES
        names.write_text("\n".join(classes) + "\n")
        anchors = ["--anchors", json.dumps(ANCHORS)] if name == "yolov5-raw" else []
        return ["--names", str(names), *anchors]
    if name in ("semantic", "semantic-labels"):
        mean, std = (",".join(map(str, values)) for values in (MEAN, STD))
        head = "logits" if name == "semantic" else "classes"
        classes_of = "--mask", f"{head}:street=background,red,blue"
        return [*classes_of, "--colour", "RGB", "--mean", mean, "--std", std]
    if name == "semantic-binary":
        plain = "--colour", "RGB", "--mean", "0,0,0", "--std", "255,255,255"
        return ["--mask", "red=background,red", *plain]
    return []


def colour_frame(
    seed: int, height: int = 64, width: int = 96, *, cell: int = 16
) -> NDArray[np.uint8]:
    """(H, W, 3) BGR: cells of red, blue and grey of all brightnesses, with noise on top."""
    rng = np.random.default_rng(seed)
    rows, columns = -(-height // cell), -(-width // cell)
    colours = rng.integers(0, 3, (rows, columns))
    bright = rng.integers(90, 250, (rows, columns))
    cells = np.zeros((rows, columns, 3), np.uint8)
    cells[..., 2] = np.where(colours != 1, bright, 0)  # red, and grey's share of it
    cells[..., 0] = np.where(colours != 0, bright, 0)
    cells[..., 1] = np.where(colours == 2, bright, 0)
    image = cells.repeat(cell, axis=0).repeat(cell, axis=1)[:height, :width]
    noise = rng.integers(0, 6, image.shape)
    return (image + noise).astype(np.uint8)  # at most 249 + 5
