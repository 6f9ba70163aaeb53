"""Tells a whole video file from one that was cut off; it reads nothing itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream


class EndCheck:
    """Compares where a video ended with what its header promised.

    FFmpeg reports both as a plain end. A format whose header promises nothing (a raw or transport
    stream) is whole unless its last picture is damaged.
    """

    _SLACK_S = 0.5  # headers round, and some writers count one frame too many

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self._promised_s = _promised_end_s(container, stream)
        self._reached_s = 0.0
        self._damaged = False

    def saw(self, packet: Packet[VideoStream], pictures: list[VideoFrame]) -> None:
        """Note a packet of the video stream and the pictures decoded from it."""
        if pictures:
            self._damaged = pictures[-1].is_corrupt
        if packet.size == 0:
            return  # the empty packet that flushes the decoder
        self._damaged = self._damaged or packet.is_corrupt
        if packet.pts is not None and packet.time_base is not None:
            end_s = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            self._reached_s = max(self._reached_s, end_s)

    def cut_short(self) -> str:
        """Why the file is not whole, or an empty text."""
        if self._promised_s is not None and self._reached_s < self._promised_s - self._SLACK_S:
            return f"its header promises {self._promised_s:.2f} s"
        return "its last frame is incomplete" if self._damaged else ""


def _promised_end_s(container: InputContainer, stream: VideoStream) -> float | None:
    """Where the last frame ends according to the header, in the stream's own time."""
    name = container.format.name
    start_s = float((stream.start_time or 0) * (stream.time_base or 0))
    if name == "avi" and stream.frames and stream.average_rate:
        return start_s + stream.frames / float(stream.average_rate)
    if name.startswith("mov") and stream.duration and stream.time_base:
        return start_s + float(stream.duration * stream.time_base)
    if name.startswith("matroska"):
        try:  # "00:00:08.840000000"
            hours, minutes, seconds = stream.metadata["DURATION"].split(":")
            return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
        except (KeyError, ValueError):
            only = len(container.streams) == 1 and container.duration is not None
            return container.duration / 1e6 if only and container.duration else None
    return None
