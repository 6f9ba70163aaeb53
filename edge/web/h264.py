"""The live picture as H.264 over a WebSocket: encoded once for all who look, a picture a message.

A viewer gets a text with the media type, a head and pictures from a key frame on, and all three
anew where the size changes. It sends nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from starlette.websockets import WebSocket, WebSocketDisconnect

from edge.h264 import TIME_BASE, costly_here, open_encoder
from edge.h264.fragments import Head, fragment, head_of, sample_of
from edge.vision.types import Image
from edge.web.viewers import Backlog, Piece, Seats, until_first
from engines.errors import SinkError

if TYPE_CHECKING:
    from edge.h264 import Encoder

log = logging.getLogger(__name__)

_KEYFRAME_S = 1.0
"""How long who fell behind waits at most; who comes anew gets a key frame at once."""
_LONGEST = 90_000
"""How long a picture may be said to last, in TIME_BASE. Browsers drop all up to the next key frame
where one comes later than twice that, and none is sent at a time that is known before."""
_OVER, _NOT_OURS, _FULL, _NONE_HERE = 1001, 1003, 1013, 4001
"""Why a socket is closed: the run ends, the viewer sent something, there is no room or no H.264;
``picture.js`` knows them."""
_REASON_BYTES = 123
"""RFC 6455, 5.5: what fits beside the code."""


class H264:
    """A WebSocket endpoint and the encoder behind it, which is open only while somebody looks.

    ``call`` has something done on the server's loop, ``fps`` is the most that will come.

    Attributes:
        why_not: why there is no H.264 here; empty where there is.
    """

    def __init__(
        self, seats: Seats, call: Callable[[Callable[[], None]], None], *, fps: float
    ) -> None:
        self.why_not = costly_here()
        self._seats = seats
        self._call = call
        self._fps = fps
        self._readers: set[Backlog] = set()
        self._closed = False
        # Counted on the loop, looked at on the pictures' thread.
        self._joins = self._joins_seen = 0
        self._encoder: Encoder | None = None
        self._wh = (0, 0)
        self._begin_ns = self._sent = 0
        self._stream: Head | None = None
        if self.why_not:
            log.info("the page shows Motion JPEG and no H.264: %s", self.why_not)

    @property
    def readers(self) -> int:
        """How many look; any thread may ask."""
        return len(self._readers)

    @property
    def wanted(self) -> bool:
        """Whether somebody looks."""
        return self.readers > 0

    def encode(self, image: Image, at_ns: int) -> None:
        """Send all who look a picture; on the thread of the pictures.

        Where nothing encodes it all who look are told so, and there is no H.264 any more.
        """
        if self.why_not:
            return  # those who look are on their way out
        try:
            pieces = self._pieces(image, at_ns)
        except SinkError as exc:
            self.rest()
            self.why_not = str(exc)
            log.warning("the page shows Motion JPEG and no H.264 any more: %s", exc)
            self._call(self._wake)
        else:
            for piece in pieces:
                self._call(partial(self._put, piece))

    def rest(self) -> None:
        """Close the encoder."""
        if self._encoder is not None:
            self._encoder.close()
        self._encoder = self._stream = None

    def close(self) -> None:
        """Close the encoder, and end all who look."""
        self.rest()
        self._closed = True
        self._call(self._wake)

    async def serve(self, socket: WebSocket) -> None:
        """Serve one viewer until it leaves or the run ends."""
        await socket.accept()
        try:
            with self._seats.one() as free:
                if not free:
                    raise _Close(_FULL, self._seats.full)
                await until_first(self._send(socket), _heard(socket))
        except _Close as close:
            await socket.close(close.code, close.reason)
        except WebSocketDisconnect:
            return

    def _pieces(self, image: Image, at_ns: int) -> list[Piece]:

        wh = image.shape[1], image.shape[0]
        if self._encoder is None or self._wh != wh:
            self.rest()
            self._encoder = open_encoder(wh, fps=self._fps, keyframe_s=_KEYFRAME_S)
            self._wh = wh
            self._begin_ns = self._begin_ns or at_ns  # times go on where the size changes
        joins = self._joins
        key, self._joins_seen = joins != self._joins_seen, joins
        pts = round((at_ns - self._begin_ns) / (TIME_BASE * 1_000_000_000))
        pieces = []
        for packet in self._encoder.encode(image, pts, key=key):
            if self._stream is None:
                self._stream, self._sent = head_of(self._encoder), 0
            self._sent += 1
            sample = sample_of(packet)
            data = fragment([sample], self._sent, end=sample.pts + _LONGEST)
            pieces.append(Piece(self._stream, data, sample.key, at_ns))
        return pieces

    def _put(self, piece: Piece) -> None:
        for reader in self._readers:
            reader.put(piece)

    def _wake(self) -> None:
        for reader in self._readers:
            reader.news.set()

    async def _send(self, socket: WebSocket) -> None:
        reader = Backlog()
        self._joins += 1
        self._readers.add(reader)
        stream: Head | None = None
        try:
            while True:
                if self.why_not:
                    raise _Close(_NONE_HERE, self.why_not)
                if self._closed:
                    raise _Close(_OVER, "the run has ended")
                piece = await reader.next()
                if piece is None:
                    continue
                if piece.stream is not stream:
                    stream = piece.stream
                    await socket.send_text(stream.kind)
                    await socket.send_bytes(stream.data)
                await socket.send_bytes(piece.data)
        finally:
            self._readers.discard(reader)


class _Close(Exception):
    """One viewer is told why it sees no more; ``reason`` is cut to what fits beside the code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason.encode()[:_REASON_BYTES].decode(errors="ignore")


async def _heard(socket: WebSocket) -> None:
    """Come back when a viewer has left; one who speaks is shown out."""
    if (await socket.receive())["type"] == "websocket.receive":
        raise _Close(_NOT_OURS, "pictures are shown here and nothing is heard")
