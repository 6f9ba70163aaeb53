"""The reference that adoption is proven against: preprocessing, NMS and placement, written plainly.

It shares no code with the app's letterbox and decoders on purpose: an error in one is not in the
other.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from edge.vision.decode.nms import CANDIDATES
from edge.vision.types import Detections, Image
from engines.base import Array
from engines.spec import Resize
from export.adopt.families.base import MaskPlan, Plan, Preprocess
from export.adopt.foreign import Float, ForeignNet


def reference_blob(frame: Image, wanted: Preprocess, height: int, width: int) -> Float:
    """The foreign net's input (1, 3, H, W) as its family documents it."""
    x0, y0, w, h = _window(frame.shape[1], frame.shape[0], width, height, wanted.resize)
    canvas: Float = np.full((height, width, 3), wanted.pad_value, np.float32)
    canvas[y0 : y0 + h, x0 : x0 + w] = cv2.resize(frame, (w, h), interpolation=cv2.INTER_LINEAR)
    if wanted.colour == "RGB":
        canvas = canvas[:, :, ::-1]
    planes = [
        (canvas[:, :, i] - np.float32(wanted.mean[i])) / np.float32(wanted.std[i]) for i in range(3)
    ]
    return np.stack(planes)[None]  # (1, 3, H, W)


def reference_boxes(
    frame: Image,
    net: ForeignNet,
    plan: Plan,
    boxes_in: Float,
    scores: Float,
    *,
    conf: float,
    limit: int,
) -> Detections:
    """The best ``limit`` boxes after NMS per class, if the net needs it, by falling score.

    ``boxes_in`` (N, 4) x0, y0, x1, y1 in input pixels, ``scores`` (N, C).
    """
    assert plan.detection is not None
    best = scores.max(axis=1)
    order = [i for i in np.argsort(-best, kind="stable")[:CANDIDATES] if best[i] >= conf]
    kept: list[int] = []
    for i in order:
        label = scores[i].argmax()
        rivals = [k for k in kept if scores[k].argmax() == label]
        limit_iou = plan.detection.nms_iou  # None: the net itself has chosen
        if limit_iou is None or all(iou(boxes_in[i], boxes_in[k]) <= limit_iou for k in rivals):
            kept.append(int(i))
    frame_h, frame_w = frame.shape[:2]
    x0, y0, w, h = _window(frame_w, frame_h, net.width, net.height, plan.preprocess.resize)
    shown: list[int] = []
    placed: list[list[float]] = []
    for i in kept[:limit]:
        left, top, right, bottom = (float(v) for v in boxes_in[i])
        box = [
            min(max((left - x0) * frame_w / w, 0.0), frame_w),
            min(max((top - y0) * frame_h / h, 0.0), frame_h),
            min(max((right - x0) * frame_w / w, 0.0), frame_w),
            min(max((bottom - y0) * frame_h / h, 0.0), frame_h),
        ]
        if box[2] > box[0] and box[3] > box[1]:
            shown.append(i)
            placed.append(box)
    return Detections(
        np.array(placed, np.float32).reshape(-1, 4),
        best[shown].astype(np.float32),
        scores[shown].argmax(axis=1).astype(np.int32),
        np.full(len(shown), -1, np.int32),
    )


def reference_labels(mask: MaskPlan, raw: Array) -> Array:
    """The classes (h, w) that a semantic head's numbers stand for."""
    if mask.form == "scores":
        labels: Array = raw[0].argmax(axis=0)
    elif mask.form == "switch":
        labels = (raw[0, 0] > mask.threshold).astype(np.int64)
    else:
        labels = raw[0, 0] if raw.ndim == 4 else raw[0]
    return labels


def iou(a: Sequence[float] | Array, b: Sequence[float] | Array) -> float:
    """Intersection over union of two boxes x0, y0, x1, y1; 0 where one has no area."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = float(width * height)
    areas = float((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]))
    return shared / (areas - shared)


def _window(
    frame_w: int, frame_h: int, width: int, height: int, resize: Resize
) -> tuple[int, int, int, int]:
    """Where the frame lies in the input: x0, y0, w, h in whole input pixels."""
    if resize == "stretch":
        return 0, 0, width, height
    if resize == "letterbox_topleft":  # int(side * ratio), in integers, free of float error
        if width * frame_h <= height * frame_w:
            return 0, 0, width, max(1, frame_h * width // frame_w)
        return 0, 0, max(1, frame_w * height // frame_h), height
    ratio = min(height / frame_h, width / frame_w)
    w, h = max(1, round(frame_w * ratio)), max(1, round(frame_h * ratio))
    # Ultralytics' LetterBox: round(d - 0.1), so the odd pixel goes to the right and bottom.
    return round((width - w) / 2 - 0.1), round((height - h) / 2 - 0.1), w, h
