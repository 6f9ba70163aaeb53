"""Frames of GStreamer pipelines: any that end in raw video, and a Jetson's CSI cameras.

It holds one picture at most; a live pipeline's older one is dropped, any other pipeline waits.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from edge.pixels import why_too_large
from edge.sources.base import SourceBase, SourceKind
from edge.sources.gst.errors import without_argus
from edge.sources.gst.library import import_gst
from edge.sources.gst.run import GstRun, start_pipeline
from edge.sources.gst.text import named_files, parse_csi, parse_gst
from edge.sources.options import Policy, SourceOptions
from edge.sources.timing.opening import POLL_S
from edge.sources.timing.pacing import SECOND_NS, Pacer, StreamClock, longest_step_ns
from edge.sources.timing.rising import RisingTimes
from edge.vision.pixel_aspect import believed
from edge.vision.types import Clock, Frame, Image
from engines.errors import SourceError

_log = logging.getLogger("edge")


def open_pipeline(
    text: str, *, policy: Policy, stop: threading.Event, options: SourceOptions
) -> GstSource:
    """Open ``gst:PIPELINE``, whatever ends in raw video, or a Jetson's ``csi:N[:WxH@FPS]``.

    Raises:
        SettingsError: the text is no CSI camera, or GStreamer cannot read the pipeline.
        SourceError: there is no GStreamer, element or sensor, or no picture comes in time.
    """
    meant = parse_csi(text) if text.startswith("csi:") else parse_gst(text)
    gst = import_gst()
    if text.startswith("csi:") and gst.Gst.ElementFactory.find("nvarguscamerasrc") is None:
        raise without_argus(text)
    run = start_pipeline(meant, gst, stop=stop, deadline_s=options.open_timeout_s)
    try:
        return GstSource(run, policy=policy, stop=stop, read_timeout_s=options.read_timeout_s)
    except BaseException:
        run.release()
        raise


class GstSource(SourceBase):
    """A running pipeline; live as GStreamer calls it: its pictures come at their own pace.

    ``gaps`` are pictures of a live one that nobody took in time or that its camera skipped.
    """

    def __init__(
        self,
        run: GstRun,
        *,
        policy: Policy,
        stop: threading.Event,
        read_timeout_s: float,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        name, live = run.meant.name, run.live
        super().__init__(name, live=live, stop=stop, release=run.release, clock_ns=clock_ns)
        self._run = run
        self._read_timeout_s = read_timeout_s
        self._closed = False
        self._pacer = Pacer(stop) if policy == "drop" and not live else None
        self._stream_clock = StreamClock()
        kind = run.gst.Gst.SystemClock.obtain().get_property("clock-type")
        self._stamped = kind == run.gst.Gst.ClockType.MONOTONIC and run.stamps_pictures()
        self._caps: Any = None
        self._info: Any = None
        self._first_number: int | None = None
        self._rising = RisingTimes(name)
        self._media_ns = 0
        caps = run.sink.get_static_pad("sink").get_current_caps()
        if caps is not None:
            self._take_caps(caps)

    def close(self) -> None:
        """Stop the pipeline, after the read that another thread may be in."""
        self._closed = True
        super().close()

    def _read(self) -> Frame | None:
        sample = self._next_sample()
        if sample is None:
            return None
        arrival_ns = self._clock_ns()
        buffer = sample.get_buffer()
        image = self._image(sample, buffer)
        if self.live:
            self._count_gaps(buffer.offset)
        else:
            own_ns = self._media_time_ns(sample, buffer.pts)
            self._media_ns = self._rising.rising_ns(own_ns, self.fps or 25.0)
            if self._pacer is not None and not self._pacer.hold(self._media_ns):
                return None
        read_ns = self._clock_ns()
        capture_ns, clock = self._dated(sample, buffer.pts, arrival_ns, read_ns)
        media_ns = None if self.live else self._media_ns
        return self._frame(image, capture_ns, read_ns, clock, media_ns)

    def _next_sample(self) -> Any:
        """The next picture, None at the end; a failure is raised after the pictures before it."""
        run, started_ns = self._run, self._clock_ns()
        while not self._stop.is_set() and not self._closed:
            run.listen()
            wait_s = 0.0 if run.failure is not None else POLL_S
            sample = run.sink.try_pull_sample(round(wait_s * SECOND_NS))
            if sample is not None:
                return sample
            ended = run.sink.is_eos()
            run.listen()  # an element that fails says so before it ends the stream
            if run.failure is not None:
                raise run.failure
            if ended:
                return self._end()
            if self._clock_ns() - started_ns >= self._read_timeout_s * SECOND_NS:
                raise SourceError(
                    f"{self.name}: nothing came for {self._read_timeout_s:g} s (read_timeout_s) "
                    f"after frame {self._next_id}, wanted a steady stream; check the camera or "
                    "the sender, or raise the limit"
                )
        return None

    def _end(self) -> None:
        if self.live:
            raise SourceError(
                f"{self.name}: the live pipeline ended after frame {self._next_id}, wanted no end; "
                "check the camera or the sender"
            )
        if self._next_id == 0:
            raise SourceError(
                f"{self.name}: the pipeline ended without a picture, wanted a video; try it alone: "
                "gst-launch-1.0 PIPELINE ! fakesink"
            )

    def _image(self, sample: Any, buffer: Any) -> Image:
        """The picture (H, W, 3) in memory of its own, copied once; rows may be padded."""
        gst = self._run.gst
        caps = sample.get_caps()
        if self._caps is None or not caps.is_equal(self._caps):
            self._take_caps(caps)
        meta = gst.GstVideo.buffer_get_video_meta(buffer)
        layout = meta if meta is not None else self._info
        mapped, memory = buffer.map(gst.Gst.MapFlags.READ)
        if not mapped:
            raise SourceError(
                f"{self.name}: a picture lies in memory that the CPU cannot read; on a Jetson end "
                "the pipeline with nvvidconv ! video/x-raw,format=BGRx"
            )
        try:
            data = bytes(memory.data)  # PyGObject's own copy; where it gives a view, ours
        finally:
            buffer.unmap(memory)
        image: Image = np.ndarray(
            (self._info.height, self._info.width, 3),
            np.uint8,
            buffer=data,
            offset=int(layout.offset[0]),
            strides=(int(layout.stride[0]), 3, 1),
        )
        return image

    def _take_caps(self, caps: Any) -> None:
        self._caps = caps
        self._info = info = self._run.gst.GstVideo.VideoInfo.new_from_caps(caps)
        if too_large := why_too_large(info.width, info.height):
            raise SourceError(f"{self.name}: {too_large}")
        self.fps = info.fps_n / info.fps_d if info.fps_n > 0 and info.fps_d > 0 else None
        self._pixel_aspect = believed(Fraction(info.par_n, info.par_d) if info.par_d else None)
        if self._pacer is not None:
            self._pacer.longest_step_ns = longest_step_ns(self.fps)
        _log.info("%s: %dx%d at %g fps", self.name, info.width, info.height, self.fps or 0)

    def _media_time_ns(self, sample: Any, pts: int) -> int:
        """The picture's time in the file; where it has none, one period after the last."""
        gst = self._run.gst.Gst
        if pts != gst.CLOCK_TIME_NONE:
            media_ns = sample.get_segment().to_stream_time(gst.Format.TIME, pts)
            if media_ns != gst.CLOCK_TIME_NONE:
                return int(media_ns)
        first = self._next_id == 0
        return 0 if first else self._media_ns + round(SECOND_NS / (self.fps or 25.0))

    def _dated(self, sample: Any, pts: int, arrival_ns: int, read_ns: int) -> tuple[int, Clock]:
        """When the picture was taken, on CLOCK_MONOTONIC.

        The pipeline runs on GStreamer's system clock, which is that clock: running time + base
        time is the moment that a camera stamped, and is taken from the second before the read.
        """
        gst = self._run.gst.Gst
        if not self.live or pts == gst.CLOCK_TIME_NONE:
            return read_ns, "read"
        running_ns = sample.get_segment().to_running_time(gst.Format.TIME, pts)
        if running_ns == gst.CLOCK_TIME_NONE:
            return read_ns, "read"
        stamped_ns = running_ns + self._run.sink.get_base_time()
        streamed_ns = self._stream_clock.capture_ns(running_ns, arrival_ns)
        if self._stamped and 0 <= arrival_ns - stamped_ns <= SECOND_NS:
            return stamped_ns, "driver"
        return streamed_ns, "stream"

    def _count_gaps(self, number: int) -> None:
        """By what reached the sink, and by the camera's own numbers where it numbers pictures."""
        gst = self._run.gst.Gst
        taken = self._next_id + 1
        _, arrived = self._run.sink.get_property("stats").get_uint64("rendered")
        missed = arrived - taken - 1  # one may be waiting
        if self._stamped and number != gst.BUFFER_OFFSET_NONE:
            if self._first_number is None or number < self._first_number:
                self._first_number = number - self._next_id
            missed = max(missed, number - self._first_number - self._next_id)
        self.gaps = max(self.gaps, missed)


CSI = SourceKind(
    lambda text: text.startswith("csi:"),
    open_pipeline,
    example="csi:0",
    prefixes=("csi:",),
    may_be_live=True,
)
GST = SourceKind(
    lambda text: text.startswith("gst:"),
    open_pipeline,
    example="'gst:PIPELINE'",
    prefixes=("gst:",),
    may_be_live=True,
    files=named_files,
)
