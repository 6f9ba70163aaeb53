"""Nets that choose their boxes themselves (YOLOv10, YOLO26, any with NMS inside): one (1, K, 6).

A row is x0, y0, x1, y1 in input pixels, score, class. Preprocessing is that of Ultralytics, whose
exporter makes these files (``YOLO26``, or ``nms=True`` with others).
"""

from __future__ import annotations

import numpy as np

from engines.errors import ExportError
from engines.spec import DetectionHead
from export.adopt.families.base import Family, Hints, Plan, Preprocess, class_names
from export.adopt.families.boxes import (
    BoxTable,
    box_table,
    classes_in_graph,
    is_end_to_end,
    no_pixels,
    no_shares,
    one_hot,
)
from export.adopt.families.ultralytics import (
    CONF,
    is_marked,
    is_rtdetr,
    notice,
    refuse_other_tasks,
    says_end_to_end,
)
from export.adopt.foreign import Float, ForeignNet, Outputs


def _recognise(net: ForeignNet, hints: Hints) -> Plan | None:
    table = box_table(net)
    if table is None or not is_end_to_end(net, table) or is_rtdetr(net):
        return None
    if is_marked(net):
        refuse_other_tasks(net)
        if says_end_to_end(net) is False:
            raise ExportError(
                f"{net.path}: the output {list(table.tensor.shape)} is an end-to-end net's, but "
                "the metadata says neither end2end nor nms. Export it again."
            )
    labels = _labels(net, table)
    # Not Div: boxes share the output, and divide by other numbers than that of the classes.
    channels = None if labels is None else classes_in_graph(net, labels, ("Mod",))
    names, origin = class_names(net, hints, channels)
    head = DetectionHead(
        "end2end", (table.tensor.name,), names, conf=CONF, nms_iou=None, extra=table.extra
    )
    lines = (
        f"made by      {net.metadata.get('description') or 'unknown'}",
        f"boxes        at most {table.tensor.shape[1]}, chosen in the graph, so no NMS here",
        f"classes      {len(names)}, from {origin}",
        *table.lines,
    )
    preprocess = hints.apply(Preprocess("RGB"))
    return Plan("end-to-end", preprocess, head, lines=lines, notice=notice(net))


def _labels(net: ForeignNet, table: BoxTable) -> str | None:
    """The tensor of the rows' classes, where the graph joins boxes, scores and classes."""
    makers = [n for n in net.model.graph.node if table.tensor.name in n.output]
    behind = 1 if table.extra else 0
    if len(makers) != 1 or makers[0].op_type != "Concat" or len(makers[0].input) != 3 + behind:
        return None
    return str(makers[0].input[2])


def _doubt(plan: Plan, outputs: Outputs) -> str | None:
    table = outputs[plan.boxes.outputs[0]][0]
    return doubt_rows(table[:, :4], table[:, 4], table[:, 5], len(plan.boxes.classes))


def doubt_rows(boxes: Float, scores: Float, labels: Float, classes: int) -> str | None:
    """Why the numbers cannot be corners in pixels, scores and classes; None where they can."""
    if doubt := no_shares("scores", scores):
        return doubt
    used = scores > 0  # rows that the net left empty may hold anything
    if not used.any():
        return None
    boxes, labels = boxes[used], labels[used]
    if (labels != np.rint(labels)).any():
        return f"classes such as {labels[labels != np.rint(labels)][0]:.3g} are no whole numbers"
    if labels.min() < 0 or labels.max() >= classes:
        return f"classes go from {labels.min():.0f} to {labels.max():.0f}, but {classes} have names"
    if doubt := no_pixels(boxes):
        return doubt
    if (boxes[:, 2:] < boxes[:, :2]).any():
        return "boxes end before they begin, wanted the corners x0, y0, x1, y1"
    return None


def _decode(_net: ForeignNet, plan: Plan, outputs: Outputs) -> tuple[Float, Float]:
    table = outputs[plan.boxes.outputs[0]][0]
    return table[:, :4], one_hot(table[:, 5], table[:, 4], len(plan.boxes.classes))


FAMILY = Family("end-to-end (YOLOv10, YOLO26, NMS inside)", _recognise, _doubt, _decode)
