"""Darknet-style nets (YOLOv3, YOLOv4, YOLO-Fastest): raw heads (1, A·(5 + C), h, w) with anchors.

Preprocessing as in darknet's ``detector test``: RGB / 255, stretched to the input. Heads are bound
to their anchors by the stride that their own shape gives, never by their order or name. Those of
YOLOv5, which have the same shape, are left to ``yolov5``.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engines.errors import ExportError
from export.adopt.families.anchor_grids import (
    anchor_grids,
    anchor_head,
    box_code,
    doubt_logits,
    find_grids,
)
from export.adopt.families.base import Family, Hints, Plan, Preprocess
from export.adopt.foreign import Float, ForeignNet, Outputs

CONF, NMS_IOU = 0.25, 0.45
"""Defaults of darknet's ``detector test`` (src/detector.c: thresh 0.25, nms 0.45)."""


def _recognise(net: ForeignNet, hints: Hints) -> Plan | None:
    grids = None if hints.masks else find_grids(net)
    if grids is None:
        return None
    marked = "anchors" in net.metadata or bool(hints.anchors)
    if not (marked or len(grids.names) > 1 or hints.family == "darknet"):
        return None
    code = box_code(net, hints, grids)
    if code == "yolov5":
        return None
    head, lines = anchor_head(net, hints, grids, code, conf=CONF, nms_iou=NMS_IOU)
    scale, scale_from = _centre_scale(net, hints, head.strides)
    return Plan(
        "darknet",
        hints.apply(Preprocess("RGB", resize="stretch")),
        replace(head, centre_scale=scale),
        lines=(*lines, f"centres      {scale_from}"),
        split=grids.split_names(head),
    )


def _centre_scale(
    net: ForeignNet, hints: Hints, strides: tuple[int, ...]
) -> tuple[tuple[float, ...], str]:
    """The scale_x_y of Darknet by stride, empty where it is 1, and in words where it comes from.

    The metadata has it in the order of its own strides.
    """
    if hints.centre_scale is not None:
        said, origin = hints.centre_scale, "--scale-xy"
        table = dict.fromkeys(strides, said) if isinstance(said, float) else dict(said)
    elif net.literal("scale_x_y") is not None:
        table, origin = _scale_in_metadata(net, strides), "the metadata"
    else:
        return (), "not widened, as of YOLOv3; those of YOLOv4 are: say so with --scale-xy"
    if sorted(table) != list(strides):
        raise ExportError(
            f"{net.path}: scale_x_y from {origin} is for the strides {sorted(table)}, but the "
            f"heads have {list(strides)}. Say it for these with --scale-xy."
        )
    scale = tuple(table[s] for s in strides)
    if set(scale) == {1.0}:
        return (), f"not widened, from {origin}"
    return scale, f"widened by {', '.join(f'{v:g}' for v in scale)}, from {origin}"


def _scale_in_metadata(net: ForeignNet, strides: tuple[int, ...]) -> dict[int, float]:
    """By stride what the metadata says; different scales need strides in the same order.

    Guessed the wrong way round, no proof would tell, as both files would be decoded alike.
    """
    found, order = net.literal("scale_x_y"), net.literal("strides")
    listed = list(found) if isinstance(found, list | tuple) else [found] * len(strides)
    alike = len(listed) == len(strides) and all(v == listed[0] for v in listed)
    try:
        if any(isinstance(v, bool) or not 1 <= float(v) <= 2 for v in listed):
            raise ValueError
        of = strides if alike else tuple(int(s) for s in order)
        return {s: float(v) for s, v in zip(of, listed, strict=True)}
    except (TypeError, ValueError, OverflowError) as exc:
        raise ExportError(
            f"{net.path}: its metadata says scale_x_y {str(found)[:60]} and strides "
            f"{str(order)[:60]}; wanted 1 to 2 for each of the strides, in one order. Say it with "
            "--scale-xy."
        ) from exc


def _doubt(plan: Plan, outputs: Outputs) -> str | None:
    return doubt_logits(plan.boxes, plan.split, outputs)


def _decode(net: ForeignNet, plan: Plan, outputs: Outputs) -> tuple[Float, Float]:
    """By the formulas of YOLOv3 (arXiv 1804.02767, section 2.1), and YOLOv4's scale."""
    head = plan.boxes
    boxes, scores = [], []
    for grid in anchor_grids(head, plan.split, outputs):
        _, _, rows, columns = grid.shape
        # The stride comes from the tensor's own shape, the anchors from what is filed under it.
        stride = net.height // rows
        level = head.strides.index(stride)
        scale = np.float32(head.centre_scale[level] if head.centre_scale else 1)
        for anchor, (anchor_w, anchor_h) in enumerate(head.anchors[level]):
            for row in range(rows):
                for column in range(columns):
                    t = grid[anchor, :, row, column]
                    x = ((_sigmoid(t[0]) - 0.5) * scale + 0.5 + column) * stride
                    y = ((_sigmoid(t[1]) - 0.5) * scale + 0.5 + row) * stride
                    w, h = anchor_w * np.exp(t[2]), anchor_h * np.exp(t[3])
                    boxes.append((x - w / 2, y - h / 2, x + w / 2, y + h / 2))
                    scores.append(_sigmoid(t[4]) * _sigmoid(t[5:]))
    return np.asarray(boxes, np.float32), np.asarray(scores, np.float32)


def _sigmoid(value: Float) -> Float:
    with np.errstate(over="ignore"):  # exp of a very negative logit: 1 / inf is the right 0
        return np.float32(1) / (np.float32(1) + np.exp(-value))


FAMILY = Family("Darknet anchors (YOLOv3, YOLOv4, YOLO-Fastest)", _recognise, _doubt, _decode)
