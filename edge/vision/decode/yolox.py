"""Decodes YOLOX's raw grid (boxes not decoded in the graph, scores already 0..1); no NMS."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edge.vision.decode import base
from engines.base import Array
from engines.spec import DetectionHead, InputSpec

_DEFAULT_STRIDES = (8, 16, 32)
"""YOLOX without a P6 level (yolox/models/yolo_head.py)."""


def build(head: DetectionHead, spec: InputSpec) -> base.Decoder:
    """A decoder for one tensor (1, N, 5+C) over all strides in order."""
    (name,) = head.outputs
    levels = [(base.grid(s, spec), s) for s in head.strides or _DEFAULT_STRIDES]
    cells = np.concatenate([g for g, _ in levels])  # (N, 2)
    strides = np.concatenate([np.full((len(g), 1), s, np.float32) for g, s in levels])  # (N, 1)
    wanted = (1, len(cells), 5 + len(head.classes))

    def decode(outputs: Mapping[str, Array], conf: float) -> base.RawBoxes:
        raw = outputs[name]
        base.expect_shape(name, raw, wanted)
        with np.errstate(all="ignore"):
            keep, rows, scores = base.confident(raw[0], conf)  # (k,), (k, 5+C), (k,)
            if not scores.size:
                return base.NO_BOXES
            stride = strides[keep]  # (k, 1)
            centres = (rows[:, :2] + cells[keep]) * stride  # arXiv 2107.08430, decode_outputs
            sizes = np.exp(rows[:, 2:4]) * stride
            return base.from_centres(centres, sizes, scores, rows[:, 5:].argmax(axis=1))

    return decode
