"""The thread that encodes what is recorded, and hands it to the disk's; it writes nothing.

Few pictures wait for it: a run is held up only where that is asked for, and only for so long.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.h264 import FALLBACK_FPS, TIME_BASE, Encoder, PictureTimes, even, open_encoder
from edge.h264.fragments import Head, head_of, sample_of
from edge.sinks.record.disk import RETRY_S, Disk
from edge.sinks.record.film import Coded
from edge.vision.record import as_record
from edge.vision.types import SQUARE, Image, Result
from engines.errors import SinkError

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.stream import VideoStream

log = logging.getLogger(__name__)

KEYFRAME_S = 1.0
"""Films are cut at key frames, and what is before an event begins with one."""
MOST_WAITING = 8
"""Pictures that wait for the encoder: 22 MB at 1280x720."""
MOST_BYTES = 64 * 1024 * 1024
"""Where one more is not taken, and as much memory is kept for copies: three pictures of 4K."""
ONE_THREAD_PX_S = 40_000_000
"""More is encoded by two threads: 1280x720 at 43 a second. A core of an AMD EPYC does 140,000,000;
slower ones, and such as have other work, are allowed for."""
HOLD_S = 1.0
"""How long one picture holds up a run that waits for every frame; then it is missed."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One to be encoded, (H, W, 3) uint8 BGR, which nobody changes any more.

    ``media_ns`` is its time in the file that is played, None where frames come at their own pace;
    ``utc_ns`` when it was taken, in ns since 1970; ``result`` is None for a view of no signal.
    ``copied``: the image is of ``Coder.copy_of``, which uses its memory again.
    """

    image: Image
    capture_ns: int
    media_ns: int | None
    utc_ns: int
    result: Result | None = None
    frame_age_ms: float = 0.0
    copied: bool = False
    pixel_aspect: Fraction = SQUARE


class Coder:
    """Encodes pictures for a disk, with a key frame wherever a film has lasted ``segment_s``.

    ``fps`` is the nominal rate; ``waits`` holds up who puts a picture where there is no room.

    Attributes:
        alarm: why nothing is encoded now, None while it is.
    """

    def __init__(
        self, name: str, disk: Disk, *, fps: float | None, segment_s: float, waits: bool
    ) -> None:
        self.alarm: str | None = None
        self._name = name
        self._disk = disk
        self._fps = fps or FALLBACK_FPS
        self._segment = round(segment_s / TIME_BASE)
        self._wait_s = HOLD_S if waits else 0.0
        self._news = threading.Condition()
        self._waiting: deque[Picture | Mapping[str, Any]] = deque()
        self._spare: deque[Image] = deque(maxlen=MOST_WAITING + 2)
        self._ended = False
        self._in_time = True
        self._skipped = self._failed = 0
        self._encoder: Encoder | None = None
        self._head: Head | None = None
        self._shape = 0, 0, SQUARE
        self._times = PictureTimes(name)
        self._cut = 0
        self._coding: dict[int, Picture] = {}
        self._retry_s = 0.0
        self._thread = threading.Thread(target=self._run, name="record", daemon=True)

    @property
    def missed(self) -> int:
        """Pictures that were put and are not encoded."""
        return self._skipped + self._failed

    def start(self) -> None:
        """Begin to encode."""
        self._thread.start()

    def copy_of(self, image: Image) -> Image:
        """A copy, in the memory of a picture that is encoded: new pages cost most of a copy."""
        spare = self._spare.pop() if self._spare else None
        if spare is None or spare.shape != image.shape:
            return image.copy()
        np.copyto(spare, image)
        return spare

    def put(self, picture: Picture) -> None:
        """Hand over a picture; where there is no room, and none in time, it is missed."""
        with self._news:
            if self._wait_s and self._in_time:
                self._in_time = self._news.wait_for(self._has_room, self._wait_s)
            if self._has_room():
                self._in_time = True
                self._waiting.append(picture)
                self._news.notify_all()
                return
            self._skipped += 1
            first = self._skipped == 1
        if first:
            log.warning(
                "%s: pictures come faster than they are encoded, and some are missed; this is told "
                "once, and all are counted",
                self._name,
            )

    def note(self, record: Mapping[str, Any]) -> None:
        """Hand over a line that is of no picture."""
        with self._news:
            self._waiting.append(record)
            self._news.notify_all()

    def end(self, timeout_s: float) -> None:
        """Nothing more comes.

        What waits is encoded, or missed after a while, and then the disk's end comes.
        """
        with self._news:
            self._ended = True
            self._news.notify_all()
        self._thread.join(timeout_s)
        with self._news:
            self._skipped += sum(isinstance(item, Picture) for item in self._waiting)
            self._waiting.clear()

    def _has_room(self) -> bool:
        waiting = [item.image.nbytes for item in self._waiting if isinstance(item, Picture)]
        return len(waiting) < MOST_WAITING and sum(waiting) < MOST_BYTES

    def _next(self) -> Picture | Mapping[str, Any] | None:
        """What is next; None at the end."""
        with self._news:
            self._news.wait_for(lambda: self._waiting or self._ended)
            item = self._waiting.popleft() if self._waiting else None
            self._news.notify_all()
            return item

    def _run(self) -> None:
        try:
            while (item := self._next()) is not None:
                if not isinstance(item, Picture):
                    self._disk.note(item)
                elif self.alarm is not None and time.monotonic() < self._retry_s:
                    self._failed += 1
                else:
                    self._try(partial(self._encode, item))
            self._try(self._end_stream)
        finally:
            self._disk.end()

    def _try(self, encode: Callable[[], None]) -> None:
        """Where it does not encode, tell it, and begin anew after a while."""
        try:
            encode()
        except Exception as exc:
            words = str(exc) if isinstance(exc, SinkError) else repr(exc)
            if self.alarm is None:
                log.warning(
                    "%s: nothing is recorded: %s; the run goes on, and it is tried again",
                    self._name,
                    words,
                    exc_info=None if isinstance(exc, SinkError) else exc,
                )
            self.alarm, self._retry_s = words, time.monotonic() + RETRY_S
            self._failed += max(1, len(self._coding))
            self._drop_encoder()

    def _encode(self, picture: Picture) -> None:
        height, width = picture.image.shape[:2]
        shape = *even((width, height)), picture.pixel_aspect
        if self._encoder is not None and self._shape != shape:
            self._end_stream()
        pts = self._times.pts(picture.capture_ns, picture.media_ns)
        if self._encoder is None:
            ahead = width * height * self._fps > ONE_THREAD_PX_S
            self._encoder = open_encoder(
                (width, height),
                fps=self._fps,
                keyframe_s=KEYFRAME_S,
                ahead=ahead,
                pixel_aspect=picture.pixel_aspect,
            )
            self._shape = shape
            self._cut = pts
        cut = pts - self._cut >= self._segment
        if cut:
            self._cut = pts
        self._coding[pts] = picture
        packets = self._encoder.encode(picture.image, pts, key=cut)
        if picture.copied and (len(self._spare) + 1) * picture.image.nbytes <= MOST_BYTES:
            self._spare.append(picture.image)
        self._hand_over(packets)
        self.alarm = None

    def _hand_over(self, packets: list[Packet[VideoStream]]) -> None:
        """Give the disk what is encoded, in the order of the pictures."""
        assert self._encoder is not None
        for packet in packets:
            self._head = self._head or head_of(self._encoder)
            sample = sample_of(packet)
            picture = self._coding.pop(sample.pts)
            record = None
            if picture.result is not None:
                record = as_record(picture.result, frame_age_ms=picture.frame_age_ms)
            coded = Coded(sample, self._head, picture.utc_ns, record)
            self._disk.put(coded, wait_s=self._wait_s)

    def _end_stream(self) -> None:
        """Hand over what the encoder still holds; the next picture begins another stream."""
        if self._encoder is not None:
            self._hand_over(self._encoder.flush())
            self._drop_encoder()

    def _drop_encoder(self) -> None:
        if self._encoder is not None:
            self._encoder.close()
        self._encoder = self._head = None
        self._coding.clear()
