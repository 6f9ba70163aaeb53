"""Writes rendered frames into an mp4 (H.264) with real timestamps.

The file is written in fragments of a second, so that a killed process or a full disk leaves a
playable file, and becomes a plain mp4 when it is closed (the muxer's ``hybrid_fragmented``).
"""

from __future__ import annotations

import contextlib
import os
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from edge.h264 import FALLBACK_FPS, X264, PictureTimes
from edge.h264.fragments import whole_end
from edge.sinks.place import check_place, open_alone
from edge.sources.live.status import SourceStatus
from edge.sources.video.media import av
from edge.vision.types import SQUARE, Image, Result
from engines.errors import SinkError

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

FRAGMENT_US = 1_000_000
"""A killed process loses at most this."""
KEYFRAME_S = 2
"""Between the places that a player can jump to."""
CONTAINER = {
    "movflags": "hybrid_fragmented+default_base_moof",
    "frag_duration": str(FRAGMENT_US),
    "flush_packets": "1",
}


BROKEN = (OSError, ValueError, av.error.FFmpegError, SinkError)
"""What muxer and encoder raise."""


class _Output:
    """The file under the muxer: after the first failed write it takes nothing more.

    The file is then cut to its last whole fragment. The muxer is not told of the failure: it would
    leave the end of the file half written.

    Attributes:
        error: why it takes nothing more, None while it does.
        playable: whether what is left after that has pictures.
    """

    def __init__(self, path: Path, *, keep: bool) -> None:
        self.error: OSError | None = None
        self.playable = False
        self._file = os.fdopen(open_alone(path, os.O_RDWR, keep=keep), "w+b", buffering=0)
        self._position = 0
        self._closing = False
        self._overwritten: list[tuple[int, bytes]] = []

    def closing(self) -> None:
        """What is overwritten from now on is the head; it comes back if the closing index fails."""
        self._closing = True

    def write(self, data: bytes) -> int:
        done = 0
        try:
            if self.error is None and self._closing:
                old = os.pread(self._file.fileno(), len(data), self._position)
                self._overwritten.append((self._position, old))
            while self.error is None and done < len(data):
                done += self._file.write(data[done:])
        except OSError as exc:
            self.error = exc
            self._restore()
        self._position += len(data)
        return len(data)

    def _restore(self) -> None:
        """Go back to whole fragments: the muxer overwrites the head before the index is out."""
        with contextlib.suppress(OSError):  # a device cannot be truncated, a lost disk not read
            for position, old in reversed(self._overwritten):
                os.pwrite(self._file.fileno(), old, position)
            end = whole_end(self._file.fileno())
            self._file.truncate(end)
            self.playable = end > 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if self.error is None:
            self._position = self._file.seek(offset, whence)
        elif whence == os.SEEK_SET:
            self._position = offset
        return self._position

    def tell(self) -> int:
        return self._position

    def seekable(self) -> bool:
        return True

    def finish(self) -> None:
        self._file.close()


class Mp4Sink:
    """One H.264 file. Frames that change size are fitted into the size of the first.

    ``fps`` is the source's nominal rate; every frame brings its own time.

    Raises:
        SettingsError: there is no such folder, or no permission.
    """

    wants_image = True

    def __init__(self, text: str, *, fps: float | None, keep: bool = False) -> None:
        self.name = text
        self._path = Path(text)
        check_place(self._path)
        self._fps = fps or FALLBACK_FPS
        self._times = PictureTimes(text)
        self._keep = keep
        self._output: _Output | None = None
        self._container: OutputContainer | None = None
        self._encoder: X264 | None = None
        self._stream: VideoStream | None = None
        self._closed = False

    def write(self, result: Result, image: Image | None, *, frame_age_ms: float) -> bool:
        """Encode one frame.

        Raises:
            SettingsError: another run writes to the file.
            SinkError: the file cannot be written; what was written before stays playable.
        """
        assert image is not None, "the pipeline draws an overlay for a sink that wants one"
        frame = result.frame
        return self._take(image, frame.t_capture_ns, frame.media_ns, frame.pixel_aspect)

    def signal(self, status: SourceStatus, image: Image | None, *, at_ns: int) -> bool:
        """Encode the view of no signal; nothing before the first frame, which gives the size.

        Raises:
            SinkError: the file cannot be written; what was written before stays playable.
        """
        if image is None or self._container is None:
            return True
        return self._take(image, at_ns, None)

    def _take(
        self, image: Image, capture_ns: int, media_ns: int | None, pixel_aspect: Fraction = SQUARE
    ) -> bool:
        if self._closed:
            return False
        try:
            if self._container is None:
                self._open(image, pixel_aspect)
            assert self._encoder is not None
            self._mux(self._encoder.encode(image, self._times.pts(capture_ns, media_ns)))
        except BROKEN as exc:
            self.close()
            raise self._error(exc) from exc
        assert self._output is not None
        if self._output.error is not None:
            error = self._output.error
            self.close()
            raise self._error(error) from error
        return True

    def close(self) -> None:
        """Finalise the file.

        Raises:
            SinkError: its last part cannot be written; the rest stays playable.
        """
        if self._closed:
            return
        self._closed = True
        if self._container is None or self._output is None or self._encoder is None:
            return
        already = self._output.error
        try:
            self._mux(self._encoder.flush())
            self._output.closing()
            self._container.close()
        except BROKEN as exc:
            if already is None:
                raise self._error(exc) from exc
        finally:
            self._output.finish()
            self._encoder.close()
        if already is None and self._output.error is not None:
            raise self._error(self._output.error) from self._output.error

    def _error(self, exc: BaseException) -> SinkError:
        reason = getattr(exc, "strerror", None) or exc
        kept = self._output is not None and self._output.playable
        kept_words = "; what was written is playable" if kept else ""
        return SinkError(f"{self.name}: cannot be written: {reason}{kept_words}")

    def _open(self, image: Image, pixel_aspect: Fraction) -> None:
        wh = image.shape[1], image.shape[0]
        # On the CPU on a Jetson too: a file is to look the same everywhere.
        encoder = self._encoder = X264(
            wh, fps=self._fps, keyframe_s=KEYFRAME_S, ahead=True, pixel_aspect=pixel_aspect
        )
        self._output = _Output(self._path, keep=self._keep)
        self._container = av.open(self._output, "w", format="mp4", options=dict(CONTAINER))
        self._stream = encoder.stream_in(self._container)

    def _mux(self, packets: list[Packet[VideoStream]]) -> None:
        assert self._container is not None
        assert self._stream is not None
        for packet in packets:
            packet.stream = self._stream
        self._container.mux(packets)
