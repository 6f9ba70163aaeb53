"""H.264 by an element of GStreamer: the encoder that a Jetson has beside its CPU."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from edge.h264.encoder import TIME_BASE, KeyTimes, Planes, even
from edge.sources.gst.library import import_gst
from edge.sources.video.media import av
from edge.vision.types import SQUARE, Image
from engines.errors import SinkError, SourceError

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Element:
    """An encoder of GStreamer's.

    ``before`` brings planes (I420) to what it takes; in ``properties`` stand {gop} in pictures and
    {bitrate} in bits a second, in ``baseline`` what makes it keep to that profile. ``force`` is its
    signal that asks for a key frame, empty where the usual event does.
    """

    name: str
    before: str
    properties: str
    baseline: str = ""
    force: str = ""


JETSON = Element(
    "nvv4l2h264enc",
    before="nvvidconv ! video/x-raw(memory:NVMM),format=NV12",
    properties="iframeinterval={gop} idrinterval={gop} insert-sps-pps=true insert-vui=true "
    "maxperf-enable=true preset-level=1 profile=4 num-B-Frames=0 control-rate=0 bitrate={bitrate}",
    baseline="profile=0",
    force="force-IDR",
)
JETSON_DEVICES = ("dev/v4l2-nvenc", "dev/nvhost-msenc")
"""What a Jetson's encoder is reached at, of JetPack 6 and 5. An Orin Nano has neither, but has the
element, and starting that may hang the whole machine (insight-platform/Savant#497)."""

_BITS_PER_PX = 0.12
"""The element knows no constant quality: 3.3 Mbit/s at 1280x720 and 30 pictures a second."""
_WAIT_NS = 250_000_000
"""For a packet; what is later comes with a later picture."""
_MOST_WAITING = 8
"""Pictures without a packet that an encoder may hold."""
_NS = 1_000_000_000
_BEFORE_NS = 60 * _NS
"""The trial lies before all pictures."""


def jetson_has_encoder(root: Path = Path("/")) -> bool:
    """Whether this machine is a Jetson with an encoder of H.264."""
    return any((root / device).exists() for device in JETSON_DEVICES)


class GstEncoder:
    """An Encoder; a black picture is encoded at once, so that what does not work is known.

    Packets of key frames hold SPS and PPS as well.

    Raises:
        SinkError: GStreamer or the element is not there, or does not encode this size.
    """

    def __init__(
        self,
        wh: tuple[int, int],
        *,
        fps: float,
        keyframe_s: float,
        baseline: bool = False,
        pixel_aspect: Fraction = SQUARE,
        element: Element = JETSON,
    ) -> None:
        self.wh = even(wh)
        self.extradata = b""
        self._element = element
        self._pixel_aspect = pixel_aspect
        self._planes = Planes(self.wh)
        self._keys = KeyTimes(keyframe_s)
        self._waiting = 0
        self._lag = 0
        self._pattern: InputContainer | None = None
        try:
            self._gst = import_gst()
        except SourceError as exc:
            raise self._error(str(exc)) from exc
        if self._gst.Gst.ElementFactory.find(element.name) is None:
            raise self._error("GStreamer has no such element here")
        self._pipeline = self._start(fps, round(keyframe_s * fps), baseline=baseline)
        try:
            self._try()
        except BaseException:
            self.close()
            raise

    def _start(self, fps: float, gop: int, *, baseline: bool) -> Any:
        width, height = self.wh
        caps = (
            f"video/x-raw,format=I420,width={width},height={height},"
            f"framerate={max(1, round(fps * 1000))}/1000,colorimetry=bt601,"
            f"pixel-aspect-ratio={self._pixel_aspect.numerator}/{self._pixel_aspect.denominator}"
        )
        properties = self._element.properties.format(
            gop=max(1, gop), bitrate=round(width * height * fps * _BITS_PER_PX)
        )
        if baseline:
            properties += f" {self._element.baseline}"
        before = f"{self._element.before} ! " if self._element.before else ""
        try:
            pipeline = self._gst.Gst.parse_launch(
                f"appsrc name=pictures format=time is-live=true max-buffers=2 caps={caps} "
                f"! {before}{self._element.name} name=encoder {properties} "
                "! video/x-h264,stream-format=byte-stream,alignment=au "
                "! appsink name=packets sync=false"
            )
        except self._gst.GLib.Error as exc:
            raise self._error(exc.message) from exc
        self._info = self._gst.GstVideo.VideoInfo.new_from_caps(
            self._gst.Gst.Caps.from_string(caps)
        )
        self._source = pipeline.get_by_name("pictures")
        self._encoder = pipeline.get_by_name("encoder")
        self._sink = pipeline.get_by_name("packets")
        self._bus = pipeline.get_bus()
        pipeline.set_state(self._gst.Gst.State.PLAYING)
        return pipeline

    def _try(self) -> None:
        black: Image = np.zeros((self.wh[1], self.wh[0], 3), np.uint8)
        for number in range(_MOST_WAITING):
            self._push(black, number * _NS // 25)
            first = self._pull()
            if first is not None:
                break
        else:
            raise self._error("it gave nothing for the first pictures")
        self._lag = self._waiting
        self._pattern = av.open(io.BytesIO(first[0]), "r", format="h264")
        self.extradata = self._pattern.streams.video[0].codec_context.extradata or b""

    def encode(self, image: Image, pts: int, *, key: bool = False) -> list[Packet[VideoStream]]:
        """As Encoder says.

        Raises:
            SinkError: the element fails, or gives nothing any more.
        """
        if self._keys.due(pts, asked=key):
            self._force_key()
        self._push(image, _BEFORE_NS + round(pts * TIME_BASE * _NS))
        return self._packets()

    def flush(self) -> list[Packet[VideoStream]]:
        """The packets that it still holds."""
        self._source.end_of_stream()
        self._lag = 0
        return self._packets()

    def stream_in(self, container: OutputContainer) -> VideoStream:
        """A new stream of ``container`` that takes its packets."""
        assert self._pattern is not None, "it is closed"
        stream = container.add_stream_from_template(self._pattern.streams.video[0])
        stream.time_base = TIME_BASE
        # a Jetson's own element may not write it into its stream
        stream.codec_context.sample_aspect_ratio = self._pixel_aspect
        return stream

    def close(self) -> None:
        """Stop the element, and free what it holds."""
        self._pipeline.set_state(self._gst.Gst.State.NULL)
        if self._pattern is not None:
            self._pattern.close()
            self._pattern = None

    def _push(self, image: Image, pts_ns: int) -> None:
        """Give the element a picture, its rows padded as GStreamer wants them."""
        width, height = self.wh
        yuv, info = self._planes.of(image).reshape(-1), self._info
        padded: Image = np.zeros(info.size, np.uint8)
        sizes = ((height, width), (height // 2, width // 2), (height // 2, width // 2))
        begin = 0
        for (rows, columns), offset, stride in zip(sizes, info.offset, info.stride, strict=False):
            plane = yuv[begin : begin + rows * columns].reshape(rows, columns)
            np.ndarray((rows, columns), np.uint8, padded, offset, (stride, 1))[:] = plane
            begin += rows * columns
        buffer = self._gst.Gst.Buffer.new_wrapped(padded.tobytes())
        buffer.pts = pts_ns
        self._source.push_buffer(buffer)  # a failure is on the bus
        self._waiting += 1

    def _pull(self) -> tuple[bytes, int, bool] | None:
        """The next packet, its time in the pipeline and whether it is a key frame.

        None where none comes in time or any more.

        Raises:
            SinkError: the element failed.
        """
        gst = self._gst.Gst
        sample = self._sink.try_pull_sample(_WAIT_NS)
        if sample is None:
            message = self._bus.pop_filtered(gst.MessageType.ERROR)
            if message is not None:
                error, detail = message.parse_error()
                # The detail's first line is the place in GStreamer's own source.
                reasons = [error.message.rstrip("."), *(detail or "").splitlines()[1:]]
                raise self._error(": ".join(reasons))
            return None
        self._waiting -= 1
        buffer = sample.get_buffer()
        running_ns = sample.get_segment().to_running_time(gst.Format.TIME, buffer.pts)
        key = not buffer.has_flags(gst.BufferFlags.DELTA_UNIT)
        return buffer.extract_dup(0, buffer.get_size()), running_ns, key

    def _packets(self) -> list[Packet[VideoStream]]:
        packets: list[Packet[VideoStream]] = []
        while self._waiting > self._lag:
            pulled = self._pull()
            if pulled is None:
                if self._waiting >= _MOST_WAITING:
                    raise self._error(f"it gave nothing for {self._waiting} pictures")
                break
            data, running_ns, key = pulled
            if running_ns < _BEFORE_NS:
                continue
            packet = cast("Packet[VideoStream]", av.Packet(data))
            packet.pts = packet.dts = round((running_ns - _BEFORE_NS) / (TIME_BASE * _NS))
            packet.time_base, packet.is_keyframe = TIME_BASE, key
            packets.append(packet)
        return self._keys.saw(packets)

    def _force_key(self) -> None:
        if self._element.force:
            self._encoder.emit(self._element.force)
        else:
            gst = self._gst
            event = gst.GstVideo.video_event_new_upstream_force_key_unit(
                gst.Gst.CLOCK_TIME_NONE, True, 0
            )
            self._encoder.send_event(event)

    def _error(self, reason: str) -> SinkError:
        width, height = self.wh
        return SinkError(f"H.264 by GStreamer's {self._element.name}, {width}x{height}: {reason}")
