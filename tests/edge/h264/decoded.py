"""The pictures of a plain stream of H.264, by FFmpeg's own decoder."""

from __future__ import annotations

import io

import numpy as np

from edge.sources.video.media import av
from edge.vision.types import Image


def decoded(data: bytes) -> list[Image]:
    """Each picture (H, W, 3) uint8 BGR of Annex B."""
    with av.open(io.BytesIO(data), "r", format="h264") as container:
        return [
            np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
            for frame in container.decode(video=0)
        ]
