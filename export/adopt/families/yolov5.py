"""YOLOv5 and YOLOv7: one (1, N, 5 + C) of decoded boxes with objectness, or the raw grids of it.

Preprocessing as in yolov5/utils/augmentations.py (``letterbox``, centred, padded with 114) and
detect.py (BGR → RGB, / 255). Three boxes a cell tell the table from YOLOX's, which has one.
"""

from __future__ import annotations

import numpy as np

from engines.spec import DetectionHead
from export.adopt.families.anchor_grids import (
    anchor_grids,
    anchor_head,
    box_code,
    doubt_logits,
    find_grids,
)
from export.adopt.families.base import Family, Hints, Plan, Preprocess, class_names
from export.adopt.families.boxes import P5, P6, box_table, corners, grid_cells, no_pixels, no_shares
from export.adopt.foreign import Float, ForeignNet, Outputs

ANCHORS_A_CELL = 3
CONF, NMS_IOU = 0.25, 0.45
"""Defaults of detect.py in both repositories."""


def _recognise(net: ForeignNet, hints: Hints) -> Plan | None:
    table = box_table(net)
    if table is None:
        return _raw(net, hints)
    _, boxes, columns = table.tensor.shape
    cells = (ANCHORS_A_CELL * grid_cells(net, strides) for strides in (P5, P6))
    if boxes not in [n for n in cells if n] or columns < 6 + table.extra:
        return None
    names, origin = class_names(net, hints, columns - 5 - table.extra)
    head = DetectionHead(
        "yolov5", (table.tensor.name,), names, conf=CONF, nms_iou=NMS_IOU, extra=table.extra
    )
    lines = (f"classes      {len(names)}, from {origin}", *table.lines)
    return Plan("yolov5", hints.apply(Preprocess("RGB")), head, lines=lines)


def _raw(net: ForeignNet, hints: Hints) -> Plan | None:
    """The plan of raw grids, as of ``export.py --train``, and of YOLOv7's without ``--grid``."""
    grids = None if hints.masks else find_grids(net)
    if grids is None or box_code(net, hints, grids) != "yolov5":
        return None
    head, lines = anchor_head(net, hints, grids, "yolov5", conf=CONF, nms_iou=NMS_IOU)
    preprocess = hints.apply(Preprocess("RGB"))
    return Plan("yolov5", preprocess, head, lines=lines, split=grids.split_names(head))


def _doubt(plan: Plan, outputs: Outputs) -> str | None:
    if plan.boxes.family == "yolo-anchors":
        return doubt_logits(plan.boxes, plan.split, outputs)
    table = outputs[plan.boxes.outputs[0]][0]
    scores = table[:, 4 : 5 + len(plan.boxes.classes)]
    return no_shares("objectness and class scores", scores, " (after sigmoid)") or no_pixels(
        table[:, :4]
    )


def _decode(net: ForeignNet, plan: Plan, outputs: Outputs) -> tuple[Float, Float]:
    if plan.boxes.family == "yolo-anchors":
        return _decode_raw(net, plan, outputs)
    table = outputs[plan.boxes.outputs[0]][0]  # (N, 5 + C)
    scores = table[:, 4:5] * table[:, 5 : 5 + len(plan.boxes.classes)]
    return corners(table[:, 0:2], table[:, 2:4]), scores


def _decode_raw(net: ForeignNet, plan: Plan, outputs: Outputs) -> tuple[Float, Float]:
    """By ``Detect.forward`` of yolov5/models/yolo.py, from its ``y = x[i].sigmoid()`` on."""
    head = plan.boxes
    boxes, scores = [], []
    for grid, anchors in zip(anchor_grids(head, plan.split, outputs), head.anchors, strict=True):
        with np.errstate(over="ignore"):  # exp of a very negative logit: 1 / inf is the right 0
            y = np.float32(1) / (np.float32(1) + np.exp(-grid))  # (A, 5 + C, h, w)
        rows, columns = y.shape[2:]
        xs, ys = np.meshgrid(np.arange(columns), np.arange(rows))
        cells = np.stack([xs, ys]).astype(np.float32)  # (2, h, w)
        sizes = np.asarray(anchors, np.float32)[:, :, None, None]  # (A, 2, 1, 1)
        centre = (y[:, 0:2] * 2 - 0.5 + cells) * (net.height // rows)  # (A, 2, h, w)
        size = (y[:, 2:4] * 2) ** 2 * sizes
        centre, size = (v.transpose(0, 2, 3, 1).reshape(-1, 2) for v in (centre, size))
        boxes.append(corners(centre, size))
        scores.append((y[:, 4:5] * y[:, 5:]).transpose(0, 2, 3, 1).reshape(len(centre), -1))
    return np.concatenate(boxes), np.concatenate(scores)


FAMILY = Family("YOLOv5 and YOLOv7 with objectness, decoded or raw", _recognise, _doubt, _decode)
