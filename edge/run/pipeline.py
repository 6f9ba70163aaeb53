"""The main thread of a run: starts the workers, renders results, ends everything; it opens nothing.

    capture thread            infer thread                            main thread
    source.read()       →     prepare → submit → wait → decode   →    overlay → sinks, metrics
                     Inbox                                     Outbox

The models are opened, used and closed on the infer thread, then the source on the capture thread,
then the sinks on the main thread. Capturing starts when all are there, so no frame ages while
something loads. Every end (of the source, a limit, a signal, an error) goes one way: close both
mailboxes, finalise the sinks, join the threads until a deadline, balance the ledger.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edge.run import workers
from edge.run.ledger import Counts
from edge.run.metrics import Metrics, Rendered
from edge.run.parts import Ending, Limits, Parts
from edge.run.workers import Broken, Drained, Message, PerceptionReady, Shared, SourceReady, Wake
from edge.sinks.base import Sink
from edge.sources.base import Source
from edge.vision.types import Result

if TYPE_CHECKING:
    from edge.sinks.overlay.overlay import Overlay
    from edge.vision.perception import Perception

log = logging.getLogger(__name__)

JOIN_DEADLINE_S = 1.0
"""How long the end waits for both threads: the process is to be gone 2 s after a stage raised."""
READOUT_NS = 250_000_000
"""The readout changes four times a second: digits that change every frame cannot be read."""


class Pipeline:
    """One run from the first frame to the last; ``run`` is called once, on the main thread."""

    def __init__(
        self, parts: Parts, limits: Limits, *, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._parts = parts
        self._limits = limits
        self._clock = clock
        self._shared = Shared(clock)
        self._metrics = Metrics()
        self._perception: Perception | None = None
        self._opened_ns = 0
        self._source: Source | None = None
        self._sinks: list[Sink] = []
        self._overlay: Overlay | None = None
        self._rendered = 0
        self._asked_to_stop: str | None = None
        self._reason: str | None = None
        self._error: BaseException | None = None
        self._readout: tuple[str, ...] = ()
        self._readout_ns: int | None = None
        self._newest: Rendered | None = None
        self.writing_to: str | None = None
        """The sink that is being written to, in case it hangs."""
        infer = workers.InferWorker(
            self._shared, parts.open_perception, max_age_ms=limits.max_age_ms
        )
        capture = workers.CaptureWorker(self._shared, parts.open_source)
        self._infer = threading.Thread(target=infer.run, name="infer")
        # A blocking C call of a camera or a socket cannot be interrupted: its thread may be left.
        self._capture = threading.Thread(target=capture.run, name="capture", daemon=True)

    def run(self) -> Ending:
        """Run to the end and say why it ended; what a stage raised is in the answer."""
        try:
            self._infer.start()
            while self._reason is None:
                message = self._shared.outbox.take(self._seconds_left())
                if self._asked_to_stop is not None:
                    self._reason = self._asked_to_stop
                self._handle(message)
        except Exception as exc:
            self._fail("opening", exc)
        finally:
            abandoned = self._shut_down()
        return Ending(self._reason or "stopped", self._error, abandoned)

    def request_stop(self, reason: str) -> None:
        """Ask for an orderly end, from any thread.

        A signal handler may do so, but Python may run it only after the main thread's next message.
        """
        self._asked_to_stop = self._asked_to_stop or reason
        self._shared.outbox.post(Wake())

    def counts(self) -> Counts:
        """The ledger now.

        Raises:
            LedgerError: it does not balance.
        """
        return self._shared.ledger.counts(
            source_gaps=self._source.gaps if self._source is not None else 0
        )

    def report(self, *, model: str) -> dict[str, Any]:
        """The metrics so far, as ``--metrics`` writes them."""
        opened = self._perception
        return self._metrics.report(
            self.counts(),
            engine=opened.engine if opened else None,
            precision=opened.precision if opened else None,
            opened_s=self._opened_ns / 1e9 if opened else None,
            model=model,
        )

    def _handle(self, message: Message | None) -> None:
        if isinstance(message, Result):
            if self._reason is None:
                self._shared.outbox.release()
                self._render(message)
            else:
                self._shared.ledger.settle(message.frame.id, "discarded_at_stop")
        elif self._reason is not None:
            return
        elif message is None:
            self._reason = "seconds"
        elif isinstance(message, Broken):
            self._fail(message.stage, message.error)
        elif isinstance(message, Drained):
            self._reason = "end of source"
            if message.error is not None:
                self._fail("source", message.error)
        elif isinstance(message, PerceptionReady):
            self._perception, self._opened_ns = message.perception, message.took_ns
            self._capture.start()
        elif isinstance(message, SourceReady):
            self._source = message.source
            self._open(message.source)

    def _seconds_left(self) -> float | None:
        first_ns = self._shared.first_capture_ns
        if self._limits.seconds is None or first_ns is None:
            return None
        passed = (self._clock() - first_ns) / 1e9
        return max(0.0, self._limits.seconds - passed)

    def _open(self, source: Source) -> None:
        """Open sinks and overlay, then let capturing and inference begin."""
        assert self._perception is not None
        for sink in self._parts.open_sinks(source):
            self._sinks.append(sink)
        if any(sink.wants_image for sink in self._sinks):
            self._overlay = self._parts.open_overlay()
        drops = self._limits.drops(source)
        self._shared.inbox.newest_wins = drops
        # Dropping: a frame is taken only when the main thread will be free for its result.
        # Waiting: one result may wait, which evens out uneven stages.
        permits = self._perception.slots + (0 if drops else 1)
        # Beside those: one being captured, one in the inbox, one being rendered.
        self._shared.ledger.limit = permits + 3
        for _ in range(permits):
            self._shared.outbox.release()
        self._shared.go.set()

    def _render(self, result: Result) -> None:
        """Overlay, sinks, metrics: the one place where a frame becomes a rendered one."""
        frame, stage, clock = result.frame, "overlay", self._clock
        try:
            t_start = clock()
            image = None
            if self._overlay is not None:
                image = self._overlay.draw(result, self._readout_at(t_start))
            t_drawn = clock()
            age_ns = t_drawn - frame.t_capture_ns
            wanted = True
            for sink in self._sinks:
                stage = self.writing_to = f"sink {sink.name}"
                wanted = sink.write(result, image, frame_age_ms=age_ns / 1e6) and wanted
            t_done = clock()
        except Exception as exc:
            self._shared.ledger.settle(frame.id, "failed")
            self._fail(stage, exc)
            return
        finally:
            self.writing_to = None
        stage_ns = dict(result.stage_ns)
        if self._overlay is not None:
            stage_ns["overlay"] = t_drawn - t_start
        stage_ns["sinks"] = t_done - t_drawn
        stage_ns["end_to_end"] = t_done - frame.t_read_ns
        self._newest = Rendered(
            stage_ns, age_ns, len(result.detections), t_done, time.process_time_ns()
        )
        self._metrics.record(self._newest)
        self._shared.ledger.settle(frame.id, "rendered")
        self._rendered += 1
        if not wanted:
            self._reason = "a sink's reader left"
        elif self._rendered == self._limits.frames:
            self._reason = "frames"
        elif self._seconds_left() == 0.0:
            self._reason = "seconds"

    def _readout_at(self, now_ns: int) -> tuple[str, ...]:
        """Rate, age and infer time of the newest rendered frame, and all drops."""
        fps, newest = self._metrics.live_fps, self._newest
        if fps is None or newest is None:
            return ()
        if self._readout_ns is None or now_ns - self._readout_ns >= READOUT_NS:
            self._readout_ns = now_ns
            self._readout = (
                f"{fps:.1f} fps",
                f"age {newest.frame_age_ns / 1e6:.0f} ms",
                f"infer {newest.stage_ns['infer'] / 1e6:.1f} ms",
                f"dropped {self.counts().dropped}",
            )
        return self._readout

    def _fail(self, stage: str, error: BaseException) -> None:
        """Keep the first error for the ending; the caller of ``run`` logs it."""
        if self._error is None:
            self._error = error
            self._reason = f"error in {stage}"
        else:
            log.warning("then %s failed too: %s", stage, error)

    def _shut_down(self) -> tuple[str, ...]:
        """Close, finalise, join, balance; returns the names of threads that did not come back."""
        deadline = time.monotonic() + JOIN_DEADLINE_S
        self._shared.close()
        for sink in self._sinks:
            try:
                sink.close()
            except Exception as exc:
                self._fail(f"sink {sink.name}", exc)
        abandoned = []
        for thread in (self._capture, self._infer):
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
                if thread.is_alive():
                    abandoned.append(thread.name)
        for message in self._shared.outbox.drain():
            if isinstance(message, Result):
                self._shared.ledger.settle(message.frame.id, "discarded_at_stop")
            elif isinstance(message, Broken):
                log.debug("%s failed while stopping: %s", message.stage, message.error)
        if abandoned:
            log.warning("left behind, still blocked: %s", ", ".join(abandoned))
            self._shared.ledger.seal()
        try:
            self._shared.ledger.check_settled()
        except Exception as exc:
            self._fail("ledger", exc)
        return tuple(abandoned)
