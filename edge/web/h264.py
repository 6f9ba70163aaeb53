"""The live picture as H.264 over a WebSocket: encoded once for all who look, a picture a message.

A viewer gets a text with the media type, a head and pictures from a key frame on, and all three
anew where the size changes. It sends nothing.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from starlette.websockets import WebSocket, WebSocketDisconnect

from edge.h264 import TIME_BASE, costly_here, open_encoder
from edge.h264.fragments import Head, fragment, head_of, sample_of
from edge.sources.live.waits import Backoff
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
_LONGEST_WAIT_S = 60.0
"""Between two tries of an encoder that fails; one that worked for longer begins with the shortest
again."""
_OVER, _NOT_OURS, _FULL, _NONE_HERE, _NOT_NOW = 1001, 1003, 1013, 4001, 4002
"""Why a socket is closed: the run ends, the viewer sent something, there is no room, no H.264 on
this machine or none now; ``picture.js`` knows them."""
_REASON_BYTES = 123
"""RFC 6455, 5.5: what fits beside the code."""


class H264:
    """A WebSocket endpoint and the encoder behind it, which is open only while somebody looks.

    ``call`` has something done on the server's loop, ``fps`` is the most that will come. An encoder
    that fails is tried again for those who come after a while, a longer one each time.
    """

    def __init__(
        self,
        seats: Seats,
        call: Callable[[Callable[[], None]], None],
        *,
        fps: float,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._never = costly_here()
        self._failed = ""
        self._again_ns = self._works_since_ns = 0
        self._backoff = Backoff(_LONGEST_WAIT_S, random.Random())
        self._clock = clock
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
        if self._never:
            log.info("the page shows Motion JPEG and no H.264: %s", self._never)

    @property
    def why_not(self) -> str:
        """Why there is no H.264, empty where there is; a failure is told until it works again."""
        if not self._failed:
            return self._never
        wait_s = self._wait_s
        later = f", {wait_s} s from now or later" if wait_s else ""
        return f"{self._failed}; it is tried again for who looks{later}"

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

        Where nothing encodes it all who look are told so.
        """
        if self._refusal:
            return  # those who look are on their way out
        try:
            pieces = self._pieces(image, at_ns)
        except SinkError as exc:
            self._fail(str(exc))
            self.rest()
            return
        if self._failed and pieces:
            self._failed = ""
            log.info("the page shows H.264 again")
        for piece in pieces:
            self._call(partial(self._put, piece))

    def rest(self) -> None:
        """Close the encoder."""
        self._close_encoder()
        self._works_since_ns = 0

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

    @property
    def _wait_s(self) -> int:
        """Until the next try is free, rounded up."""
        return max(0, math.ceil((self._again_ns - self._clock()) / 1e9))

    @property
    def _refusal(self) -> int:
        """The code for who looks while there is none; 0: they get it, or it is tried for them."""
        if self._never:
            return _NONE_HERE
        return _NOT_NOW if self._failed and self._wait_s else 0

    def _fail(self, why: str) -> None:
        now_ns = self._clock()
        if self._works_since_ns and now_ns - self._works_since_ns > _LONGEST_WAIT_S * 1e9:
            self._backoff.reset()
        self._again_ns = now_ns + round(self._backoff.wait_s() * 1e9)
        if why != self._failed:
            log.warning("the page shows Motion JPEG and no H.264 for now: %s", why)
        self._failed = why
        self._call(self._wake)

    def _close_encoder(self) -> None:
        if self._encoder is not None:
            self._encoder.close()
        self._encoder = self._stream = None

    def _pieces(self, image: Image, at_ns: int) -> list[Piece]:
        wh = image.shape[1], image.shape[0]
        if self._encoder is None or self._wh != wh:
            self._close_encoder()
            self._encoder = open_encoder(wh, fps=self._fps, keyframe_s=_KEYFRAME_S)
            self._wh = wh
            self._works_since_ns = self._works_since_ns or self._clock()
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
                if code := self._refusal:
                    raise _Close(code, self.why_not)
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
