"""What a source of frames and a kind of source are; it knows nothing of threads or inference."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edge.sources.options import Policy, SourceOptions
from edge.sources.timing.gate import ReadGate
from edge.vision.types import SQUARE, Clock, Frame, Image


class Source(Protocol):
    """Frames one after another. Opened by ``open_source``, used by the capture thread.

    Attributes:
        name: what it reads, without credentials: safe for logs, metrics and files.
        live: whether frames arrive on their own (camera, rtsp, synthetic): 'auto' then drops.
        fps: nominal frames per second, None where the source does not say.
        frame_count: how many there are as far as it says, which a file may say wrongly; None where
            nobody knows or there is no end.
        gaps: frames that the driver or the decoder lost so far.
    """

    name: str
    live: bool
    fps: float | None
    frame_count: int | None

    @property
    def gaps(self) -> int: ...  # noqa: D102

    def read(self) -> Frame | None:
        """The next frame, None at the orderly end.

        Blocks; returns None soon after the ``stop`` event given at opening is set where it can.

        Raises:
            SourceError: the source broke; frames returned before stay valid.
        """

    def close(self) -> None:
        """Release the source; safe to call twice and while another thread reads."""


class OpenedSource(Source, Protocol):
    """What a kind opens: one connection, which the supervisor watches where it is live.

    Attributes:
        heard_ns: when data last came from it (CLOCK_MONOTONIC), 0 where it does not tell: a stream
            may send for seconds before the first picture can be decoded.
        identity: tells a device from others that may take its place, None where nothing does.
    """

    identity: str | None

    @property
    def heard_ns(self) -> int: ...  # noqa: D102


class SourceBase(ABC):
    """The part that all sources share: their facts, counted frames, and closing during a read."""

    def __init__(
        self,
        name: str,
        *,
        live: bool,
        stop: threading.Event,
        fps: float | None = None,
        release: Callable[[], None] = lambda: None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.name = name
        self.live = live
        self.fps = fps
        self.frame_count: int | None = None
        self.gaps = 0
        self.identity: str | None = None
        self._pixel_aspect = SQUARE
        self._stop = stop
        self._clock_ns = clock_ns
        self._gate = ReadGate(release)
        self._next_id = 0

    def read(self) -> Frame | None:
        """The next frame; None at the end, or when stopped or closed."""
        with self._gate.reading() as is_open:
            return self._read() if is_open and not self._stop.is_set() else None

    def close(self) -> None:
        """Release the source, after the read that another thread may be in."""
        self._gate.close()

    @property
    def heard_ns(self) -> int:
        """As of ``OpenedSource``."""
        return 0

    @abstractmethod
    def _read(self) -> Frame | None:
        """The next frame of a source that is open."""

    def _frame(
        self,
        image: Image,
        capture_ns: int,
        read_ns: int,
        clock: Clock,
        media_ns: int | None = None,
        delay_ns: int = 0,
    ) -> Frame:
        """The next frame, around an image in memory of its own."""
        image.flags.writeable = False
        frame_id, self._next_id = self._next_id, self._next_id + 1
        aspect, now = self._pixel_aspect, (capture_ns, read_ns, clock)
        return Frame(image, frame_id, *now, self.name, media_ns, aspect, delay_ns)


class Opener(Protocol):
    """Opens one kind of source."""

    def __call__(
        self, text: str, *, policy: Policy, stop: threading.Event, options: SourceOptions
    ) -> OpenedSource:
        """Open ``text``; raises SourceError where that cannot be done."""


@dataclass(frozen=True, slots=True)
class SourceKind:
    """One kind of source, as its file declares it.

    Attributes:
        matches: whether a text means it.
        open: opens it; what is heavy is imported there.
        example: a text of it.
        prefixes: what its texts begin with, to find the one that was meant.
        corrections: patterns of texts that are nearly of this kind, and what was meant.
        may_be_live: whether it may come and go, so that it is supervised once it is found live.
        is_path: whether its text is a path: in a settings file it starts at the file's folder.
        files: the files that a text reads, which no output may be.
    """

    matches: Callable[[str], bool]
    open: Opener
    example: str
    prefixes: tuple[str, ...] = ()
    corrections: tuple[tuple[str, str], ...] = ()
    may_be_live: bool = False
    is_path: bool = False
    files: Callable[[str], Iterable[Path]] = lambda _: ()
