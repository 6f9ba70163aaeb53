"""H.264 of pictures: one encoder, whose packets files, pages and streams take."""

from __future__ import annotations

from edge.sinks.h264.encoder import TIME_BASE, Encoder
from edge.sinks.h264.x264 import PRESET, X264

__all__ = ["PRESET", "TIME_BASE", "X264", "Encoder", "open_encoder"]


def open_encoder(
    wh: tuple[int, int], *, fps: float, keyframe_s: float, preset: str = PRESET
) -> Encoder:
    """An encoder that gives the packet of a picture at once.

    Args:
        wh: width and height of the stream in px; an odd last column or row is cut off.
        fps: the nominal rate; every picture brings its own time.
        keyframe_s: the longest time between two key frames.
        preset: libx264's.

    Raises:
        SinkError: nothing here encodes such pictures.
    """
    return X264(wh, fps=fps, keyframe_s=keyframe_s, preset=preset)
