"""A few frames spread over a source, for proofs; it takes every source that ``edge run`` takes.

What breaks off is taken as far as it goes; a source of which nothing can be read is refused.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from edge.progress import counted
from edge.sources import SourceOptions, open_source
from edge.sources.base import Source
from edge.vision.types import Image
from engines.errors import SourceError, SourceHungError

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
        SourceError: the source cannot be opened, breaks before its first frame, or has no frames.
    """
    source = open_source(
        SYNTHETIC if text is None else text,
        policy="wait",
        stop=threading.Event(),
        options=SourceOptions(),
    )
    failures: list[SourceError] = []
    take = _first if source.live or text is None else _spread
    try:
        images = take(_until_it_breaks(source, failures), count, source.frame_count)
        name = source.name
    finally:
        source.close()
    if not images:
        raise next(
            iter(failures),
            SourceError(f"{name}: has no frames to prove with. Name another source with --frames."),
        )
    if text is None:
        name = "the synthetic street; real ones prove more: --frames SOURCE"
    broken = "".join(f"; no more could be read: {failure}" for failure in failures)
    return Frames(tuple(images), f"{len(images)} frames of {name}{broken}")


def _until_it_breaks(source: Source, failures: list[SourceError]) -> Iterator[Image]:
    """The source's images; what ends them is kept in ``failures``."""
    try:
        while (frame := source.read()) is not None:
            yield frame.image
    except SourceHungError:
        raise
    except SourceError as exc:
        failures.append(exc)


def _first(images: Iterator[Image], count: int, _total: int | None) -> list[Image]:
    """Every ``LIVE_STEP``-th frame of a source without an end."""
    return list(islice(images, 0, (count - 1) * LIVE_STEP + 1, LIVE_STEP))


def _spread(images: Iterator[Image], count: int, total: int | None) -> list[Image]:
    """``count`` frames evenly over a source whose length is unknown until it ends.

    Keeps every ``step``-th frame; when twice as many as wanted have gathered, drops every other one
    and doubles the step. So memory stays small and no length is asked for.
    """
    kept: list[Image] = []
    step = 1
    total = min(total or LONGEST, LONGEST)
    for i, image in enumerate(
        counted(islice(images, LONGEST), "reading", total=total, unit="frames")
    ):
        if i % step == 0:
            kept.append(image)
            if len(kept) == 2 * count:
                kept = kept[::2]
                step *= 2
    if len(kept) <= count:
        return kept
    return [kept[i * (len(kept) - 1) // max(count - 1, 1)] for i in range(count)]
