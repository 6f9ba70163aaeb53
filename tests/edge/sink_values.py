"""Results and pictures for the tests of sinks."""

from __future__ import annotations

import numpy as np

from edge.vision.types import Detections, Frame, Image, Mask, Result


def picture(bgr: tuple[int, int, int], *, wh: tuple[int, int] = (64, 48)) -> Image:
    """One colour everywhere, (H, W, 3) uint8."""
    return np.full((wh[1], wh[0], 3), bgr, np.uint8)


def result(
    frame_id: int,
    *,
    t_capture_ns: int = 0,
    media_ns: int | None = None,
    wh: tuple[int, int] = (64, 48),
    detections: Detections | None = None,
    classes: tuple[str, ...] = ("car", "sign"),
    masks: tuple[Mask, ...] = (),
    dropped: int = 0,
) -> Result:
    """A result without boxes and masks unless they are given."""
    black = picture((0, 0, 0), wh=wh)
    frame = Frame(black, frame_id, t_capture_ns, t_capture_ns, "read", "scene", media_ns)
    found = Detections.empty() if detections is None else detections
    return Result(frame, found, classes, masks, {}, 0, 0, dropped)
