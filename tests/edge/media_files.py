"""Small videos for the tests of the sources: flat grey frames whose level tells which one it is."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from edge.sources.video.media import av
from edge.vision.types import Image

VideoStream = av.video.stream.VideoStream

STEP = 8
"""Grey levels between neighbouring frames; lossy coding moves a flat frame by one or two."""


def level(number: int) -> int:
    """The grey level of a frame by its number."""
    return 16 + STEP * number


def number_of(image: Image) -> int:
    """The number of the frame that an image shows."""
    return round((float(image.mean()) - 16) / STEP)


def write_video(
    path: Path,
    *,
    count: int = 10,
    fps: int = 25,
    wh: tuple[int, int] = (64, 48),
    codec: str = "mpeg4",
    times: Sequence[int] | None = None,
    image: Image | None = None,
    noise: bool = False,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Write ``count`` frames; ``times`` are their timestamps in frame periods, for a varying rate.

    ``noise`` makes the frames incompressible, so that cutting the file cuts frames.
    """
    rng = np.random.default_rng(0)
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=fps, options=options or {})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = wh
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.bit_rate = 4_000_000
        stream.codec_context.time_base = Fraction(1, fps)
        for number in range(count):
            shown = image
            if noise:
                shown = rng.integers(0, 255, (wh[1], wh[0], 3), np.uint8)
            elif shown is None:
                shown = np.full((wh[1], wh[0], 3), level(number), np.uint8)
            frame = av.VideoFrame.from_ndarray(shown, format="bgr24")
            frame.pts = number if times is None else times[number]
            frame.time_base = Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_sound(path: Path) -> Path:
    """Half a second of silence and no picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        for start in range(0, 4096, 1024):
            frame = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
            )
            frame.sample_rate = 8000
            frame.pts = start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Without the rights of root, who may read everything."""
    if os.geteuid() != 0:
        yield
        return
    try:
        os.seteuid(65534)  # nobody
    except OSError as exc:
        if exc.errno != errno.EINVAL or os.environ.get("CI"):
            raise
        pytest.skip("needs a second user, and this user namespace has one")
    try:
        yield
    finally:
        os.seteuid(0)
