"""NanoDet nets before "Plus": three heads of classes, three of distances (arXiv 2006.04388).

Preprocessing as in config/nanodet-m-416.yml of github.com/RangiLyu/nanodet: BGR, ImageNet's mean
and std, ratio kept (nanodet/data/transform/warp.py: centred, black around it).
"""

from __future__ import annotations

import numpy as np

from engines.errors import ExportError
from engines.spec import DetectionHead, TensorSpec
from export.adopt.families.base import Family, Hints, Plan, Preprocess, class_names
from export.adopt.foreign import Float, ForeignNet, Outputs

STRIDES = (8, 16, 32)
CONF, NMS_IOU = 0.35, 0.6
"""Defaults of demo/demo.py (show_result) and of nanodet/model/head/nanodet_head.py."""
IMAGENET_BGR = ((103.53, 116.28, 123.675), (57.375, 57.12, 58.395))


def recognise(net: ForeignNet, hints: Hints) -> Plan | None:
    """See ``Family``."""
    pairs = [_of_stride(net, s) for s in STRIDES]
    if len(net.outputs) != 2 * len(STRIDES) or any(len(pair) != 2 for pair in pairs):
        return None
    heads = [_in_order(net, a, b) for a, b in pairs]
    widths = {(c.shape[2], d.shape[2]) for c, d in heads}
    if len(widths) != 1:
        return None
    classes, sides = widths.pop()
    if sides % 4 or sides < 8:
        return None
    names, origin = class_names(net, hints, classes)
    head = DetectionHead(
        family="nanodet",
        outputs=(*(c.name for c, _ in heads), *(d.name for _, d in heads)),
        classes=names,
        strides=STRIDES,
        conf=CONF,
        nms_iou=NMS_IOU,
    )
    mean, std = IMAGENET_BGR
    listed = ", ".join(f"{c.name} and {d.name}" for c, d in heads)
    return Plan(
        family="nanodet",
        preprocess=hints.apply(Preprocess("BGR", mean, std, "letterbox_center", pad_value=0)),
        detection=head,
        said=(
            f"classes      {len(names)}, from {origin}",
            f"heads        {listed}; distances of 0 to {sides // 4 - 1} strides",
        ),
    )


def _of_stride(net: ForeignNet, stride: int) -> list[TensorSpec]:
    """The outputs with a row for every cell of the stride's grid."""
    if net.height % stride or net.width % stride:
        return []
    cells = (net.height // stride) * (net.width // stride)
    return [
        t
        for t in net.outputs
        if len(t.shape) == 3 and t.shape[:2] == (1, cells) and t.dtype == "float32"
    ]


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


def doubt(plan: Plan, outputs: Outputs) -> str | None:
    """See ``Family``."""
    assert plan.detection is not None
    for name in plan.detection.outputs[: len(STRIDES)]:
        low, high = outputs[name].min(), outputs[name].max()
        if low < 0 or high > 1:
            return f"classes in {name} lie in {low:.3g} to {high:.3g}, wanted 0 to 1"
    return None


def decode(net: ForeignNet, plan: Plan, outputs: Outputs) -> tuple[Float, Float]:
    """See ``Family``; nanodet/model/head/gfl_head.py, ``get_bboxes`` and ``Integral``."""
    assert plan.detection is not None
    names = plan.detection.outputs
    boxes, scores = [], []
    for i, stride in enumerate(STRIDES):
        scores.append(outputs[names[i]][0])
        cell = 0
        for row in range(net.height // stride):
            for column in range(net.width // stride):
                logits = outputs[names[i + len(STRIDES)]][0, cell].reshape(4, -1)
                left, top, right, bottom = (_expected(bins) * stride for bins in logits)
                x, y = (column + 0.5) * stride, (row + 0.5) * stride
                boxes.append((x - left, y - top, x + right, y + bottom))
                cell += 1
    return np.asarray(boxes, np.float32), np.concatenate(scores)


def _expected(bins: Float) -> float:
    """The mean of 0, 1, 2, … under the softmax of the logits."""
    weights = np.exp(bins - bins.max())
    return float((weights / weights.sum() * np.arange(len(bins))).sum())


FAMILY = Family("NanoDet, classes and distances apart", recognise, doubt, decode)
