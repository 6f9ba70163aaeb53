"""Turns results into pictures and lines, and measures it; it knows neither threads nor the end.

It also shows that there is nothing to show: NO SIGNAL instead of the frame before. All calls come
from the main thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from edge.metrics.ledger import Counts
from edge.metrics.metrics import Metrics, Rendered
from edge.sinks.base import Sink
from edge.sources.live.status import SourceStatus
from edge.vision.types import Image, Result

if TYPE_CHECKING:  # the overlay imports OpenCV
    import numpy as np
    from numpy.typing import NDArray

    from edge.metrics.observer import Observer
    from edge.sinks.overlay.overlay import Overlay

log = logging.getLogger(__name__)

READOUT_NS = 250_000_000
"""The readout changes four times a second: digits that change every frame cannot be read."""
NO_SIGNAL_NS = 500_000_000
"""Between two pictures of no signal, which count seconds."""
SILENT_NS = 1_000_000_000
"""Without a frame for so long, the rate before is none any more."""


class Renderer:
    """Overlay and sinks of a run, and what is measured of them.

    ``stage`` is what it does or did last, for the words of an error; ``writing_to`` the sink that
    is being written to, in case it hangs.
    """

    def __init__(
        self, metrics: Metrics, *, clock: Callable[[], int], observers: Sequence[Observer] = ()
    ) -> None:
        self.sinks: list[Sink] = []
        self.stage = "sinks"
        self.writing_to: str | None = None
        self.shown = 0
        """Pictures that all sinks took: frames, and views of a source that gives none."""
        self.silent = False
        """Whether the sinks show that there is no picture."""
        self._held_up = False
        self._counted: Counts | None = None
        """The ledger at the first look after the last rendered frame."""
        self._metrics = metrics
        self._clock = clock
        self._observers = observers
        self._open_overlay: Callable[[], Overlay] | None = None
        self._overlay: Overlay | None = None
        self._blur: Callable[[Image, NDArray[np.float32]], Image] | None = None
        self._readout: tuple[str, ...] = ()
        self._readout_ns: int | None = None
        self._newest: Rendered | None = None
        self._last: Image | None = None
        self._last_ns = self._no_signal_ns = 0

    def open(self, sinks: Iterable[Sink], open_overlay: Callable[[], Overlay]) -> None:
        """Open the sinks; the overlay follows when one of them wants a picture."""
        from edge.vision.blur import blurred  # not above: it imports OpenCV

        self._blur = blurred
        for sink in sinks:
            self.sinks.append(sink)
        self.change(self.sinks, open_overlay, anew=True)
        self._last_ns = self._clock()

    def change(self, sinks: list[Sink], open_overlay: Callable[[], Overlay], *, anew: bool) -> None:
        """Write the next picture to these sinks; ``anew``: drawn by another overlay."""
        self.sinks, self._open_overlay = sinks, open_overlay
        if anew:
            self._overlay = None
        self._wanted_overlay()

    def render(self, result: Result, *, dropped: Callable[[], int]) -> bool:
        """Draw, write and measure one frame; False when a sink's reader asks to stop.

        Args:
            result: the frame and what was found on it.
            dropped: gives the frames dropped so far; asked for when the readout changes.

        Raises:
            Exception: what the stage raised that is now in ``stage``.
        """
        clock, self.stage = self._clock, "overlay"
        t_start = clock()
        result = self._blurred(result)
        frame, image, overlay = result.frame, None, self._wanted_overlay()
        if overlay is not None:
            image = overlay.draw(result, self._readout_at(t_start, dropped))
        self._last = frame.image
        t_drawn = clock()
        age_ns = t_drawn - frame.t_capture_ns
        wanted = self._write(lambda sink: sink.write(result, image, frame_age_ms=age_ns / 1e6))
        t_done = clock()
        stage_ns = dict(result.stage_ns)
        if image is not None or result.to_blur is not None:
            stage_ns["overlay"] = t_drawn - t_start
        stage_ns["sinks"] = t_done - t_drawn
        stage_ns["end_to_end"] = t_done - frame.t_read_ns
        work = result.engine_ns, result.waited_ns, result.dropped, frame.delay_ns
        found, cpu_ns = len(result.detections), time.process_time_ns()
        self._newest = Rendered(stage_ns, age_ns, found, t_done, cpu_ns, *work)
        self._metrics.record(self._newest)
        for observer in self._observers:
            observer.rendered(result, self._newest)
        self._last_ns = t_done
        return wanted

    def watch(self, status: SourceStatus, counts: Counts, *, stall_s: float) -> bool:
        """Show that there is no picture, whether none comes or none gets through.

        It is due ``stall_s`` after the last frame, and then again and again. Returns and raises as
        ``signal``.
        """
        now_ns = self._clock()
        if self._counted is None or counts.rendered > self._counted.rendered:
            self._counted = counts
            held_up, self._held_up, self.silent = self._held_up, False, False
            if held_up:
                log.info("frames are shown again")
                return self.signal(status)
        silent_s = (now_ns - self._last_ns) / 1e9
        if silent_s < stall_s or now_ns - self._no_signal_ns < NO_SIGNAL_NS:
            return True
        self.silent, self._no_signal_ns = True, now_ns
        if status.state == "live":
            stale = counts.dropped_stale > self._counted.dropped_stale
            why = "all are older than max_age_ms" if stale else "the engine has not answered"
            status = replace(status, reason=f"frames come, but {why}")
            if not self._held_up:
                self._held_up = True
                log.warning("no picture for %.0f s: %s", silent_s, status.reason)
        return self.signal(status, silent_s)

    def signal(self, status: SourceStatus, silent_s: float | None = None) -> bool:
        """Tell the sinks a state of the source, with the view of no signal after ``silent_s``.

        False when a sink's reader asks to stop.

        Raises:
            Exception: what the stage raised that is now in ``stage``.
        """
        self.stage, image, now_ns = "overlay", None, self._clock()
        if silent_s is None:
            for observer in self._observers:
                observer.source(status, now_ns)
        else:
            self._metrics.interrupt(away=status.state != "live")
            overlay = self._wanted_overlay()
            if overlay is not None:
                title = "NO PICTURE" if status.state == "live" else "NO SIGNAL"
                ever = "since the start" if self._newest is None else "since the last frame"
                lines = (
                    f"{_duration(silent_s)} {ever}, {status.state}: {status.source}",
                    status.reason.removeprefix(f"{status.source}: "),
                )
                image = overlay.no_signal(self._last, title, lines)
        return self._write(
            lambda sink: sink.signal(status, image, at_ns=now_ns),
            shown=silent_s is not None and status.state != "live",
        )

    @property
    def newest(self) -> Rendered | None:
        """The times of the newest frame."""
        return self._newest

    @property
    def silent_ns(self) -> int:
        """How long there has been no new frame."""
        return self._clock() - self._last_ns

    def status(self) -> str:
        """Rate and age of the newest frame in a few words, or how long there was none."""
        fps, newest = self._metrics.live_fps, self._newest
        if newest is None:
            return "no frame yet"
        if self.silent_ns >= SILENT_NS:
            return f"last frame {_duration(self.silent_ns / 1e9)} ago"
        rate = "" if fps is None else f"{fps:.1f} fps, "
        return rate + ", ".join(_age(newest))

    def _blurred(self, result: Result) -> Result:
        """The result on a frame that hides what is to be blurred: what all others get."""
        if result.to_blur is None or not len(result.to_blur):
            return result
        assert self._blur is not None, "it is open"
        frame = result.frame
        return replace(result, frame=replace(frame, image=self._blur(frame.image, result.to_blur)))

    def _wanted_overlay(self) -> Overlay | None:
        """The overlay, where a sink wants the next picture."""
        if not any(sink.wants_image for sink in self.sinks):
            return None
        if self._overlay is None and self._open_overlay is not None:
            self._overlay = self._open_overlay()
        return self._overlay

    def _write(self, write: Callable[[Sink], bool], *, shown: bool = True) -> bool:
        wanted = True
        try:
            for sink in self.sinks:
                self.stage = self.writing_to = f"sink {sink.name}"
                wanted = write(sink) and wanted
        finally:
            self.writing_to = None
        self.shown += shown
        return wanted

    def _readout_at(self, now_ns: int, dropped: Callable[[], int]) -> tuple[str, ...]:
        """Rate, age and infer time of the newest rendered frame, and all drops."""
        fps, newest = self._metrics.live_fps, self._newest
        if fps is None or newest is None:
            return ()
        if self._readout_ns is None or now_ns - self._readout_ns >= READOUT_NS:
            self._readout_ns = now_ns
            self._readout = (
                f"{fps:.1f} fps",
                *_age(newest),
                f"infer {newest.stage_ns['infer'] / 1e6:.1f} ms",
                f"dropped {dropped()}",
            )
        return self._readout


def _age(frame: Rendered) -> tuple[str, ...]:
    """Its age, and the part of it by which a source in bursts is held back, where it is one."""
    age = f"age {frame.frame_age_ns / 1e6:.0f} ms"
    return (age, f"source delay {frame.delay_ns / 1e6:.0f} ms") if frame.delay_ns else (age,)


def _duration(seconds: float) -> str:
    """'7 s', '2 min 5 s', '3 h 12 min'."""
    minutes, whole = divmod(int(seconds), 60)
    if minutes == 0:
        return f"{whole} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {whole} s"
