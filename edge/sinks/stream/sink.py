"""Sends rendered frames to a server as H.264; a server that is away never holds the run up."""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import TYPE_CHECKING

from edge.h264 import FALLBACK_FPS, TIME_BASE, Encoder, even, open_encoder
from edge.sinks.stream.address import read_address
from edge.sinks.stream.connection import Connection
from edge.sources.live.status import SourceStatus
from edge.sources.live.waits import Backoff
from edge.vision.newest import NewestPicture
from edge.vision.pixel_aspect import squared
from edge.vision.types import SQUARE, Image, Result
from engines.errors import SinkError

if TYPE_CHECKING:
    from edge.run.view import RunView

log = logging.getLogger(__name__)

KEYFRAME_S = 1.0
"""Who joins waits at most so long for a picture."""
LONGEST_WAIT_S = 10.0
"""Between two attempts to connect."""
OTHER_SIZE_NS = 2_000_000_000
"""Pictures of another size are fitted; after so long the stream begins anew in theirs."""
CLOSE_S = 0.25
"""For saying goodbye, and once more after that is cut off."""


class StreamSink:
    """One stream to one server, encoded and sent by a thread of its own.

    The thread takes the newest picture and connects again after every loss. While it waits to do
    so it wants no pictures. ``fps`` is the source's nominal rate.

    Raises:
        SettingsError: the text names no server.
    """

    def __init__(self, text: str, *, fps: float | None, keep: bool = False) -> None:
        self._address = read_address(text)
        self.name = self._address.name
        self._password_file: str | None = None
        self._fps = fps or FALLBACK_FPS
        self._pictures = NewestPicture()
        self._pixel_aspect = SQUARE
        self._encoder: Encoder | None = None
        self._connection: Connection | None = None
        self._connected = False
        self._backoff = Backoff(LONGEST_WAIT_S, random.Random())
        self._rest_until_s = 0.0
        self._told = False
        self._fitted_since_ns: int | None = None
        self._origin_ns = 0
        self._last_pts = -1
        self.sent = self.lost = 0
        self._thread = threading.Thread(target=self._run, name="stream", daemon=True)
        self._closed = False
        self._thread.start()

    def watch(self, run: RunView) -> None:
        """Learn which file holds the password; it is read at every connection."""
        self._password_file = run.settings.output.password_file

    @property
    def wants_image(self) -> bool:
        """Not between two attempts to connect."""
        return time.monotonic() >= self._rest_until_s

    def write(self, result: Result, image: Image | None, *, frame_age_ms: float) -> bool:
        """Offer one frame."""
        if image is not None and self.wants_image:
            self._pixel_aspect = result.frame.pixel_aspect
            # receivers of WebRTC know square pixels only
            self._pictures.put(squared(image, self._pixel_aspect), result.frame.t_capture_ns)
        return True

    def signal(self, status: SourceStatus, image: Image | None, *, at_ns: int) -> bool:
        """Offer the view of no signal."""
        if image is not None and self.wants_image:
            self._pictures.put(squared(image, self._pixel_aspect), at_ns)
        return True

    @property
    def skipped(self) -> int:
        """How many pictures were replaced by newer ones before they were encoded."""
        return self._pictures.skipped

    def close(self) -> None:
        """End the stream, within two times CLOSE_S."""
        if self._closed:
            return
        self._closed = True
        self._pictures.close()
        self._thread.join(CLOSE_S)
        connection = self._connection
        if self._thread.is_alive() and connection is not None:
            connection.abort()
            self._thread.join(CLOSE_S)
        if self.sent + self.lost == 0:
            return
        log.info(
            "%s: %d pictures sent, %d skipped, connection lost %d times",
            self.name,
            self.sent,
            self.skipped,
            self.lost,
        )

    def _run(self) -> None:
        while (taken := self._pictures.take()) is not None:
            try:
                self._send(*taken)
            except SinkError as exc:
                self._fail(exc)
        self._disconnect()

    def _send(self, image: Image, at_ns: int) -> None:
        """Send one picture, over a new connection where there is none.

        Raises:
            SinkError: the server or the encoder does not take it.
        """
        encoder = self._encoder_for(image, at_ns)
        if self._connection is None:
            self._connection = Connection(self._address.with_password(self._password_file))
        pts = round((at_ns - self._origin_ns) / (TIME_BASE * 1_000_000_000))
        self._last_pts = max(pts, self._last_pts + 1)
        packets = encoder.encode(image, self._last_pts)
        self._connection.send(packets, encoder.extradata)
        self.sent += 1
        if packets and not self._connected:
            log.info("%s: connected, %dx%d", self.name, *encoder.wh)
            self._connected, self._told = True, False
            self._backoff.reset()

    def _encoder_for(self, image: Image, at_ns: int) -> Encoder:
        """That of the connection; a new one, for a new connection, where size or connection ends.

        Raises:
            SinkError: nothing here encodes such pictures.
        """
        wh = even((image.shape[1], image.shape[0]))
        if self._encoder is not None and wh == self._encoder.wh:
            self._fitted_since_ns = None
        elif self._encoder is not None:
            self._fitted_since_ns = self._fitted_since_ns or at_ns
            if at_ns - self._fitted_since_ns > OTHER_SIZE_NS:
                self._disconnect()
        if self._encoder is None:
            self._encoder = open_encoder(
                wh,
                fps=self._fps,
                keyframe_s=KEYFRAME_S,
                baseline=self._address.form == "whip",
            )
            self._fitted_since_ns = None
            self._origin_ns, self._last_pts = at_ns, -1
        return self._encoder

    def _fail(self, exc: SinkError) -> None:
        connected = self._connected
        self._disconnect()
        if self._closed:  # it was cut off
            return
        self.lost += connected
        self._rest_until_s = time.monotonic() + self._backoff.wait_s()
        if not self._told:
            self._told = True
            log.warning("%s; the run goes on, and it is tried again", exc)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._encoder is not None:
            self._encoder.close()
        self._connection = self._encoder = None
        self._connected = False
