"""H.264 of pictures: one encoder, whose packets files, pages and streams take."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path

from edge.h264.encoder import TIME_BASE, Encoder, even
from edge.h264.gst import GstEncoder, jetson_has_encoder
from edge.h264.times import FALLBACK_FPS, PictureTimes
from edge.h264.x264 import X264
from edge.vision.types import SQUARE
from engines.errors import SinkError

__all__ = [
    "FALLBACK_FPS",
    "TIME_BASE",
    "X264",
    "Encoder",
    "PictureTimes",
    "costly_here",
    "even",
    "open_encoder",
]

log = logging.getLogger(__name__)


def open_encoder(
    wh: tuple[int, int],
    *,
    fps: float,
    keyframe_s: float,
    baseline: bool = False,
    ahead: bool = False,
    pixel_aspect: Fraction = SQUARE,
    root: Path = Path("/"),
) -> Encoder:
    """An encoder that gives the packet of a picture at once: a Jetson's own, else libx264.

    Args:
        wh: width and height of the stream in px; an odd last column or row comes twice.
        fps: the nominal rate; every picture brings its own time.
        keyframe_s: the longest time between two key frames.
        baseline: use nothing but what every receiver of WebRTC decodes (RFC 7742).
        ahead: let the CPU encode two pictures side by side; their packets come two pictures late.
        pixel_aspect: the width of a pixel by its height, which the stream says.
        root: where the machine's devices are looked for.

    Raises:
        SinkError: nothing here encodes such pictures.
    """
    if jetson_has_encoder(root):
        try:
            return GstEncoder(
                wh, fps=fps, keyframe_s=keyframe_s, baseline=baseline, pixel_aspect=pixel_aspect
            )
        except SinkError as exc:
            log.warning("%s; the CPU encodes instead", exc)
    return X264(
        wh,
        fps=fps,
        keyframe_s=keyframe_s,
        baseline=baseline,
        ahead=ahead,
        pixel_aspect=pixel_aspect,
    )


def costly_here(root: Path = Path("/")) -> str:
    """Why H.264 is not to be encoded unasked: on a Jetson whose CPU has other work; else empty."""
    if (root / "etc/nv_tegra_release").exists() and not jetson_has_encoder(root):
        return "this Jetson has no encoder of H.264"
    return ""
