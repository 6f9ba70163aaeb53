"""A client without anything of the app: what FFmpeg itself sees of a camera of these tests."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator
from typing import cast

from edge.sources.video.media import av
from edge.vision.types import Image
from tests.field.timecode import time_in_pixels

ENDLESS = 250
"""Frames: ten seconds."""
View = Iterator[tuple[int, tuple[int, int], int]]


@contextlib.contextmanager
def viewed(url: str, *, timeout_s: float = 5) -> Iterator[View]:
    """Frames of a stream: the time in each (−1: damaged), its size, and when it was here.

    It ends with the stream, however that ends, or where nothing comes for ``timeout_s``.
    """
    # Probing less, it begins sooner.
    options = {"rtsp_transport": "tcp", "analyzeduration": "200000"}
    with av.open(url, options=options, timeout=timeout_s) as container:

        def frames() -> View:
            with contextlib.suppress(av.error.FFmpegError):
                for frame in container.decode(video=0):
                    now_ns = time.monotonic_ns()
                    image = cast(Image, frame.to_ndarray(format="bgr24"))
                    taken_ns = time_in_pixels(image, near_ns=now_ns)
                    yield -1 if taken_ns is None else taken_ns, (frame.width, frame.height), now_ns

        yield frames()


def rest(view: View) -> list[int]:
    """The times in the frames that still come before the stream ends."""
    times = [taken_ns for taken_ns, _, _ in itertools.islice(view, ENDLESS)]
    assert len(times) < ENDLESS, "the stream does not end"
    return times
