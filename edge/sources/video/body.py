"""What an HTTP server sends, as bytes, and whether it is Motion JPEG; it decodes nothing.

FFmpeg's own demuxer of Motion JPEG wants boundaries, headers and lengths in order, which cheap
cameras have not, and waits for ever where they are missing. So the pictures are found by their own
markers, and it gets them in the one form in which all is right.
"""

from __future__ import annotations

import errno
import re
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edge.sources.video.jpegs import JpegSplitter
from edge.sources.video.media import av

if TYPE_CHECKING:
    from av.container import InputContainer

_LOOK_BYTES = 1 << 18
"""A picture begins within so much, if it is Motion JPEG: more than one that was joined midway."""
_TEXT = re.compile(rb"(?:\xef\xbb\xbf)?[\t\n\r\x20-\x7e]*")
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
            url, format="data", options={"raw_packet_size": "16384"}, timeout=timeouts_s
        )
        self.size = self._container.size
        """Its length in bytes, as the server states it; negative where it does not."""
        self.failure: Exception | None = None
        """Why it ended before its end."""
        self._pieces = self._fetched()
        self._head: list[bytes] = []

    def close(self) -> None:
        """End the connection."""
        self._pieces.close()  # it refers to this object, as this does to it
        self._container.close()

    def is_motion_jpeg(self, *, within_s: float) -> bool:
        """Whether it begins with a JPEG picture, behind text or the rest of a picture.

        Raises:
            FFmpegError: nothing came in time.
        """
        head, until = b"", time.monotonic() + within_s
        for piece in self._pieces:
            self._head.append(piece)
            head += piece
            text = _TEXT.match(head)
            before = text.end() if text else 0
            if _JPEG.match(head, before):
                return True
            if _CONTAINER.match(head) or len(head) > _LOOK_BYTES or time.monotonic() > until:
                return False
            if before < len(head) - 3 and any(JpegSplitter().feed(head)):
                return True  # joined midway: no text, but a whole picture later on
        if self.failure is not None:
            raise self.failure
        return False

    def is_text(self) -> bool:
        """Whether what was looked at is text: a playlist, which names other addresses."""
        return all(_TEXT.fullmatch(piece) for piece in self._head)

    def pieces(self) -> Iterator[bytes]:
        """All of it, what was looked at first."""
        while self._head:
            yield self._head.pop(0)
        yield from self._pieces

    def _fetched(self) -> Generator[bytes, None, None]:
        """Its pieces; a failure is kept, so that a demuxer gives all that it has first."""
        try:
            for packet in self._container.demux():
                if packet.size:
                    yield bytes(packet)
        except (av.error.FFmpegError, ValueError) as exc:
            # The end of a body without a length is an error to FFmpeg.
            if self.size >= 0 or getattr(exc, "errno", None) != errno.EIO:
                self.failure = exc


@contextmanager
def stored(body: Body) -> Iterator[str]:
    """A path to all that the server sends, for a demuxer that goes back in it.

    It is of this process alone, and nothing is left of the file when who opened it has closed it.

    Raises:
        OSError: there is no room for it.
    """
    with tempfile.TemporaryFile() as file:
        for piece in body.pieces():
            file.write(piece)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


class BodyFile:
    """What FFmpeg reads in place of an address; ``name`` may tell it the format."""

    def __init__(self, pieces: Iterator[bytes], *, name: str = "") -> None:
        self.name = name
        self._pieces = pieces
        self._ready = b""

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes, none at the end."""
        if not self._ready:
            self._ready = next(self._pieces, b"")
        given, self._ready = self._ready[:size], self._ready[size:]
        return given


def clean_parts(body: Body) -> Iterator[bytes]:
    """The pictures of ``body``, each as a well-formed part."""
    splitter = JpegSplitter()
    for piece in body.pieces():
        for picture in splitter.feed(piece):
            yield _part(picture)
    if rest := splitter.rest():
        yield _part(rest)


def _part(picture: bytes) -> bytes:
    head = f"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
    return head.encode() + picture + b"\r\n"
