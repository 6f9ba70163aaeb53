"""DETR-style nets: labels, boxes and scores (RT-DETR, D-FINE), or raw logits and boxes (RF-DETR).

The first form takes the picture's size as a second input and gives boxes of that size; adoption
puts the size of the net's input there, so boxes come in input pixels. Outputs may lack the axis of
the batch. Preprocessing as in
configs/rtdetr/include/dataloader.yml of github.com/lyuwenyu/RT-DETR: RGB / 255, stretched.
Ultralytics' RT-DETR gives rows of cx, cy, w, h in shares, score, class.
"""

from __future__ import annotations

import numpy as np

from engines.base import Array
from engines.errors import ExportError
from engines.spec import DetectionHead, TensorSpec
from export.adopt.families.base import Family, Hints, Plan, Preprocess, RowsPlan, class_names
from export.adopt.families.boxes import box_table, classes_in_graph, corners, is_end_to_end, one_hot
from export.adopt.families.end_to_end import doubt_rows
from export.adopt.families.ultralytics import is_rtdetr, notice, refuse_other_tasks
from export.adopt.foreign import Float, ForeignNet, Outputs

CONF = 0.5
"""Between the thresholds of D-FINE's tools/inference/onnx_inf.py (0.4) and of RT-DETR's (0.6)."""
RF_DETR = {"dets", "labels"}
"""Its outputs (rfdetr.roboflow.com, ONNX inference); it alone of these wants ImageNet's mean."""
IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
PROBE = (1000, 0)
FORMS = {
    "labels": "labels, boxes and scores",
    "logits": "logits, and boxes in shares",
    "shares": "rows in shares",
}
"""``RowsPlan.form`` in words."""


def _recognise(net: ForeignNet, hints: Hints) -> Plan | None:
    rows = _with_labels(net) or _raw(net) or _of_ultralytics(net)
    if rows is None:
        return None
    if net.sizes is not None:
        _refuse_another_order(net, rows)
    shapes = {t.name: t.shape for t in net.outputs}
    channels = (
        shapes[rows.scores][-1]
        if rows.form == "logits"
        else classes_in_graph(net, rows.labels or rows.boxes)
    )
    if rows.form == "logits" and hints.names is not None and len(hints.names) + 1 == channels:
        raise ExportError(
            f"{net.path}: --names has {len(hints.names)} class names for {channels} columns of "
            "logits. An RF-DETR has one column more than classes, for background: give it a name "
            "as well, the last line of the file."
        )
    names, origin = class_names(net, hints, channels)
    default = Preprocess("RGB", resize="stretch")
    if set(shapes) == RF_DETR:
        default = Preprocess("RGB", *IMAGENET, resize="stretch")
    head = DetectionHead("end2end", (rows.output,), names, conf=CONF, nms_iou=None)
    given = f"; {net.sizes.name} is {net.width}, {net.height} for good" if net.sizes else ""
    lines = (
        f"heads        {FORMS[rows.form]}, at most {shapes[rows.boxes][-2]} boxes, no NMS{given}",
        f"classes      {len(names)}, from {origin}",
    )
    return Plan("detr", hints.apply(default), head, lines=lines, rows=rows, notice=notice(net))


def _with_labels(net: ForeignNet) -> RowsPlan | None:
    """Boxes (1, K, 4) with labels and real scores, both (1, K); each may lack the 1."""
    boxes = [t for t in net.outputs if _without_batch(t, 2)[1:] == (4,)]
    flat = [t for t in net.outputs if len(_without_batch(t, 1)) == 1]
    labels = [t for t in flat if t.dtype in ("int64", "int32")]
    if not labels:  # some exporters have nothing but float32
        labels = [t for t in flat if any(word in t.name.lower() for word in ("label", "class"))]
    scores = [t for t in flat if t.dtype == "float32" and t not in labels]
    if (len(boxes), len(labels), len(scores), len(net.outputs)) != (1, 1, 1, 3):
        return None
    counts = {_without_batch(boxes[0], 2)[:1], *(_without_batch(t, 1) for t in flat)}
    if len(counts) != 1 or boxes[0].dtype != "float32":
        return None
    return RowsPlan(net.fresh("detections"), boxes[0].name, scores[0].name, labels[0].name)


def _raw(net: ForeignNet) -> RowsPlan | None:
    """Boxes (1, K, 4) and logits (1, K, C), or both without the 1; by name where C is 4 as well."""
    if len(net.outputs) != 2 or net.sizes is not None:
        return None
    a, b = net.outputs
    shapes = {t.name: _without_batch(t, 2) for t in (a, b)}
    rows = {shape[:1] for shape in shapes.values()}
    if len(rows) != 1 or rows == {()} or any(t.dtype != "float32" for t in (a, b)):
        return None
    boxes = [t for t in (a, b) if shapes[t.name][1] == 4]
    if len(boxes) == 2:
        boxes = [t for t in boxes if any(word in t.name.lower() for word in ("box", "dets"))]
    if len(boxes) != 1:
        return None
    logits = b if boxes[0] is a else a
    return RowsPlan(net.fresh("detections"), boxes[0].name, logits.name, form="logits")


def _without_batch(tensor: TensorSpec, dimensions: int) -> tuple[int, ...]:
    """The shape of one image's tensor of so many ``dimensions``; empty where it is no such."""
    shape = tensor.shape
    if len(shape) == dimensions + 1 and shape[0] == 1:
        shape = shape[1:]
    return shape if len(shape) == dimensions else ()


def _of_ultralytics(net: ForeignNet) -> RowsPlan | None:
    """Rows (1, K, 6), by the metadata: their shape is that of an end-to-end YOLO."""
    table = box_table(net)
    if not is_rtdetr(net) or table is None or not is_end_to_end(net, table) or table.extra:
        return None
    refuse_other_tasks(net)
    return RowsPlan(net.fresh("detections"), table.tensor.name, form="shares")


def _refuse_another_order(net: ForeignNet, rows: RowsPlan) -> None:
    """Give the second input (1000, 0): only x may then be anything but 0."""
    assert net.sizes is not None
    boxes = np.abs(net.run(net.noise(), sizes=PROBE)[rows.boxes])
    x, y = boxes[..., 0::2].max(), boxes[..., 1::2].max()
    if not (x > 0 and y == 0):
        raise ExportError(
            f"{net.path}: its second input {net.sizes.name} is not the width and height that boxes "
            f"are scaled by: given {PROBE}, x reaches {x:.3g} and y {y:.3g}. Export the model with "
            "the image alone."
        )


def _doubt(plan: Plan, outputs: Outputs) -> str | None:
    assert plan.rows is not None
    rows, count = plan.rows, len(plan.boxes.classes)
    boxes = _table(outputs[rows.boxes])
    if rows.form == "labels":
        classes = outputs[rows.labels].ravel().astype(np.float32)
        return doubt_rows(boxes, outputs[rows.scores].ravel(), classes, count)
    if boxes[:, :4].min() < 0 or boxes[:, :4].max() > 2:
        return (
            f"box coordinates lie in {boxes[:, :4].min():.3g} to {boxes[:, :4].max():.3g}, wanted "
            "centre and size in shares of the input"
        )
    if rows.form == "shares":
        return doubt_rows(_in_pixels(boxes, 1000, 1000), boxes[:, 4], boxes[:, 5], count)
    scores = _table(outputs[rows.scores])
    if scores.min() >= 0 and scores.max() <= 1:
        return (
            f"scores lie in {scores.min():.3g} to {scores.max():.3g}, so they are after sigmoid or "
            "softmax already; wanted raw logits"
        )
    # Under sigmoid hardly a query is sure of anything; under softmax most are sure of nothing.
    if ((scores.argmax(axis=1) == scores.shape[1] - 1) & (scores[:, -1] > 0)).mean() > 0.5:
        return (
            "the last class wins most queries, so it stands for 'no object' and the classes are "
            "made for softmax (the first DETR); wanted logits for sigmoid"
        )
    return None


def _decode(net: ForeignNet, plan: Plan, outputs: Outputs) -> tuple[Float, Float]:
    assert plan.rows is not None
    rows, count = plan.rows, len(plan.boxes.classes)
    boxes = _table(outputs[rows.boxes])
    if rows.form == "labels":
        return boxes, one_hot(outputs[rows.labels].ravel(), outputs[rows.scores].ravel(), count)
    placed = _in_pixels(boxes, net.width, net.height)
    if rows.form == "shares":
        return placed, one_hot(boxes[:, 5], boxes[:, 4], count)
    logits = _table(outputs[rows.scores])
    return placed, np.float32(1) / (np.float32(1) + np.exp(-logits))


def _table(output: Array) -> Float:
    """A row a box, with or without the axis of the batch."""
    return output.reshape(-1, output.shape[-1])


def _in_pixels(boxes: Float, width: int, height: int) -> Float:
    """x0, y0, x1, y1 in pixels of cx, cy, w, h in shares."""
    side = np.array([width, height], np.float32)
    return corners(boxes[:, :2] * side, boxes[:, 2:4] * side)


FAMILY = Family("DETR-style (RT-DETR, D-FINE, RF-DETR)", _recognise, _doubt, _decode)
