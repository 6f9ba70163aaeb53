"""What every H.264 encoder is: pictures in, packets out that any number of takers may have."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Protocol

import numpy as np

from edge.sources.video.media import cv2
from edge.vision.letterbox import Letterbox
from edge.vision.types import Image
from engines.spec import InputSpec

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

TIME_BASE = Fraction(1, 90_000)
"""The usual clock of H.264 streams; every common frame rate is exact in it."""


class Encoder(Protocol):
    """One stream of H.264: Annex B (start codes), no B-frames, BT.601 in limited range.

    Used by one thread at a time. A packet stays what it is: a taker that muxes it muxes a copy,
    because a muxer writes its own times into what it is given.

    Attributes:
        wh: width and height of the stream in px, both even: an odd last row or column is doubled;
            neither above ``MOST_SIDE``.
        extradata: SPS and PPS in Annex B; whole once ``encode`` has given its first packet.
    """

    wh: tuple[int, int]

    @property
    def extradata(self) -> bytes: ...  # noqa: D102

    def encode(self, image: Image, pts: int, *, key: bool = False) -> list[Packet[VideoStream]]:
        """The packets that are ready, for a picture (H, W, 3) uint8 BGR at ``pts`` in TIME_BASE.

        A picture of another size is fitted into that of the stream. ``pts`` rises. A key frame
        comes at the first picture, every ``keyframe_s`` and where ``key`` asks for one.

        Raises:
            SinkError: it does not encode; it is then of no use any more.
        """

    def flush(self) -> list[Packet[VideoStream]]:
        """The packets that it still holds; no picture comes after that."""

    def stream_in(self, container: OutputContainer) -> VideoStream:
        """A new stream of ``container`` that takes its packets; after the first packet."""

    def close(self) -> None:
        """Free all that it holds; safe to call twice."""


MOST_SIDE = 16_384
"""Of a picture that libx264 takes; larger ones are made smaller."""


def even(wh: tuple[int, int]) -> tuple[int, int]:
    """The size with an odd last column and row twice: 4:2:0 colour has even sides only."""
    shrink = min(1.0, MOST_SIDE / max(wh))
    width, height = (max(1, int(side * shrink)) for side in wh)
    return width + width % 2, height + height % 2


class Planes:
    """BGR pictures as planes of Y, U and V (I420), BT.601 (SMPTE 170M) in limited range."""

    def __init__(self, wh: tuple[int, int]) -> None:
        self._wh = wh
        self._yuv: Image = np.empty((wh[1] * 3 // 2, wh[0]), np.uint8)

    def of(self, image: Image) -> Image:
        """The planes, (H·3/2, W) uint8, valid until the next call."""
        cv2.cvtColor(self._fitted(image), cv2.COLOR_BGR2YUV_I420, dst=self._yuv)
        return self._yuv

    def _fitted(self, image: Image) -> Image:
        width, height = self._wh
        below, right = height - image.shape[0], width - image.shape[1]
        if (below, right) == (0, 0):
            return image
        if below in (0, 1) and right in (0, 1):  # the edge again, for a border would be seen
            edge = cv2.BORDER_REPLICATE
            padded = cv2.copyMakeBorder(image, 0, below, 0, right, edge)
            return np.asarray(padded, np.uint8)
        fitted: Image = np.empty((height, width, 3), np.uint8)
        place = InputSpec("h264", height, width, resize="letterbox_center", pad_value=0)
        Letterbox.fit((image.shape[1], image.shape[0]), place).apply(image, fitted)
        return fitted


class KeyTimes:
    """When the next key frame is due by their times, however few pictures come."""

    def __init__(self, keyframe_s: float) -> None:
        self._every = round(keyframe_s / TIME_BASE)
        self._last: int | None = None

    def due(self, pts: int, *, asked: bool) -> bool:
        """Whether the picture at ``pts`` is to be one."""
        if not asked and self._last is not None and pts - self._last < self._every:
            return False
        self._last = pts
        return True

    def saw(self, packets: list[Packet[VideoStream]]) -> list[Packet[VideoStream]]:
        """The same packets; the encoder makes key frames of its own accord as well."""
        for packet in packets:
            if packet.is_keyframe and packet.pts is not None:
                self._last = max(self._last or 0, packet.pts)
        return packets
