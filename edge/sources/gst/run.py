"""Starts, watches and stops a GStreamer pipeline; it reads no pictures."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from edge.sources.gst.errors import advice, not_parsed
from edge.sources.gst.text import PipelineText
from edge.sources.timing.opening import POLL_S, late, stopped
from edge.sources.timing.pacing import SECOND_NS
from engines.errors import SourceError

_log = logging.getLogger("edge")

_SINK = "outrider_frames"
# Of larger pictures its elements crash before one is here to be measured.
_CAPS = "video/x-raw,format=BGR,width=[1,16384],height=[1,16384]"
_TAIL = f" ! videoconvert ! appsink name={_SINK} caps={_CAPS} max-buffers=1 sync=false"


def start_pipeline(
    meant: PipelineText, gst: Any, *, stop: threading.Event, deadline_s: float
) -> GstRun:
    """Run a pipeline up to its first picture.

    Raises:
        SettingsError: GStreamer cannot read it.
        SourceError: an element is not there or fails, or no picture comes in time.
    """
    context = gst.Gst.ParseContext.new()
    try:
        pipeline = gst.Gst.parse_launch_full(
            meant.pipeline + _TAIL, context, gst.Gst.ParseFlags.FATAL_ERRORS
        )
    except gst.GLib.Error as exc:
        raise not_parsed(gst, exc, context.get_missing_elements(), meant) from exc
    # One clock for all: what an element brings (sound, a network's time) counts from elsewhere.
    pipeline.use_clock(gst.Gst.SystemClock.obtain())
    run = GstRun(gst, pipeline, meant)
    try:
        _start(run, stop=stop, deadline_s=deadline_s)
    except BaseException:
        run.release()
        raise
    return run


class GstRun:
    """A pipeline with its sink, its bus and the first error that the bus reported."""

    def __init__(self, gst: Any, pipeline: Any, meant: PipelineText) -> None:
        self.gst = gst
        self.pipeline = pipeline
        self.meant = meant
        self.sink = pipeline.get_by_name(_SINK)
        self.live = False
        self.failure: SourceError | None = None
        self._bus = pipeline.get_bus()
        self._warned: set[str] = set()

    def listen(self, *, wait_s: float = 0.0) -> None:
        """Read the messages on the bus; waits up to ``wait_s`` for the first."""
        gst = self.gst.Gst
        kinds = gst.MessageType.ERROR | gst.MessageType.WARNING | gst.MessageType.ASYNC_DONE
        wait_ns = round(wait_s * SECOND_NS)
        while (message := self._bus.timed_pop_filtered(wait_ns, kinds)) is not None:
            wait_ns = 0
            if message.type == gst.MessageType.ERROR and self.failure is None:
                error, detail = message.parse_error()
                words = (
                    f"{self._in_words(message.src, error, detail)}; {advice(gst, error, detail)}"
                )
                self.failure = SourceError(f"{self.meant.name}: {words}")
            elif message.type == gst.MessageType.WARNING:
                error, detail = message.parse_warning()
                if error.message not in self._warned:  # a damaged stream warns at every picture
                    self._warned.add(error.message)
                    _log.warning(
                        "%s: %s", self.meant.name, self._in_words(message.src, error, detail)
                    )

    def _in_words(self, element: Any, error: Any, detail: str | None) -> str:
        factory = element.get_factory() if hasattr(element, "get_factory") else None
        kind = f" ({factory.get_name()})" if factory is not None else ""
        # The detail's first line is the place in GStreamer's own source.
        reason = "".join(f": {line.strip()}" for line in (detail or "").splitlines()[1:])
        words = error.message.rstrip(".") + reason
        return self.meant.hide(f"element {element.get_name()}{kind}: {words}")

    def stamps_pictures(self) -> bool:
        """Whether all that feeds the pipeline are cameras that stamp what they take.

        Video from a network or a file carries a sender's times, mapped by when it arrived.
        """
        sources: list[Any] = []
        self.pipeline.iterate_sources().foreach(sources.append)
        kinds = [s.get_factory().get_metadata("klass") for s in sources if s.get_factory()]
        return bool(kinds) and all("Video" in kind.split("/") for kind in kinds)

    def release(self) -> None:
        """Stop the pipeline; a driver may hold it for ever."""
        self.pipeline.set_state(self.gst.Gst.State.NULL)


def _start(run: GstRun, *, stop: threading.Event, deadline_s: float) -> None:
    """Set the pipeline going and wait for its first picture."""
    gst, name, deadline = run.gst.Gst, run.meant.name, time.monotonic() + deadline_s

    def pause() -> Any:
        result = run.pipeline.set_state(gst.State.PAUSED)
        if result == gst.StateChangeReturn.NO_PREROLL:  # what is live gives pictures in PLAYING
            run.live = True
            run.sink.set_property("drop", True)
            run.pipeline.set_state(gst.State.PLAYING)
        return result

    pause()  # it calls drivers and servers, and neither heeds a deadline of ours
    while True:
        if stop.is_set():
            raise stopped(name)
        run.listen(wait_s=POLL_S)
        result, state, _ = run.pipeline.get_state(0)
        if result == gst.StateChangeReturn.SUCCESS and state == gst.State.PLAYING:
            return
        if result == gst.StateChangeReturn.NO_PREROLL and not run.live:
            pause()  # an element added while starting is live
        elif result == gst.StateChangeReturn.SUCCESS and state == gst.State.PAUSED:
            run.pipeline.set_state(gst.State.PLAYING)
        elif run.failure is not None:  # behind a first picture read() raises it
            raise run.failure
        elif run.sink.is_eos():
            return  # read() says what is wrong with a pipeline that ends before it began
        if time.monotonic() >= deadline:
            raise late(name, deadline_s)
