"""Darknet-style nets (YOLOv3, YOLOv4, YOLO-Fastest): raw heads (1, A·(5 + C), h, w) with anchors.

Preprocessing as in darknet's ``detector test``: RGB / 255, stretched to the input. Heads are bound
to their anchors by the stride that their own shape gives, never by their order or name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from engines.errors import ExportError, SettingsError
from engines.spec import DetectionHead
from export.adopt.families.base import Anchors, Family, Hints, Plan, Preprocess, class_names
from export.adopt.foreign import Float, ForeignNet, Outputs

CONF, NMS_IOU = 0.25, 0.45
"""Defaults of darknet's ``detector test`` (src/detector.c: thresh 0.25, nms 0.45)."""


def good_anchors(anchors: Mapping[int, Anchors]) -> bool:
    """Whether there are strides, each with anchors, of finite positive sizes."""
    sizes = [side for boxes in anchors.values() for box in boxes for side in box]
    return all(anchors.values()) and bool(sizes) and all(0 < s < math.inf for s in sizes)


def _recognise(net: ForeignNet, hints: Hints) -> Plan | None:
    if hints.masks:
        return None
    heads = _heads_by_stride(net)
    marked = "anchors" in net.metadata or bool(hints.anchors)
    if not heads or not (marked or len(heads) > 1 or hints.family == "darknet"):
        return None
    anchors, anchors_from = _anchors_by_stride(net, hints)
    if sorted(anchors) != sorted(heads):
        raise ExportError(
            f"{net.path}: anchors from {anchors_from} are for the strides {sorted(anchors)}, but "
            f"the heads have {sorted(heads)} ({net.shapes()} at {net.height}x{net.width})."
        )
    strides = tuple(sorted(heads))
    total, count = heads[strides[0]][1], len(anchors[strides[0]])
    alike = all(heads[s][1] == total and len(anchors[s]) == count for s in strides)
    if not alike or total % count:
        raise ExportError(
            f"{net.path}: heads {net.shapes()} do not divide by "
            f"{[len(anchors[s]) for s in strides]} anchors; wanted anchors x (5 + classes)."
        )
    if total // count < 6:
        raise ExportError(
            f"{net.path}: {total} channels for {count} anchors leave no class; wanted "
            "anchors x (5 + classes)."
        )
    names, origin = class_names(net, hints, total // count - 5)
    scale, scale_from = _centre_scale(net, hints, strides)
    head = DetectionHead(
        family="yolo-anchors",
        outputs=tuple(heads[s][0] for s in strides),
        classes=names,
        strides=strides,
        anchors=tuple(anchors[s] for s in strides),
        box_code="darknet",
        conf=CONF,
        nms_iou=NMS_IOU,
        centre_scale=scale,
    )
    listed = ", ".join(f"{heads[s][0]} stride {s}" for s in strides)
    lines = (
        f"classes      {len(names)}, from {origin}",
        f"heads        {listed}; {count} anchors a cell, from {anchors_from}",
        f"centres      {scale_from}",
    )
    return Plan("darknet", hints.apply(Preprocess("RGB", resize="stretch")), head, lines=lines)


def _heads_by_stride(net: ForeignNet) -> dict[int, tuple[str, int]]:
    """The tensor and channels of every stride; empty where an output is no such grid."""
    heads: dict[int, tuple[str, int]] = {}
    for tensor in net.outputs:
        if len(tensor.shape) != 4 or tensor.shape[0] != 1 or tensor.dtype != "float32":
            return {}
        _, channels, rows, columns = tensor.shape
        stride = net.height // max(rows, 1)
        whole = (rows * stride, columns * stride) == (net.height, net.width)
        if stride < 4 or not whole or stride in heads:
            return {}
        heads[stride] = (tensor.name, channels)
    return heads


def _anchors_by_stride(net: ForeignNet, hints: Hints) -> tuple[dict[int, Anchors], str]:
    if hints.anchors:
        return dict(hints.anchors), "--anchors"
    found, strides = net.literal("anchors"), net.literal("strides")
    if found is None or strides is None:
        missing = "anchors" if found is None else "strides"
        raise SettingsError(
            f"{net.path}: its heads {net.shapes()} look like a Darknet net's, but the metadata has "
            f"no {missing}. Give the anchors in input pixels by stride: "
            '--anchors \'{"16": [[12, 18], [37, 49]], "32": [[115, 73], [119, 199]]}\'. If they '
            "are masks, say so with --family semantic."
        )
    try:
        table = {
            int(s): tuple((float(w), float(h)) for w, h in a)
            for s, a in zip(strides, found, strict=True)
        }
    except (TypeError, ValueError, OverflowError) as exc:
        raise ExportError(
            f"{net.path}: its metadata has strides {str(strides)[:60]} and anchors "
            f"{str(found)[:80]}; wanted one list of [width, height] a stride. Give --anchors."
        ) from exc
    if not good_anchors(table):
        raise ExportError(
            f"{net.path}: its metadata has anchors {str(found)[:80]}; wanted positive sizes, one "
            "or more a stride. Give them with --anchors."
        )
    return table, "the metadata"


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
    size = 5 + len(plan.boxes.classes)
    for name in plan.boxes.outputs:
        _, channels, rows, columns = outputs[name].shape
        logits = outputs[name].reshape(channels // size, size, rows, columns)[:, 4:]
        if logits.min() >= 0 and logits.max() <= 1:
            return (
                f"objectness and classes of {name} lie in {logits.min():.3g} to "
                f"{logits.max():.3g}, so they are after sigmoid already; wanted raw logits"
            )
    return None


def _decode(net: ForeignNet, plan: Plan, outputs: Outputs) -> tuple[Float, Float]:
    """By the formulas of YOLOv3 (arXiv 1804.02767, section 2.1), and YOLOv4's scale."""
    head = plan.boxes
    boxes, scores = [], []
    for name in head.outputs:
        _, _, rows, columns = outputs[name].shape
        # The stride comes from the tensor's own shape, the anchors from what is filed under it.
        stride = net.height // rows
        level = head.strides.index(stride)
        anchors = head.anchors[level]
        scale = np.float32(head.centre_scale[level] if head.centre_scale else 1)
        grid = outputs[name][0].reshape(len(anchors), 5 + len(head.classes), rows, columns)
        for anchor, (anchor_w, anchor_h) in enumerate(anchors):
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
