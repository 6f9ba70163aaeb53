"""YOLOv5 and YOLOv7 as their exporters leave them: one (1, N, 5 + C) of decoded boxes, objectness.

Preprocessing as in yolov5/utils/augmentations.py (``letterbox``, centred, padded with 114) and
detect.py (BGR → RGB, / 255). Three boxes a cell tell the table from YOLOX's, which has one.
"""

from __future__ import annotations

from engines.spec import DetectionHead
from export.adopt.families.base import Family, Hints, Plan, Preprocess, class_names
from export.adopt.families.boxes import P5, P6, box_table, corners, grid_cells, no_pixels, no_shares
from export.adopt.foreign import Float, ForeignNet, Outputs

ANCHORS_A_CELL = 3
CONF, NMS_IOU = 0.25, 0.45
"""Defaults of detect.py in both repositories."""


def _recognise(net: ForeignNet, hints: Hints) -> Plan | None:
    table = box_table(net)
    if table is None:
        return None
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


def _doubt(plan: Plan, outputs: Outputs) -> str | None:
    table = outputs[plan.boxes.outputs[0]][0]
    scores = table[:, 4 : 5 + len(plan.boxes.classes)]
    return no_shares("objectness and class scores", scores, " (after sigmoid)") or no_pixels(
        table[:, :4]
    )


def _decode(_net: ForeignNet, plan: Plan, outputs: Outputs) -> tuple[Float, Float]:
    table = outputs[plan.boxes.outputs[0]][0]  # (N, 5 + C)
    scores = table[:, 4:5] * table[:, 5 : 5 + len(plan.boxes.classes)]
    return corners(table[:, 0:2], table[:, 2:4]), scores


FAMILY = Family("YOLOv5 and YOLOv7, decoded, with objectness", _recognise, _doubt, _decode)
