"""A few frames spread over a source, for proofs; it takes every source that ``edge run`` takes."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from edge.progress import counted
from edge.sources import SourceOptions, open_source
from edge.sources.base import Source
from edge.vision.types import Image
from engines.errors import SourceError

SYNTHETIC = "synthetic"
COUNT = 8
"""Frames kept: boxes of real street scenes then come by the dozen, and a proof takes seconds."""
LONGEST = 1500
"""Frames read at most, a minute at 25 fps: an endless source has no end to spread over."""
LIVE_STEP = 5
"""Frames between two that are kept from a camera: neighbours show the same."""


@dataclass(frozen=True, slots=True)
class Frames:
    """``images`` (H, W, 3) uint8 BGR; ``described`` says in words where they come from."""

    images: tuple[Image, ...]
    described: str


def read_frames(text: str | None, *, count: int = COUNT) -> Frames:
    """Read ``count`` frames spread over the source ``text``; the synthetic street where it is None.

    Raises:
        SourceError: the source cannot be opened, breaks, or has no frames.
    """
    source = open_source(
        SYNTHETIC if text is None else text,
        policy="wait",
        stop=threading.Event(),
        options=SourceOptions(),
    )
    try:
        images = _first(source, count) if source.live or text is None else _spread(source, count)
        name = source.name
    finally:
        source.close()
    if not images:
        raise SourceError(
            f"{name}: has no frames to prove with. Name another source with --frames."
        )
    if text is None:
        name = "the synthetic street; real ones prove more: --frames SOURCE"
    return Frames(tuple(images), f"{len(images)} frames of {name}")


def _first(source: Source, count: int) -> list[Image]:
    """Every ``LIVE_STEP``-th frame of a source without an end."""
    images: list[Image] = []
    for i in range((count - 1) * LIVE_STEP + 1):
        frame = source.read()
        if frame is None:
            break
        if i % LIVE_STEP == 0:
            images.append(frame.image)
    return images


def _spread(source: Source, count: int) -> list[Image]:
    """``count`` frames evenly over a source whose length is unknown until it ends.

    Keeps every ``step``-th frame; when twice as many as wanted have gathered, drops every other one
    and doubles the step. So memory stays small and no length is asked for.
    """
    kept: list[Image] = []
    step = 1
    total = min(source.frame_count or LONGEST, LONGEST)
    for i in counted(range(LONGEST), "reading", total=total, unit="frames"):
        frame = source.read()
        if frame is None:
            break
        if i % step == 0:
            kept.append(frame.image)
            if len(kept) == 2 * count:
                kept = kept[::2]
                step *= 2
    if len(kept) <= count:
        return kept
    return [kept[i * (len(kept) - 1) // max(count - 1, 1)] for i in range(count)]
