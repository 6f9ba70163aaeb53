"""Frames of video files and network streams through PyAV, with real timestamps and deadlines.

It decodes one frame a ``read()`` and drops none; dropping is the pipeline's decision.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import numpy as np

from edge.sources.base import SourceBase
from edge.sources.options import SourceOptions
from edge.sources.orient import displayed, is_turned
from edge.sources.timing.bursts import BURST_NS, Bursts
from edge.sources.timing.pacing import SECOND_NS, LostFrames, Pacer, StreamClock, longest_step_ns
from edge.sources.video.ending import EndCheck
from edge.sources.video.media import av, display_matrix, reason
from edge.sources.video.packets import Arrival, Feed, Packets
from edge.sources.video.times import file_times, keeps_times, stated_fps
from edge.sources.video.tracks import awaited, film_of
from edge.vision.pixel_aspect import believed
from edge.vision.types import Clock, Frame, Image
from engines.errors import SourceError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_log = logging.getLogger("edge")

_NO_PICTURE_S = 20.0
"""Packets arrive but no picture comes of them: twice the longest usual key frame interval."""

_OPENED_WITH_NS = 5 * SECOND_NS
"""The most of an RTSP stream that FFmpeg keeps while it finds out what is in it."""
_SLOW_FPS = 1.0
"""At a lower rate the next picture is not waited for: one that came at the opening has to do."""

_BURSTS = frozenset({"hls", "dash"})
"""Formats that bring segments of seconds, one after the other."""


class VideoSource(SourceBase):
    """The film in an open container. ``pacer`` holds a file's frames until they are due.

    ``gaps`` are damaged packets that gave no picture, and frames missing from the rhythm of a live
    stream.

    Raises:
        SourceError: there is no video in it, or no decoder for it; the container is closed.
    """

    def __init__(
        self,
        container: InputContainer,
        *,
        name: str,
        live: bool,
        pacer: Pacer | None,
        stop: threading.Event,
        options: SourceOptions,
        feed: Feed | None = None,
        is_over: Callable[[], bool] = lambda: False,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """``feed`` gives the container's packets, where some were read before, and closes it.

        ``is_over`` is asked where a live source has ended: whether its sender says that it has.
        """
        feed = feed or container
        try:
            stream = film_of(container, name, joined="://" in name)
        except SourceError:
            feed.close()
            raise
        timed = keeps_times(container)
        longest_ns, known = round(options.max_delay_s * SECOND_NS), container.format.name in _BURSTS
        may_wait = live and timed and longest_ns > 0
        schedule = Bursts(longest_ns=longest_ns, known=known) if may_wait else None
        # It knows nothing of this source: in a circle a decoder would outlive its closing.
        packets = Packets(feed, stream, schedule=schedule, stop=stop, clock_ns=clock_ns)
        super().__init__(name, live=live, stop=stop, release=packets.close, clock_ns=clock_ns)
        self._stored_aspect = believed(stream.sample_aspect_ratio)
        codec = stream.codec_context
        size = f"{codec.width}x{codec.height}" if codec.width else "of a size yet to come"
        _log.info("%s: %s %s", name, codec.name, size)
        # Frame threads decode a file faster but hold back one frame each: latency for a stream.
        stream.thread_type = "SLICE" if live else "AUTO"
        self._stream = stream
        self._pacer = pacer
        self._read_timeout_s = options.read_timeout_s
        self._open_timeout_s = options.open_timeout_s
        self._joining = live  # until the first picture
        self._packets, self._timed, self._is_over = packets, timed, is_over
        has_rate = self._timed or not live
        self.fps = stated_fps(container, stream, options) if has_rate else None
        self._times = None if live else file_times(container, stream, name, self.fps)
        self.frame_count = None if live else _frame_count(container, stream)
        if pacer is not None:
            pacer.longest_step_ns = longest_step_ns(self.fps)
        self._to_bgr = _BgrConverter()
        self._ready: deque[VideoFrame] = deque()
        self._failure: SourceError | None = None
        self._ended = False
        self._end_check = EndCheck(container, stream)
        self._stream_clock = StreamClock()
        self._lost = LostFrames()
        self._start_ns = round((stream.start_time or 0) * (stream.time_base or 0) * SECOND_NS)
        self._media_ns = self._start_ns
        self._arrival: Arrival | None = None
        self._waited_ns = 0
        # Of RTSP alone is it known that its sender sends in real time.
        paced = live and container.format.name == "rtsp" and (self.fps or 0.0) >= _SLOW_FPS
        self._behind_from_ns: int | None = self._start_ns if paced else None

    def _read(self) -> Frame | None:
        decoded = self._next_decoded()
        while decoded is not None and self._came_while_opening(decoded):
            decoded = self._next_decoded()
        if decoded is None:
            return None
        across, down = display_matrix(decoded)
        image = displayed(self._to_bgr(decoded), across, down)
        turned = is_turned(across, down)
        self._pixel_aspect = 1 / self._stored_aspect if turned else self._stored_aspect
        self._media_ns = self._media_time_ns(decoded)
        if self._pacer is not None and not self._pacer.hold(self._media_ns):
            return None
        read_ns = self._clock_ns()
        capture_ns, clock = self._dated(decoded, read_ns)
        delay_ns = 0 if self._arrival is None else self._arrival.delay_ns
        media_ns = None if self.live else self._media_ns
        return self._frame(image, capture_ns, read_ns, clock, media_ns, delay_ns)

    @property
    def heard_ns(self) -> int:
        """When the newest packet came, 0 before."""
        return self._packets.heard_ns

    def _came_while_opening(self, decoded: VideoFrame) -> bool:
        """Whether a live picture is older than its arrival says, by as much as the opening took.

        All that came meanwhile is there at once; a packet that was waited for is a new one. Of a
        source in bursts it is what is older than the longest delay.
        """
        if self._next_id == 0 and self._arrival is not None and self._arrival.late_ns > BURST_NS:
            return True
        if self._behind_from_ns is None:
            return False
        waited = self._waited_ns > SECOND_NS / (self.fps or _SLOW_FPS) / 8
        if waited or self._media_time_ns(decoded) - self._behind_from_ns > _OPENED_WITH_NS:
            self._behind_from_ns = None
        return self._behind_from_ns is not None

    def _dated(self, decoded: VideoFrame, read_ns: int) -> tuple[int, Clock]:
        arrival = self._arrival
        if not self.live or not self._timed or decoded.pts is None or arrival is None:
            return read_ns, "read"
        self.gaps += self._lost.add(self._media_ns)
        if arrival.base_ns is None or arrival.media_ns is None:
            return self._stream_clock.capture_ns(self._media_ns, arrival.at_ns), "stream"
        line_ns = self._media_ns - arrival.media_ns + arrival.line_ns
        return min(read_ns, line_ns + arrival.base_ns), "stream"

    def _media_time_ns(self, decoded: VideoFrame) -> int:
        """The frame's own timestamp; where it has none, one period after the last frame."""
        if decoded.pts is None or decoded.time_base is None:
            first = self._next_id == 0
            return 0 if first else self._media_ns + round(SECOND_NS / (self.fps or 25.0))
        base = decoded.time_base
        return decoded.pts * base.numerator * SECOND_NS // base.denominator

    def _next_decoded(self) -> VideoFrame | None:
        """The next picture; a failure is raised only after the pictures before it."""
        waiting_since_ns = heard_ns = self._clock_ns()
        while not self._ready:
            if self._failure is not None:
                raise self._failure
            if self._ended or self._stop.is_set():
                return None
            try:
                arrival = self._packets.next(self._read_timeout_s)
            except StopIteration:
                self._finish()
                continue
            except TimeoutError:
                self._failure = self._silent()
                continue
            except (av.error.FFmpegError, ValueError) as exc:
                self._break(exc, waited_s=(self._clock_ns() - heard_ns) / SECOND_NS)
                continue
            if arrival is None:
                return None
            now_ns, packet, self._waited_ns = self._clock_ns(), arrival.packet, arrival.waited_ns
            waited = self._waited_ns >= self._read_timeout_s * SECOND_NS
            if self.live and waited and not self._packets.held_back:
                self._failure = self._silent()  # at its deadline FFmpeg gives what it had kept back
            elif packet.stream is self._stream:
                heard_ns, self._arrival = now_ns, arrival
                self._decode(cast("Packet[VideoStream]", packet))
            elif self.live and now_ns - heard_ns >= self._read_timeout_s * SECOND_NS:
                self._failure = self._silent()
            limit_s = self._open_timeout_s if self._joining else _NO_PICTURE_S
            if self.live and now_ns - waiting_since_ns >= limit_s * SECOND_NS:
                self._failure = self._undecoded()
        return self._ready.popleft()

    def _decode(self, packet: Packet[VideoStream]) -> None:
        if self._times is not None:
            self._times.fed(packet)
        try:
            pictures = packet.decode()
        except av.error.FFmpegError:
            self.gaps += not self._joining  # a damaged packet; the decoder goes on with the next
            pictures = []
            if self._times is not None:
                self._times.lost()
        self._end_check.saw(packet, pictures)
        self._take(pictures)

    def _take(self, pictures: list[VideoFrame]) -> None:
        for picture in pictures:
            if self._times is not None:
                self._times.date(picture)
            # Half a picture is a loss in a file; on a live stream it is the newest that there is.
            if picture.is_corrupt and not self.live:
                self.gaps += 1
            else:
                self._ready.append(picture)
                self._joining = False

    def _finish(self) -> None:
        """The container ended; the decoder was flushed by demux's last, empty packet."""
        self._ended = True
        count = self._next_id + len(self._ready)
        broken = self._end_check.cut_short()
        if self.live and count and self._is_over():
            return
        if self.live:
            self._failure = self._broken("its sender closed it")
        elif count == 0:
            self._failure = SourceError(
                f"{self.name}: no frame could be decoded ({self.gaps} damaged packets), wanted a "
                "video; record or convert it again"
            )
        elif broken:
            self._failure = self._broken(broken)

    def _break(self, exc: Exception, *, waited_s: float) -> None:
        """Reading failed: keep what the decoder still holds, raise after it."""
        late = waited_s >= self._read_timeout_s or isinstance(exc, av.error.ExitError)
        if late and "://" in self.name:
            self._failure = self._silent()
        else:
            try:
                self._take(self._stream.decode(None))
            except av.error.FFmpegError:
                self.gaps += 1
            self._failure = self._broken(reason(exc))
        self._failure.__cause__ = exc

    def _undecoded(self) -> SourceError:
        codec = self._stream.codec_context.name
        if not self._joining:
            return SourceError(
                f"{self.name}: {codec} arrives, but no picture could be decoded for "
                f"{_NO_PICTURE_S:g} s, wanted a key frame within that; restart the sender"
            )
        return SourceError(
            f"{self.name}: {codec} arrives, but {awaited(self._stream)} did not within "
            f"{self._open_timeout_s:g} s (open_timeout_s), so no picture could be decoded; set a "
            "shorter interval of key frames in the sender, or raise the limit"
        )

    def _silent(self) -> SourceError:
        return SourceError(
            f"{self.name}: nothing came for {self._read_timeout_s:g} s (read_timeout_s) after "
            f"frame {self._next_id}, wanted a steady stream; check the sender and the network"
        )

    def _broken(self, why: str) -> SourceError:
        count = self._next_id + len(self._ready)
        if self.live:
            return SourceError(
                f"{self.name}: the live stream ended after frame {count} ({why}), wanted no "
                "end; check the sender and the network"
            )
        last = self._ready[-1] if self._ready else None
        end_ns = self._media_time_ns(last) if last is not None else self._media_ns
        end_s = (end_ns - self._start_ns) / SECOND_NS
        return SourceError(
            f"{self.name}: breaks off after frame {count} at {end_s:.2f} s ({why}); "
            "the frames before are good. Copy or record the video again"
        )


class _BgrConverter:
    """Turns decoded pictures into (H, W, 3) uint8 BGR arrays of their own memory.

    One swscale context, one thread. Measured at 960x540 on two cores, interleaved, CPU a frame:
    this 0.20 ms, ``to_ndarray(format="bgr24")`` 0.68 ms (it starts threads for every frame),
    planes + ``cv2.cvtColor`` 0.52 ms (which also ignores the file's colour matrix).
    """

    def __init__(self) -> None:
        self._reformatter = av.video.reformatter.VideoReformatter()

    def __call__(self, decoded: VideoFrame) -> Image:
        rgb = self._reformatter.reformat(decoded, format="bgr24", threads=1)
        return np.asarray(rgb.to_ndarray(), np.uint8)


def _frame_count(container: InputContainer, stream: VideoStream) -> int | None:
    """How many pictures a file says that it has, else about as many as its length gives."""
    if stream.frames > 0:
        return stream.frames
    rate, length_us = stream.average_rate, container.duration
    count = round(length_us / 1e6 * float(rate)) if rate and length_us else 0
    if container.format.name == "mpegts" and count > container.size:
        return None  # less than a byte each: its times leap, and the length is that of the leap
    return count or None
