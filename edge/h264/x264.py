"""H.264 by libx264, on the CPU."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from edge.h264.encoder import TIME_BASE, KeyTimes, Planes, even
from edge.sources.video.media import av, reason
from edge.vision.types import SQUARE, Image
from engines.errors import SinkError

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

_ENCODER = {"preset": "superfast", "crf": "23", "bf": "0", "rc-lookahead": "0"}
"""The preset at 960x540 on two cores: ultrafast 3.8 ms CPU a frame, superfast 5.9, veryfast 9.8;
ultrafast shows blocks in blended masks."""
_AT_ONCE = {"tune": "zerolatency"}
_GLOBAL_HEADER = 1 << 22
"""AV_CODEC_FLAG_GLOBAL_HEADER: SPS and PPS apart from the pictures."""
_BROKEN = (OSError, ValueError, av.error.FFmpegError)
"""FFmpeg's errors are of the first two kinds as well, but not all: an encoder's refusal is not."""


class X264:
    """An Encoder. ``fps`` is the nominal rate: every picture brings its own time.

    ``ahead`` encodes two pictures side by side while the caller goes on, and a packet comes two
    pictures late; without it the packet of a picture is there when ``encode`` returns.

    Raises:
        SinkError: libx264 refuses the size, or is not in this PyAV.
    """

    def __init__(
        self,
        wh: tuple[int, int],
        *,
        fps: float,
        keyframe_s: float,
        baseline: bool = False,
        ahead: bool = False,
        pixel_aspect: Fraction = SQUARE,
    ) -> None:
        self.wh = even(wh)
        self._planes = Planes(self.wh)
        self._keys = KeyTimes(keyframe_s)
        # A container that writes nothing: its stream is the pattern of those that muxers make.
        container = av.open("x264", "w", format="null")
        try:
            stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
            stream.width, stream.height = self.wh
            stream.pix_fmt = "yuv420p"
            codec = stream.codec_context
            codec.time_base, codec.sample_aspect_ratio = TIME_BASE, pixel_aspect
            codec.thread_count = 2 if ahead else 1
            codec.flags |= _GLOBAL_HEADER
            codec.colorspace, codec.color_range = 6, 1  # as Planes makes them
            stream.options = {
                **_ENCODER,
                **({} if ahead else _AT_ONCE),
                **({"profile": "baseline"} if baseline else {}),
                "g": str(max(1, round(keyframe_s * fps))),
            }
            container.start_encoding()
        except _BROKEN as exc:
            container.close()
            raise self._error(exc) from exc
        self._held: tuple[OutputContainer, VideoStream] | None = container, stream

    @property
    def _stream(self) -> VideoStream:
        assert self._held is not None, "it is closed"
        return self._held[1]

    @property
    def extradata(self) -> bytes:
        """SPS and PPS in Annex B."""
        return self._stream.codec_context.extradata or b""

    def encode(self, image: Image, pts: int, *, key: bool = False) -> list[Packet[VideoStream]]:
        """As Encoder says.

        Raises:
            SinkError: libx264 does not take the picture.
        """
        picture = av.VideoFrame.from_ndarray(self._planes.of(image), format="yuv420p")
        picture.pts, picture.time_base = pts, TIME_BASE
        if self._keys.due(pts, asked=key):
            picture.pict_type = av.video.frame.PictureType.I
        return self._packets(picture)

    def flush(self) -> list[Packet[VideoStream]]:
        """The packets that it still holds."""
        return self._packets(None)

    def _packets(self, picture: av.VideoFrame | None) -> list[Packet[VideoStream]]:
        try:
            return self._keys.saw(self._stream.encode(picture))
        except _BROKEN as exc:
            raise self._error(exc) from exc

    def stream_in(self, container: OutputContainer) -> VideoStream:
        """A new stream of ``container`` that takes its packets."""
        return container.add_stream_from_template(self._stream)

    def close(self) -> None:
        """Free the encoder."""
        if self._held is not None:
            # Stream and container hold each other, and libx264's buffers of some 12 MB would wait
            # for a collection of such circles, which seldom comes.
            self._held[0].close()
            self._held = None

    def _error(self, exc: BaseException) -> SinkError:
        width, height = self.wh
        return SinkError(f"H.264 by libx264, {width}x{height}: {reason(exc)}")
