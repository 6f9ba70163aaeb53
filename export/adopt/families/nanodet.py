"""NanoDet nets before "Plus": three heads of classes, three of distances (arXiv 2006.04388).

Preprocessing as in config/nanodet-m-416.yml of github.com/RangiLyu/nanodet: BGR, ImageNet's mean
and std, ratio kept (nanodet/data/transform/warp.py: centred, black around it).
"""

from __future__ import annotations

import numpy as np

from engines.errors import ExportError
from engines.spec import DetectionHead, TensorSpec
from export.adopt.families.base import Family, Hints, Plan, Preprocess, class_names
from export.adopt.families.boxes import P5, grid_cells, no_shares
from export.adopt.foreign import Float, ForeignNet, Outputs

CONF, NMS_IOU = 0.35, 0.6
"""Defaults of demo/demo.py (show_result) and of nanodet/model/head/nanodet_head.py."""
IMAGENET_BGR = ((103.53, 116.28, 123.675), (57.375, 57.12, 58.395))


def _recognise(net: ForeignNet, hints: Hints) -> Plan | None:
    pairs = [_of_stride(net, s) for s in P5]
    if len(net.outputs) != 2 * len(P5) or any(len(pair) != 2 for pair in pairs):
        return None
    heads = [_in_order(net, a, b) for a, b in pairs]
    widths = {(c.shape[2], d.shape[2]) for c, d in heads}
    if len(widths) != 1:
        return None
    classes, sides = widths.pop()
    if sides % 4 or sides < 8:
        return None
    names, origin = class_names(net, hints, classes)
    outputs = (*(c.name for c, _ in heads), *(d.name for _, d in heads))
    head = DetectionHead("nanodet", outputs, names, strides=P5, conf=CONF, nms_iou=NMS_IOU)
    listed = ", ".join(f"{c.name} and {d.name}" for c, d in heads)
    lines = (
        f"classes      {len(names)}, from {origin}",
        f"heads        {listed}; distances of 0 to {sides // 4 - 1} strides",
    )
    preprocess = hints.apply(Preprocess("BGR", *IMAGENET_BGR, pad_value=0))
    return Plan("nanodet", preprocess, head, lines=lines)


def _of_stride(net: ForeignNet, stride: int) -> list[TensorSpec]:
    """The outputs with a row for every cell of the stride's grid."""
    cells = grid_cells(net, (stride,))
    rows = [t for t in net.outputs if len(t.shape) == 3 and t.dtype == "float32"]
    return [t for t in rows if cells and t.shape[:2] == (1, cells)]


def _in_order(net: ForeignNet, a: TensorSpec, b: TensorSpec) -> tuple[TensorSpec, TensorSpec]:
    """(classes, distances): the scores lie in 0..1 whatever the net sees, the logits do not."""
    seen = net.run(net.noise() * 255 - 128)
    shares = [bool(seen[t.name].min() >= 0 and seen[t.name].max() <= 1) for t in (a, b)]
    if shares == [True, False]:
        return a, b
    if shares == [False, True]:
        return b, a
    raise ExportError(
        f"{net.path}: of {a.name} {list(a.shape)} and {b.name} {list(b.shape)} one must be classes "
        f"in 0 to 1 (after sigmoid) and one the logits of distances, but "
        f"{'both' if all(shares) else 'neither'} lie in 0 to 1. Export NanoDet with its sigmoid."
    )


def _doubt(plan: Plan, outputs: Outputs) -> str | None:
    classes = plan.boxes.outputs[: len(P5)]
    doubts = (no_shares(f"classes in {name}", outputs[name]) for name in classes)
    return next(filter(None, doubts), None)


def _decode(net: ForeignNet, plan: Plan, outputs: Outputs) -> tuple[Float, Float]:
    """By nanodet/model/head/gfl_head.py, ``get_bboxes`` and ``Integral``."""
    names = plan.boxes.outputs
    boxes, scores = [], []
    for i, stride in enumerate(P5):
        scores.append(outputs[names[i]][0])
        cell = 0
        for row in range(net.height // stride):
            for column in range(net.width // stride):
                logits = outputs[names[i + len(P5)]][0, cell].reshape(4, -1)
                left, top, right, bottom = (_expected(bins) * stride for bins in logits)
                x, y = (column + 0.5) * stride, (row + 0.5) * stride
                boxes.append((x - left, y - top, x + right, y + bottom))
                cell += 1
    return np.asarray(boxes, np.float32), np.concatenate(scores)


def _expected(bins: Float) -> float:
    """The mean of 0, 1, 2, … under the softmax of the logits."""
    weights = np.exp(bins - bins.max())
    return float((weights / weights.sum() * np.arange(len(bins))).sum())


FAMILY = Family("NanoDet, classes and distances apart", _recognise, _doubt, _decode)
