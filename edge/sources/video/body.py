"""What an HTTP server sends, as bytes, and whether it is Motion JPEG; it decodes nothing.

FFmpeg's own demuxer of Motion JPEG wants boundaries, headers and lengths in order, which cheap
cameras have not, and waits for ever where they are missing. So the pictures are found by their own
markers, and it gets them in the one form in which all is right.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from edge.sources.video.ahead import Ahead
from edge.sources.video.jpegs import JpegSplitter
from edge.sources.video.media import av

if TYPE_CHECKING:
    from av.container import InputContainer

_LOOK_BYTES = 1 << 18
"""A picture begins within so much, if it is Motion JPEG: more than one that was joined midway."""
_HEADS = re.compile(rb"[\t\n\r\x20-\x7e]*")
_JPEG = re.compile(rb"\xff\xd8\xff[\xc0-\xfe]")
# Containers may hold JPEG pictures, too: AVI, Matroska, FLV, Ogg, ASF, MPEG, MP4 and its brothers.
_CONTAINER = re.compile(
    rb"RIFF|\x1aE\xdf\xa3|FLV|OggS|0&\xb2u|.{0,187}?G.{187}G.{187}G|\0\0\0?\x01|\x89PNG|GIF8|BM|II\*|MM\0[*]"
    rb"|.{4}(ftyp|moov|mdat|free|skip|wide|styp|sidx)",
    re.DOTALL,
)


class Body:
    """The bytes behind an http URL, through FFmpeg: logins, redirections and TLS are as with it.

    Args:
        url: what is asked for.
        timeouts_s: for opening and for each piece.
    """

    def __init__(self, url: str, *, timeouts_s: tuple[float, float]) -> None:
        self._container: InputContainer = av.open(
            url, format="data", options={"raw_packet_size": "65536"}, timeout=timeouts_s
        )
        self.size = self._container.size
        """Its length in bytes, as the server states it; negative where it does not."""
        packets = Ahead(self._container, end_unknown=self.size < 0).demux()
        self._pieces = (bytes(packet) for packet in packets if packet.size)
        self._head: list[bytes] = []

    def close(self) -> None:
        """End the connection."""
        self._container.close()

    def is_motion_jpeg(self, *, within_s: float) -> bool:
        """Whether it begins with a JPEG picture, behind text or the rest of a picture."""
        head, until = b"", time.monotonic() + within_s
        for piece in self._pieces:
            self._head.append(piece)
            head += piece
            text = _HEADS.match(head)
            before = text.end() if text else 0
            if _JPEG.match(head, before):
                return True
            if _CONTAINER.match(head) or len(head) > _LOOK_BYTES or time.monotonic() > until:
                return False
            if before < len(head) - 3 and any(JpegSplitter().feed(head)):
                return True  # joined midway: no text, but a whole picture later on
        return False

    def pieces(self) -> Iterator[bytes]:
        """All of it, what was looked at first."""
        while self._head:
            yield self._head.pop(0)
        yield from self._pieces


class CleanParts:
    """A file that reads as the pictures of ``body`` in well-formed parts."""

    def __init__(self, body: Body) -> None:
        self._parts = self._read_parts(body)
        self._ready = b""

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes, none at the end; whatever FFmpeg raises while it fetches."""
        if not self._ready:
            self._ready = next(self._parts, b"")
        given, self._ready = self._ready[:size], self._ready[size:]
        return given

    def _read_parts(self, body: Body) -> Iterator[bytes]:
        splitter = JpegSplitter()
        for piece in body.pieces():
            for picture in splitter.feed(piece):
                yield _part(picture)
        if rest := splitter.rest():
            yield _part(rest)


def _part(picture: bytes) -> bytes:
    head = f"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
    return head.encode() + picture + b"\r\n"
