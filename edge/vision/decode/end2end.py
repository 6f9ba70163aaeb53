"""Reads boxes that the graph itself has chosen (YOLOv10, YOLO26, DETR): nothing to suppress."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edge.vision.decode import base
from engines.base import Array
from engines.spec import DetectionHead, InputSpec


def build(head: DetectionHead, spec: InputSpec) -> base.Decoder:
    """A decoder for one tensor (1, K, 6): x0, y0, x1, y1 in input px, score, class."""
    del spec  # boxes come in input px already
    (name,) = head.outputs
    columns = 6 + head.extra
    last = len(head.classes) - 1

    def decode(outputs: Mapping[str, Array], conf: float) -> base.RawBoxes:
        raw = outputs[name]
        base.expect_shape(name, raw, (1, raw.shape[1], columns))
        raw = raw[0]  # (K, 6)
        with np.errstate(all="ignore"):
            # NaN compares False. Rows that the graph left empty may have any class, and no name
            # belongs to one beyond the last.
            known = (raw[:, 5] >= 0) & (raw[:, 5] <= last)
            rows = raw[(raw[:, 4] >= conf) & known]  # (k, 6)
            return base.from_corners(rows[:, :4], rows[:, 4], np.rint(rows[:, 5]))

    return decode
