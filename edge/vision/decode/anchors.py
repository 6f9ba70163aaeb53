"""Decodes anchor-based YOLO heads (Darknet v3/v4, YOLOv5 code): raw grids in, boxes out; no NMS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.vision.decode import base
from engines.base import Array
from engines.spec import BoxCode, DetectionHead, InputSpec


@dataclass(frozen=True, slots=True)
class _Grid:
    name: str
    stride: int
    shape: tuple[int, int, int, int]
    """(1, A·(5+C), h, w)."""
    anchors: NDArray[np.float32]
    """(A, 2) width and height in input px."""
    centre_scale: np.float32


def build(head: DetectionHead, spec: InputSpec) -> base.Decoder:
    """A decoder for one raw tensor a stride; see ``engines.spec.DetectionHead``."""
    channels = 5 + len(head.classes)
    scales = head.centre_scale or [1.0] * len(head.strides)
    grids = [
        _Grid(
            name,
            stride,
            (1, len(anchors) * channels, spec.height // stride, spec.width // stride),
            np.asarray(anchors, np.float32).reshape(-1, 2),
            np.float32(scale),
        )
        for name, stride, anchors, scale in zip(
            head.outputs, head.strides, head.anchors, scales, strict=True
        )
    ]

    def decode(outputs: Mapping[str, Array], conf: float) -> base.RawBoxes:
        floor = _logit(conf)
        with np.errstate(all="ignore"):
            return base.join_levels(
                [
                    _decode_grid(outputs[grid.name], grid, head.box_code, conf=conf, floor=floor)
                    for grid in grids
                ]
            )

    return decode


def _decode_grid(
    raw: Array, grid: _Grid, box_code: BoxCode, *, conf: float, floor: np.float32
) -> base.RawBoxes:
    base.expect_shape(grid.name, raw, grid.shape)
    _, _, height, width = grid.shape
    raw = raw.reshape(len(grid.anchors), -1, height * width)  # (A, 5+C, h·w)
    # The score, σ(objectness)·σ(class), is at most σ(objectness): most cells end here, on one
    # comparison of the raw logit. NaN compares False: dropped.
    anchor, cell = np.nonzero(raw[:, 4] >= floor)
    if not anchor.size:
        return base.NO_BOXES
    # At most one exp a class: the best class has the best logit.
    class_logits = raw[anchor, 5:, cell]  # (k, C)
    class_ids = class_logits.argmax(axis=1)  # (k,), a NaN counts as the largest, dropped below
    scores = _sigmoid(raw[anchor, 4, cell]) * _sigmoid(class_logits.max(axis=1))  # (k,)
    keep = scores >= conf
    anchor, cell, scores, class_ids = anchor[keep], cell[keep], scores[keep], class_ids[keep]
    if not anchor.size:
        return base.NO_BOXES
    t = raw[anchor, :4, cell]  # (k, 4)
    sizes = grid.anchors[anchor]  # (k, 2)
    corner = np.stack((cell % width, cell // width), axis=1).astype(np.float32)  # (k, 2)
    if box_code == "darknet":  # YOLOv3, arXiv 1804.02767, section 2.1; the scale is YOLOv4's
        scale = grid.centre_scale
        centres = (scale * _sigmoid(t[:, :2]) - (scale - 1) / 2 + corner) * grid.stride
        sizes = sizes * np.exp(t[:, 2:])
    else:  # Ultralytics YOLOv5, models/yolo.py, Detect.forward
        s = _sigmoid(t)
        centres = (2 * s[:, :2] - 0.5 + corner) * grid.stride
        sizes = sizes * np.square(2 * s[:, 2:], dtype=np.float32)
    return base.from_centres(centres, sizes, scores, class_ids)


def _sigmoid(x: NDArray[np.float32]) -> NDArray[np.float32]:
    # exp overflows to inf for x < −88, which gives the right 0; the caller silences the warning.
    y: NDArray[np.float32] = np.reciprocal(1 + np.exp(-x), dtype=np.float32)
    return y


def _logit(p: float) -> np.float32:
    """The logit below which σ < p, a hair lower so that rounding never drops a score equal to p."""
    if p <= 0:
        return np.float32(-np.inf)
    if p >= 1:
        return np.float32(16)  # σ(16) is 1 − 1e−7, the float32 below 1
    return np.float32(np.log(p / (1 - p)) - 1e-4)
