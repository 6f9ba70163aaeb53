"""A small ONNX file as Ultralytics would export it: float RGB input, no Outrider spec."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)
CLASSES = ("bright", "dark")


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
