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

    def flat(self, value: str, channels: int) -> str:
        """(1, C, h, w) → (1, C, h·w)."""
        return self.op("Reshape", value, self.weight(np.array([1, channels, -1], np.int64)))

    def model(self, outputs: Sequence[str], metadata: Mapping[str, str]) -> onnx.ModelProto:
        shape = [1, 3, self.height, self.width]
        image = helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)
        made = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs]
        graph = helper.make_graph(self.nodes, "foreign", [image], made, self.weights)
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
        "names": json.dumps(COLOUR_CLASSES),
    }
    return net.model(["yolo32", "yolo16"], metadata)


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


FOREIGN: Mapping[str, Callable[..., onnx.ModelProto]] = {
    "ultralytics": ultralytics,
    "yolox": yolox,
    "darknet": darknet,
    "twinlite": twinlite,
    "semantic": semantic,
}
"""One builder a net: ``FOREIGN[name](height, width, opset=…) -> ModelProto``."""


def options_for(name: str, folder: Path) -> list[str]:
    """What must be said on the command line to adopt the net: what its file does not."""
    if name == "yolox":
        names = folder / "names.txt"
        names.write_text("\n".join(COLOUR_CLASSES) + "\n")
        return ["--names", str(names)]
    if name == "semantic":
        mean, std = (",".join(map(str, values)) for values in (MEAN, STD))
        classes = "--mask", "logits:street=background,red,blue"
        return [*classes, "--colour", "RGB", "--mean", mean, "--std", std]
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
