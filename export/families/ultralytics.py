"""Ultralytics detect nets without objectness (YOLOv8, YOLO11): one (1, 4 + C, N) of decoded boxes.

Preprocessing as in ultralytics/data/augment.py (LetterBox, centred, padded with 114) and
engine/predictor.py (BGR → RGB, / 255). Other tasks and layouts are refused by name.
"""

from __future__ import annotations

import re

import numpy as np

from engines.errors import ExportError
from engines.spec import DetectionHead
from export.families.base import (
    Family,
    Hints,
    Plan,
    Preprocess,
    class_names,
    grid_cells,
    only_output,
)
from export.foreign import Float, ForeignNet, Outputs

STRIDES = ((8, 16, 32), (8, 16, 32, 64))
"""P5 and P6 nets (ultralytics/cfg/models)."""
CONF, NMS_IOU = 0.25, 0.7
"""Defaults of ultralytics/cfg/default.yaml and of its predict mode."""


def recognise(net: ForeignNet, hints: Hints) -> Plan | None:
    """See ``Family``."""
    marked = "names" in net.metadata and "stride" in net.metadata and "task" in net.metadata
    if marked:
        _refuse_what_the_metadata_excludes(net)
    tensor = only_output(net, 3)
    if tensor is None:
        if marked:
            raise ExportError(
                f"{net.path}: an Ultralytics detect file, but its outputs are {net.shapes()}; "
                "wanted one float32 [1, 4 + classes, boxes]."
            )
        return None
    _, rows, boxes = tensor.shape
    strides = next((s for s in STRIDES if grid_cells(net, s) == boxes), None)
    if strides is None or rows < 5:
        if marked:
            raise ExportError(
                f"{net.path}: an Ultralytics file whose output {tensor.name} is "
                f"{list(tensor.shape)}; wanted [1, 4 + classes, {grid_cells(net, STRIDES[0])}] for "
                f"an input of {net.height}x{net.width} (YOLOv8 and YOLO11). YOLOv5 and end-to-end "
                "layouts are not adopted."
            )
        return None
    names, origin = class_names(net, hints, rows - 4)
    head = DetectionHead(
        family="yolov8",
        outputs=(tensor.name,),
        classes=names,
        strides=strides,
        conf=CONF,
        nms_iou=NMS_IOU,
    )
    written = net.metadata.get("description") if marked else None
    return Plan(
        family="ultralytics",
        preprocess=hints.apply(Preprocess("RGB", resize="letterbox_center")),
        detection=head,
        said=(
            f"made by      {written or 'unknown: recognised by its output (1, 4 + C, N)'}",
            f"classes      {len(names)}, from {origin}",
        ),
        notice=_notice(net),
    )


def _refuse_what_the_metadata_excludes(net: ForeignNet) -> None:
    task = net.metadata["task"]
    if task != "detect":
        raise ExportError(
            f"{net.path}: made for the task {task!r}, wanted 'detect'. "
            "Export a detection model (yolo export model=yolov8n.pt format=onnx)."
        )
    arguments = net.literal("args")
    nms = isinstance(arguments, dict) and arguments.get("nms") is True
    if nms or net.metadata.get("end2end") == "True":
        raise ExportError(
            f"{net.path}: an end-to-end file, with NMS or its substitute inside. Export it "
            "without: nms=False and end2end=False."
        )
    said = [int(n) for n in re.findall(r"\d+", net.metadata.get("imgsz", ""))]
    # A dynamic export may be adopted at another size than its author's; a static one cannot.
    if said and not net.open_size and tuple((said * 2)[:2]) != (net.height, net.width):
        raise ExportError(
            f"{net.path}: the metadata says imgsz {said}, but the graph's input is "
            f"{net.height}x{net.width} (height x width). Export it again."
        )


def _notice(net: ForeignNet) -> str:
    parts = (net.metadata.get("description"), net.metadata.get("license"))
    return "; ".join(" ".join(p.split()) for p in parts if p)


def doubt(plan: Plan, outputs: Outputs) -> str | None:
    """See ``Family``."""
    assert plan.detection is not None
    values = outputs[plan.detection.outputs[0]][0]
    scores = values[4:]
    if scores.min() < 0 or scores.max() > 1:
        return (
            f"class scores lie in {scores.min():.3g} to {scores.max():.3g}, wanted 0 to 1 "
            "(after sigmoid)"
        )
    if values[:4].max() <= 2:
        return f"box coordinates end at {values[:4].max():.3g}, wanted input pixels"
    return None


def decode(_net: ForeignNet, plan: Plan, outputs: Outputs) -> tuple[Float, Float]:
    """See ``Family``."""
    assert plan.detection is not None
    table = outputs[plan.detection.outputs[0]][0].T  # (N, 4 + C)
    centre, size = table[:, 0:2], table[:, 2:4]
    boxes = np.hstack([centre - size / 2, centre + size / 2])
    return boxes, table[:, 4:]


FAMILY = Family("Ultralytics detect (YOLOv8, YOLO11)", recognise, doubt, decode)
