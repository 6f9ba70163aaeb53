"""When each picture of a file is shown, whatever times its container keeps; it decodes nothing."""

from __future__ import annotations

import logging
from fractions import Fraction
from typing import TYPE_CHECKING

from edge.sources.options import SourceOptions
from edge.sources.timing.pacing import SECOND_NS
from edge.sources.timing.rising import RisingTimes

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_log = logging.getLogger("edge")

_NS = Fraction(1, SECOND_NS)
_GUESSED_FPS = 25.0
"""The rate of what tells none and bears no times, as FFmpeg guesses it."""
_NO_TIMESTAMPS = 0x80
"""FFmpeg's AVFMT_NOTIMESTAMPS: raw H.264 and the like."""
_DECODE_TIMES = frozenset({"avi", "asf"})
"""Containers that keep one time a picture, of which FFmpeg can only guess the one of showing."""
_CLOCK_SET_ANEW = {"mpegts": 2**33, "mpeg": 2**33}
"""Containers whose clock may leap, and the ticks of 90 kHz after which it begins anew (H.222.0)."""


def keeps_times(container: InputContainer) -> bool:
    """Whether the format keeps times; of others FFmpeg numbers the frames at a rate of its own."""
    made_up = container.format.flags & _NO_TIMESTAMPS
    return not made_up and not container.format.name.endswith("_pipe")


def stated_fps(
    container: InputContainer, stream: VideoStream, options: SourceOptions
) -> float | None:
    """Frames per second as the file says; of a format without times as its coded pictures do."""
    if keeps_times(container):
        rate = stream.average_rate or stream.guessed_rate
    else:
        rate = stream.codec_context.framerate
        if options.raw_fps is not None:
            return options.raw_fps
    return float(rate) if rate else None


def file_times(
    container: InputContainer, stream: VideoStream, name: str, fps: float | None
) -> ShownTimes | CountedTimes:
    """What dates the pictures of a file: their own times, or their count where there are none."""
    if keeps_times(container):
        return ShownTimes(name, container.format.name, stream, fps or _GUESSED_FPS)
    return CountedTimes(name, fps)


class ShownTimes:
    """Gives each decoded picture of a file the time at which it is shown, always rising.

    A decoder gives pictures in the order of showing, packets come in that of decoding. Where these
    only bear times of decoding, a picture is shown as long after the first one as the packets that
    push them out are apart. That is so in AVI and ASF, and where pictures are reordered (B-frames)
    though no packet's time was ever earlier than the one before. Everywhere else a picture's own
    time holds; where it has none, it follows the last one by that one's length.
    """

    def __init__(self, name: str, container_format: str, stream: VideoStream, fps: float) -> None:
        """``fps`` is the source's rate, used where pictures say nothing of their length."""
        self._stream = stream
        self._base = stream.time_base or Fraction(0)  # pictures at the end may come without it
        self._period_ns = round(SECOND_NS / fps)
        self._fps = fps
        self._by_decoding = container_format in _DECODE_TIMES
        self._reordered = self._sparse = self._fell = False
        self._newest: int | None = None
        self._first: int | None = None
        self._shift: int | None = None
        self._last_own: int | None = None
        self._first_is_key = False
        self._next_ns = self._last_ns = 0
        ticks = _CLOCK_SET_ANEW.get(container_format)
        wrap_ns = ticks * SECOND_NS // 90_000 if ticks else None
        self._rising = RisingTimes(name, may_leap=ticks is not None, wrap_ns=wrap_ns)

    def fed(self, packet: Packet[VideoStream]) -> None:
        """Note a packet that goes to the decoder."""
        if packet.size == 0 or packet.is_discard:
            return
        ticks = packet.dts if self._by_decoding or packet.pts is None else packet.pts
        if ticks is None:
            self._sparse = True
            return
        self._reordered |= self._newest is not None and ticks < self._newest
        self._newest = ticks
        if self._first is None or (packet.is_keyframe and not self._first_is_key):
            self._first, self._first_is_key = ticks, packet.is_keyframe

    def lost(self) -> None:
        """A picture that was lost moves none of the others."""

    def date(self, picture: VideoFrame) -> None:
        """Set a picture's ``pts`` to when it is shown, in nanoseconds."""
        shown_ns = self._last_ns = self._shown_ns(picture)
        self._next_ns = shown_ns + (self._in_ns(picture.duration or 0) or self._period_ns)
        picture.pts = self._rising.rising_ns(shown_ns, self._fps)
        picture.time_base = _NS

    def _in_ns(self, ticks: int) -> int:
        return ticks * self._base.numerator * SECOND_NS // self._base.denominator

    def _shown_ns(self, picture: VideoFrame) -> int:
        own, decoded = picture.pts, picture.dts
        step = None if own is None or self._last_own is None else own - self._last_own
        if own is not None:
            self._last_own = own
        self._fell |= step is not None and step < 0
        in_order = not self._stream.codec_context.has_b_frames
        told = self._sparse or ((in_order or self._reordered) and not self._by_decoding)
        if told or (decoded is None and self._shift is None):
            return self._next_ns if own is None else self._in_ns(own)
        if decoded is None:  # the file has ended, and the decoder gives what it holds
            follows = step is None or self._fell
            return self._next_ns if follows else self._last_ns + self._in_ns(step or 0)
        if self._shift is None:
            self._shift = decoded if self._first is None else decoded - self._first
        return self._in_ns(decoded - self._shift)


class CountedTimes:
    """The times of a format that keeps none: pictures at one rate, counted."""

    def __init__(self, name: str, fps: float | None) -> None:
        """An ``fps`` of None is guessed, and the guess told where there is a second picture."""
        self._name = name
        self._guessed = fps is None
        self._fps = Fraction(fps or _GUESSED_FPS).limit_denominator(1_000_000)
        self._count = 0

    def fed(self, packet: Packet[VideoStream]) -> None:
        """Packets tell nothing here."""

    def lost(self) -> None:
        """A picture that was lost keeps its place."""
        self._count += 1

    def date(self, picture: VideoFrame) -> None:
        """Set a picture's ``pts`` to when it is shown, in nanoseconds."""
        if self._guessed and self._count == 1:
            _log.warning(
                "%s: its frames bear no times and it does not say its rate: %g fps is a guess; "
                "say it with --raw-fps FPS, or raw_fps under [source]",
                self._name,
                self._fps,
            )
        picture.pts = round(self._count * SECOND_NS / self._fps)
        picture.time_base = _NS
        self._count += 1
