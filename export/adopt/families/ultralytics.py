"""Ultralytics nets without objectness (YOLOv8, YOLO11): one (1, 4 + C, N) of decoded boxes.

Preprocessing as in ultralytics/data/augment.py (LetterBox, centred, padded with 114) and
engine/predictor.py (BGR → RGB, / 255). Of a segmenter the boxes are taken; the task 'semantic' is
left to ``semantic``, other tasks are refused.
"""

from __future__ import annotations

from engines.errors import ExportError
from engines.redact import plain
from engines.spec import DetectionHead
from export.adopt.families.base import Family, Hints, Plan, Preprocess, class_names
from export.adopt.families.boxes import (
    P5,
    P6,
    box_table,
    corners,
    grid_cells,
    is_end_to_end,
    no_pixels,
    no_shares,
)
from export.adopt.foreign import Float, ForeignNet, Outputs

CONF, NMS_IOU = 0.25, 0.7
"""Defaults of ultralytics/cfg/default.yaml and of its predict mode."""


def _recognise(net: ForeignNet, hints: Hints) -> Plan | None:
    marked = is_marked(net)
    if is_semantic(net):
        return None
    if marked:
        refuse_other_tasks(net)
    table = box_table(net)
    if table is None:
        if marked:
            raise ExportError(
                f"{net.path}: an Ultralytics detect file, but its outputs are {net.shapes()}; "
                "wanted one float32 [1, 4 + classes, boxes]."
            )
        return None
    if is_end_to_end(net, table):
        return None
    if marked and says_end_to_end(net):
        raise ExportError(
            f"{net.path}: the metadata says end-to-end or nms, but the output "
            f"{list(table.tensor.shape)} has a box a cell. Export it again."
        )
    tensor = table.tensor
    _, rows, boxes = tensor.shape
    strides = next((s for s in (P5, P6) if grid_cells(net, s) == boxes), None)
    if strides is None or rows < 5 + table.extra:
        if marked and not grid_cells(net, P5):
            raise ExportError(
                f"{net.path}: an Ultralytics file at {net.height}x{net.width} (height x width), "
                f"wanted multiples of {P5[-1]}. Say another size with --size, or export it "
                "at one."
            )
        if marked:
            raise ExportError(
                f"{net.path}: an Ultralytics file whose output {tensor.name} is "
                f"{list(tensor.shape)}; wanted [1, 4 + classes, {grid_cells(net, P5)}] for "
                f"an input of {net.height}x{net.width} (YOLOv8 and YOLO11), or [1, boxes, 6] "
                "(end-to-end)."
            )
        return None
    names, origin = class_names(net, hints, rows - 4 - table.extra)
    head = DetectionHead(
        family="yolov8",
        outputs=(tensor.name,),
        classes=names,
        strides=strides,
        conf=CONF,
        nms_iou=NMS_IOU,
        extra=table.extra,
    )
    written = net.metadata.get("description") if marked else None
    lines = (
        f"made by      {written or 'unknown: recognised by its output (1, 4 + C, N)'}",
        f"classes      {len(names)}, from {origin}",
        *table.lines,
    )
    preprocess = hints.apply(Preprocess("RGB"))
    return Plan("ultralytics", preprocess, head, lines=lines, notice=notice(net))


def is_marked(net: ForeignNet) -> bool:
    """Whether the file has the metadata that the ``ultralytics`` package writes."""
    return "names" in net.metadata and "stride" in net.metadata and "task" in net.metadata


def is_semantic(net: ForeignNet) -> bool:
    """Whether it is a semantic net of Ultralytics."""
    return is_marked(net) and net.metadata["task"] == "semantic"


def is_rtdetr(net: ForeignNet) -> bool:
    """Whether it is an RT-DETR of Ultralytics, whose rows look like an end-to-end YOLO's."""
    return is_marked(net) and net.metadata.get("head") == "RTDETRDecoder"


def says_end_to_end(net: ForeignNet) -> bool | None:
    """Whether the metadata says that boxes are chosen in the graph; None where it says nothing."""
    arguments = net.literal("args")
    if isinstance(arguments, dict) and arguments.get("nms") is True:
        return True
    return {"True": True, "False": False}.get(net.metadata.get("end2end", ""))


def refuse_other_tasks(net: ForeignNet) -> None:
    """Raises ExportError where the metadata is of another task."""
    task = net.metadata["task"][:60]
    if task not in ("detect", "segment"):
        raise ExportError(
            f"{net.path}: made for the task {task!r}, wanted 'detect', 'segment' for its boxes, or "
            "'semantic'. Export a detection model (yolo export model=yolov8n.pt format=onnx)."
        )


def notice(net: ForeignNet) -> str:
    """Origin and licence as the metadata has them."""
    parts = (net.metadata.get("description"), net.metadata.get("license"))
    return plain("; ".join(" ".join(p.split()) for p in parts if p))


def _doubt(plan: Plan, outputs: Outputs) -> str | None:
    values = outputs[plan.boxes.outputs[0]][0]
    scores = values[4 : 4 + len(plan.boxes.classes)]
    return no_shares("class scores", scores, " (after sigmoid)") or no_pixels(values[:4])


def _decode(_net: ForeignNet, plan: Plan, outputs: Outputs) -> tuple[Float, Float]:
    table = outputs[plan.boxes.outputs[0]][0].T  # (N, 4 + C)
    scores = table[:, 4 : 4 + len(plan.boxes.classes)]
    return corners(table[:, 0:2], table[:, 2:4]), scores


FAMILY = Family("Ultralytics without objectness (YOLOv8, YOLO11)", _recognise, _doubt, _decode)
