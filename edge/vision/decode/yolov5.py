"""Decodes YOLOv5 and YOLOv7 as they are exported: boxes in input pixels with objectness; no NMS."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edge.vision.decode.base import NO_BOXES, Decoder, RawBoxes, expect_shape, from_centres
from engines.base import Array
from engines.spec import DetectionHead, InputSpec


def build(head: DetectionHead, spec: InputSpec) -> Decoder:
    """A decoder for one tensor (1, N, 5+C): cx, cy, w, h in input px, objectness and classes."""
    del spec  # boxes come in input px already
    (name,) = head.outputs
    end = 5 + len(head.classes)
    columns = end + head.extra

    def decode(outputs: Mapping[str, Array], conf: float) -> RawBoxes:
        raw = outputs[name]
        expect_shape(name, raw, (1, raw.shape[1], columns))
        raw = raw[0]  # (N, 5+C)
        with np.errstate(all="ignore"):
            # The score, objectness × class, is at most the objectness. NaN compares False.
            keep = np.flatnonzero(raw[:, 4] >= conf)
            if not keep.size:
                return NO_BOXES
            rows = raw[keep, :end]  # (k, 5+C)
            scores = rows[:, 4] * rows[:, 5:].max(axis=1)  # (k,)
            sure = scores >= conf
            rows, scores = rows[sure], scores[sure]
            return from_centres(rows[:, :2], rows[:, 2:4], scores, rows[:, 5:].argmax(axis=1))

    return decode
