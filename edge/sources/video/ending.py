"""Tells a whole video file from one that was cut off; it reads the sizes of its outermost parts.

FFmpeg reports both as a plain end. The header's time alone does not tell them apart: empty chunks
at the end of an AVI (repeat the picture), a last sample without a length and a length that is
simply wrong fall short of it, too. So a file is cut where its pictures end before that time and it
holds fewer bytes than its outermost part (RIFF, Segment, a box) says it has.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING

from edge.sources.video.tracks import length_s

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream


class EndCheck:
    """Compares where a video ended with what its header promised.

    A format whose header promises nothing (a raw or transport stream) is whole unless its last
    picture is damaged; a transport stream that stops between two of its packets was stopped in
    order, whatever became of its last picture. Of a URL the outermost sizes are not read: the time
    decides.
    """

    _SLACK_S = 0.5  # headers round, and some writers count one frame too many

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self._promised_s = _promised_end_s(container, stream)
        self._container = container
        self._base = stream.time_base or 0
        self._reached = 0  # ticks
        self._damaged = False

    def saw(self, packet: Packet[VideoStream], pictures: list[VideoFrame]) -> None:
        """Note a packet of the video stream and the pictures decoded from it."""
        if pictures:
            self._damaged = pictures[-1].is_corrupt
        if packet.size == 0:
            return  # the empty packet that flushes the decoder
        self._damaged = self._damaged or packet.is_corrupt
        if packet.pts is not None:
            self._reached = max(self._reached, packet.pts + (packet.duration or 0))

    def cut_short(self) -> str:
        """Why the file is not whole, or an empty text."""
        early = self._promised_s is not None and (
            float(self._reached * self._base) < self._promised_s - self._SLACK_S
        )
        if early and not _has_all_bytes(self._container):
            return f"its header promises {self._promised_s:.2f} s"
        stopped = self._container.format.name == "mpegts" and any(
            self._container.size % packet == 0 for packet in _TS_PACKETS
        )
        return "its last frame is incomplete" if self._damaged and not stopped else ""


_TS_PACKETS = 188, 192
"""Bytes of a transport stream's packets (H.222.0, 2.4.3), and of those with a time before each."""


def _promised_end_s(container: InputContainer, stream: VideoStream) -> float | None:
    """Where the last frame ends according to the header, in the stream's own time."""
    name = container.format.name
    start_s = float((stream.start_time or 0) * (stream.time_base or 0))
    if name == "avi" and stream.frames and stream.average_rate:
        return start_s + stream.frames / float(stream.average_rate)
    if name.startswith("mov") and stream.duration and stream.time_base:
        return start_s + float(stream.duration * stream.time_base)
    if name.startswith("matroska"):
        only_s = container.duration / 1e6 if container.duration else None
        return length_s(stream) or (only_s if len(container.streams) == 1 else None)
    return None


def _has_all_bytes(container: InputContainer) -> bool:
    """Whether a file is as long as its outermost parts say; False where that is not known."""
    kind = next((kind for kind in _SIZES if container.format.name.startswith(kind)), None)
    if kind is None or not container.name.startswith("file:"):
        return False
    at, end = 0, container.size
    try:
        with Path(container.name.removeprefix("file:")).open("rb") as file:
            for _ in range(_MOST_PARTS):
                if at + 8 > end:  # some writers leave a few bytes behind
                    return at <= end
                file.seek(at)
                size = _SIZES[kind](file)
                if size <= 0:
                    return False
                at += size
    except OSError:
        pass
    return False


_MOST_PARTS = 100_000
"""Fragments of a day, two seconds each, with room; a file of more is judged by its time."""


def _riff_size(file: IO[bytes]) -> int:
    head = file.read(8)
    size = int.from_bytes(head[4:], "little")
    return 8 + size + size % 2 if head[:4] == b"RIFF" and size else 0


def _box_size(file: IO[bytes]) -> int:
    """The size of a box (ISO/IEC 14496-12, 4.2), 0 where it goes on to the end of the file."""
    size = int.from_bytes(file.read(8)[:4], "big")
    return int.from_bytes(file.read(8), "big") if size == 1 else size


def _element_size(file: IO[bytes]) -> int:
    """The size of an EBML element (RFC 8794, 4), 0 where it says "unknown"."""
    head = file.read(12)
    id_bytes = 9 - head[0].bit_length()
    size_bytes = 9 - head[id_bytes].bit_length() if id_bytes <= 4 else 9
    if size_bytes > 8:
        return 0
    mask = (1 << 7 * size_bytes) - 1
    size = int.from_bytes(head[id_bytes : id_bytes + size_bytes], "big") & mask
    return 0 if size == mask else id_bytes + size_bytes + size


_SIZES: dict[str, Callable[[IO[bytes]], int]] = {
    "avi": _riff_size,
    "mov": _box_size,
    "matroska": _element_size,
}
"""How the outermost parts of a format tell their size, header and all."""
