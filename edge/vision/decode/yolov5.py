"""Decodes YOLOv5 and YOLOv7 as they are exported: boxes in input pixels with objectness; no NMS."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edge.vision.decode import base
from engines.base import Array
from engines.spec import DetectionHead, InputSpec


def build(head: DetectionHead, spec: InputSpec) -> base.Decoder:
    """A decoder for one tensor (1, N, 5+C): cx, cy, w, h in input px, objectness and classes."""
    del spec  # boxes come in input px already
    (name,) = head.outputs
    end = 5 + len(head.classes)
    columns = end + head.extra

    def decode(outputs: Mapping[str, Array], conf: float) -> base.RawBoxes:
        raw = outputs[name]
        base.expect_shape(name, raw, (1, raw.shape[1], columns))
        with np.errstate(all="ignore"):
            _, rows, scores = base.confident(raw[0, :, :end], conf)  # (k, 5+C), (k,)
            if not scores.size:
                return base.NO_BOXES
            return base.from_centres(rows[:, :2], rows[:, 2:4], scores, rows[:, 5:].argmax(axis=1))

    return decode
