"""YOLOv5 and YOLOv7 as their exporters leave them: one (1, N, 5 + C) of decoded boxes, objectness.

Preprocessing as in yolov5/utils/augmentations.py (``letterbox``, centred, padded with 114) and
detect.py (BGR → RGB, / 255). Three boxes a cell tell the table from YOLOX's, which has one.
"""

from __future__ import annotations

import numpy as np

from engines.spec import DetectionHead
from export.adopt.families.base import (
    Family,
    Hints,
    Plan,
    Preprocess,
    box_table,
    class_names,
    grid_cells,
)
from export.adopt.foreign import Float, ForeignNet, Outputs

STRIDES = ((8, 16, 32), (8, 16, 32, 64))
"""P5 and P6 nets (yolov5/models and yolov5/models/hub)."""
ANCHORS_A_CELL = 3
CONF, NMS_IOU = 0.25, 0.45
"""Defaults of detect.py in both repositories."""


def recognise(net: ForeignNet, hints: Hints) -> Plan | None:
    """See ``Family``."""
    table = box_table(net)
    if table is None:
        return None
    _, boxes, columns = table.tensor.shape
    cells = (ANCHORS_A_CELL * grid_cells(net, s) for s in STRIDES)
    if boxes not in [n for n in cells if n] or columns < 6 + table.extra:
        return None
    names, origin = class_names(net, hints, columns - 5 - table.extra)
    head = DetectionHead(
        family="yolov5",
        outputs=(table.tensor.name,),
        classes=names,
        conf=CONF,
        nms_iou=NMS_IOU,
        extra=table.extra,
    )
    return Plan(
        family="yolov5",
        preprocess=hints.apply(Preprocess("RGB", resize="letterbox_center")),
        detection=head,
        said=(f"classes      {len(names)}, from {origin}", *table.said),
    )


def doubt(plan: Plan, outputs: Outputs) -> str | None:
    """See ``Family``."""
    assert plan.detection is not None
    table = outputs[plan.detection.outputs[0]][0]
    scores = table[:, 4 : 5 + len(plan.detection.classes)]
    if scores.min() < 0 or scores.max() > 1:
        return (
            f"objectness and class scores lie in {scores.min():.3g} to {scores.max():.3g}, wanted "
            "0 to 1 (after sigmoid)"
        )
    if table[:, :4].max() <= 2:
        return f"box coordinates end at {table[:, :4].max():.3g}, wanted input pixels"
    return None


def decode(_net: ForeignNet, plan: Plan, outputs: Outputs) -> tuple[Float, Float]:
    """See ``Family``."""
    assert plan.detection is not None
    table = outputs[plan.detection.outputs[0]][0]  # (N, 5 + C)
    centre, size = table[:, 0:2], table[:, 2:4]
    boxes = np.hstack([centre - size / 2, centre + size / 2])
    return boxes, table[:, 4:5] * table[:, 5 : 5 + len(plan.detection.classes)]


FAMILY = Family("YOLOv5 and YOLOv7, decoded, with objectness", recognise, doubt, decode)
