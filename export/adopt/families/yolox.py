"""YOLOX nets: one raw (1, N, 5 + C) over the grids of strides 8, 16 and 32 (arXiv 2107.08430).

Preprocessing as in yolox/data/data_augment.py ``preproc``: BGR, 0..255, image at the top left, 114
around it. Files with the decoding inside have the same shape and are refused by their numbers.
"""

from __future__ import annotations

import numpy as np

from engines.spec import DetectionHead
from export.adopt.families.base import Family, Hints, Plan, Preprocess, class_names
from export.adopt.families.boxes import P5, grid_cells, no_shares, only_output
from export.adopt.foreign import Float, ForeignNet, Outputs

CONF, NMS_IOU = 0.3, 0.45
"""Defaults of YOLOX's tools/demo.py (conf) and demo/ONNXRuntime (NMS)."""
RAW_OFFSET_LIMIT = 16.0
"""A raw centre is an offset of a few cells; a decoded one goes up to the image's side. Half of all
centres of a decoded net lie beyond this for any input of 64 pixels and more."""


def _recognise(net: ForeignNet, hints: Hints) -> Plan | None:
    tensor = only_output(net, 3)
    if tensor is None:
        return None
    _, cells, columns = tensor.shape
    if columns < 6 or cells != grid_cells(net, P5):
        return None
    names, origin = class_names(net, hints, columns - 5)
    head = DetectionHead("yolox", (tensor.name,), names, strides=P5, conf=CONF, nms_iou=NMS_IOU)
    default = Preprocess("BGR", std=(1.0, 1.0, 1.0), resize="letterbox_topleft")
    lines = (f"classes      {len(names)}, from {origin}",)
    return Plan("yolox", hints.apply(default), head, lines=lines)


def _doubt(plan: Plan, outputs: Outputs) -> str | None:
    table = outputs[plan.boxes.outputs[0]][0]
    centre = float(np.median(np.abs(table[:, 0:2])))
    if centre > RAW_OFFSET_LIMIT:
        return (
            f"half of the box centres lie beyond {centre:.0f}, so the boxes are decoded already; "
            "wanted raw offsets in cells (export without --decode_in_inference)"
        )
    return no_shares("objectness and class scores", table[:, 4:], " (after sigmoid)")


def _decode(net: ForeignNet, plan: Plan, outputs: Outputs) -> tuple[Float, Float]:
    """By the formulas of yolox/models/yolo_head.py ``decode_outputs``."""
    table = outputs[plan.boxes.outputs[0]][0]  # (N, 5 + C)
    boxes = np.zeros((len(table), 4), np.float32)
    i = 0
    for stride in P5:
        for row in range(net.height // stride):
            for column in range(net.width // stride):
                tx, ty, tw, th = table[i, :4]
                x, y = (column + tx) * stride, (row + ty) * stride
                w, h = np.exp(tw) * stride, np.exp(th) * stride
                boxes[i] = x - w / 2, y - h / 2, x + w / 2, y + h / 2
                i += 1
    return boxes, table[:, 4:5] * table[:, 5:]


FAMILY = Family("YOLOX with raw grids", _recognise, _doubt, _decode)
