"""Makes parts of a picture unrecognisable; which parts is decided elsewhere."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.vision.types import Image

CELLS = 4
"""What is left of a box along its longer side. A standing person's face is half a cell, a car's
plate is less than one; a box that is a face or a plate itself keeps too few to be known by."""
CELL_PX = 8
"""A cell is no smaller: of a small box nothing but its colour is left."""
SAMPLES = 16
"""Pixels along a side of a cell, whose mean it is: taking all costs four times of a large box."""
WIDER = 0.1
"""By how much of its size a box grows to each side, as boxes cut off chins and elbows."""
WIDER_PX = 2
"""By how much at least."""


def blurred(image: Image, xyxy: NDArray[np.float32]) -> Image:
    """A copy of ``image`` (H, W, 3) with the boxes ``xyxy`` (N, 4), frame px, blurred.

    Without a box it is the image itself.
    """
    if not len(xyxy):
        return image
    grow = np.maximum((xyxy[:, 2:] - xyxy[:, :2]) * WIDER, WIDER_PX)  # (N, 2)
    height, width = image.shape[:2]
    places = np.concatenate((np.floor(xyxy[:, :2] - grow), np.ceil(xyxy[:, 2:] + grow)), axis=1)
    places = np.clip(places, 0, (width, height) * 2).astype(int)
    out = image.copy()
    for left, top, right, bottom in places.tolist():
        part = out[top:bottom, left:right]
        if not part.size:
            continue
        cell_px = max(max(part.shape[:2]) / CELLS, CELL_PX)
        cells = [max(1, round(side / cell_px)) for side in (right - left, bottom - top)]
        step = max(1, int(cell_px / SAMPLES))
        mosaic = cv2.resize(part[::step, ::step], cells, interpolation=cv2.INTER_AREA)
        # Drawn smoothly: hard edges of cells would only distract, and tell nothing more.
        cv2.resize(mosaic, (right - left, bottom - top), dst=part, interpolation=cv2.INTER_LINEAR)
    out.flags.writeable = False
    return out
