"""Turns a mask head's label tensor into a ``Mask`` in memory of its own; ArgMax is in the graph."""

from __future__ import annotations

from collections.abc import Mapping

from edge.vision.decode.base import expect_shape
from edge.vision.letterbox import Letterbox
from edge.vision.types import Mask
from engines.base import Array
from engines.spec import MaskHead


def decode_mask(head: MaskHead, outputs: Mapping[str, Array], letterbox: Letterbox) -> Mask:
    """Copy the labels (1, h, w) uint8 out of the engine's memory, which the next run overwrites."""
    raw = outputs[head.output]
    expect_shape(head.output, raw, (1, *raw.shape[-2:]))
    labels = raw[0].copy()  # (h, w)
    return Mask(head.name, head.classes, head.background, labels, letterbox)
