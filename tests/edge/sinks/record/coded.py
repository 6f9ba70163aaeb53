"""Coded pictures for the tests of recording, and an independent reading of what was recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge.h264 import TIME_BASE, Encoder, open_encoder
from edge.h264.fragments import Head, head_of, sample_of
from edge.sinks.record.film import Coded
from edge.sources.video.media import av
from edge.vision.record import as_record
from edge.vision.types import Image
from tests.edge.sink_values import picture, result

UTC_NS = 1_800_000_000_000_000_000
"""2027-01-15 08:00:00, when the first picture is taken."""


def coded(
    count: int,
    *,
    fps: int = 25,
    first: int = 0,
    keyframe_s: float = 1,
    wh: tuple[int, int] = (64, 48),
    noise: bool = False,
) -> Iterator[Coded]:
    """Pictures, numbered from ``first``: grey ones of rising brightness, or noise."""
    encoder: Encoder = open_encoder(wh, fps=fps, keyframe_s=keyframe_s)
    head: Head | None = None
    random = np.random.default_rng(0)
    for number in range(first, first + count):
        image = picture((number % 200,) * 3, wh=wh)
        if noise:
            image = random.integers(0, 255, image.shape, np.uint8)
        for packet in encoder.encode(image, number * round(1 / TIME_BASE) // fps):
            head = head or head_of(encoder)
            record = as_record(result(number), frame_age_ms=0)
            yield Coded(sample_of(packet), head, UTC_NS + number * 1_000_000_000 // fps, record)


def played(path: Path) -> tuple[list[float], list[Image]]:
    """Seconds and pictures of every frame, by FFmpeg's own reading of the file."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    images = [np.asarray(frame.to_ndarray(format="bgr24"), np.uint8) for frame in frames]
    return [float(frame.time) for frame in frames], images


def lines(path: Path) -> Sequence[dict[str, Any]]:
    """The lines beside a film."""
    text = path.with_suffix(".jsonl").read_text()
    assert text.endswith("\n") or not text
    return [json.loads(line) for line in text.splitlines()]
