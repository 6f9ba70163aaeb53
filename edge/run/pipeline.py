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
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from edge.metrics.ledger import Counts
from edge.metrics.metrics import Metrics
from edge.run import workers
from edge.run.heartbeat import Heartbeat, progress_of
from edge.run.messages import (
    Broken,
    Call,
    Drained,
    Message,
    PerceptionReady,
    SourceChanged,
    SourceReady,
    Wake,
)
from edge.run.parts import Ending, Limits, Parts
from edge.run.renderer import Renderer
from edge.run.workers import Shared
from edge.service.notify import Notifier
from edge.sources.base import Source
from edge.sources.live.status import SignalCounts, SourceStatus
from edge.sources.live.supervisor import Supervised
from edge.vision.types import Result

if TYPE_CHECKING:
    from edge.vision.perception import Perception

log = logging.getLogger(__name__)

NOBODY = Notifier(None)
"""Where no systemd waits to hear of a run."""
TICK_NS = 250_000_000
"""How often the clock is asked whether something is due, beside frames."""
JOIN_DEADLINE_S = 1.0
"""How long the end waits for both threads: the process is to be gone 2 s after a stage raised."""


class Pipeline:
    """One run from the first frame to the last; ``run`` is called once, on the main thread."""

    def __init__(
        self,
        parts: Parts,
        limits: Limits,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        notifier: Notifier = NOBODY,
    ) -> None:
        self._parts = parts
        self.limits = limits
        self._clock = clock
        self._shared = Shared(clock, parts.observers)
        self._metrics = Metrics()
        self._perception: Perception | None = None
        self._opened_ns = 0
        self._source: Source | None = None
        self._rendered = 0
        self._each_tick: Callable[[], None] | None = None
        self._asked_to_stop: str | None = None
        self._reason: str | None = None
        self._error: BaseException | None = None
        self.renderer = Renderer(self._metrics, clock=clock, observers=parts.observers)
        self.heartbeat = Heartbeat(notifier, began_ns=clock())
        self._notifier = notifier
        self._tick_ns = 0
        self._early: list[Message] = []
        self._status: SourceStatus | None = None
        self._shared.max_age_ms = limits.max_age_ms
        infer = workers.InferWorker(self._shared, parts.open_perception)
        capture = workers.CaptureWorker(self._shared, parts.open_source)
        self._infer = threading.Thread(target=infer.run, name="infer")
        # A blocking C call of a camera or a socket cannot be interrupted: its thread may be left.
        self._capture = threading.Thread(target=capture.run, name="capture", daemon=True)

    def run(self) -> Ending:
        """Run to the end and say why it ended; what a stage raised is in the answer."""
        try:
            self._infer.start()
            while self._reason is None:
                message = self._shared.outbox.take(self._wait_s())
                if self._asked_to_stop is not None:
                    self._reason = self._asked_to_stop
                self._handle(message)
                self._tick()
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

    def between_frames(self, do: Callable[[], None]) -> None:
        """Have something done on the main thread when all is open, from any thread.

        Once the run ends it is not done any more.
        """
        self._shared.outbox.post(Call(do))

    def each_tick(self, do: Callable[[], None]) -> None:
        """Have something done four times a second on the main thread, from when all is open."""
        self._each_tick = do

    def keep(self, boxes: Mapping[str, Any], *, max_age_ms: float | None) -> None:
        """Keep other boxes (as ``Perception.keep``) and drop older frames, from the next one on."""
        self._shared.keep, self._shared.max_age_ms = boxes, max_age_ms

    @property
    def perception(self) -> Perception:
        """The models, which are open."""
        assert self._perception is not None
        return self._perception

    @property
    def opened_s(self) -> float:
        """How long opening them took."""
        return self._opened_ns / 1e9

    @property
    def source(self) -> Source | None:
        """The source, once it is open."""
        return self._source

    @property
    def ran_s(self) -> float:
        """Since the first capture, or the first view of no signal."""
        first_ns = self._shared.first_capture_ns
        return 0.0 if first_ns is None else (self._clock() - first_ns) / 1e9

    @property
    def status(self) -> SourceStatus | None:
        """The state of a live source that may come and go."""
        source = self._source
        return (self._status or source.status) if isinstance(source, Supervised) else None

    @property
    def signal(self) -> SignalCounts | None:
        """How often such a source failed."""
        return self._source.counts() if isinstance(self._source, Supervised) else None

    @property
    def metrics(self) -> Metrics:
        """What was measured; of another thread only its copies may be taken."""
        return self._metrics

    @property
    def class_names(self) -> tuple[str, ...]:
        """The box classes of all models, which are open."""
        return self.perception.class_names

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
            signal=self.signal,
            engine=opened.engine if opened else None,
            precision=opened.precision if opened else None,
            opened_s=self.opened_s if opened else None,
            model=model,
        )

    def _handle(self, message: Message | None) -> None:
        if isinstance(message, Result):
            if self._reason is None:
                self._shared.outbox.release()
                self._render(message)
            else:
                self._shared.lose(message.frame, "discarded_at_stop")
        elif self._reason is not None:
            return
        elif message is None:
            self._reason = "seconds" if self._seconds_left() == 0.0 else None
        elif isinstance(message, SourceChanged | Call) and not self._shared.go.is_set():
            self._early.append(message)  # the sinks are not open yet
        elif isinstance(message, SourceChanged):
            self._status = message.status
            self._signal(message.status)
        elif isinstance(message, Call):
            try:
                message.do()
            except Exception as exc:
                self._fail("reload", exc)
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

    def _wait_s(self) -> float | None:
        """How long the next message may be waited for: until the clock asks for something."""
        left_s = self._seconds_left()
        asked = self._notifier.active or self._each_tick is not None
        if not (asked or isinstance(self._source, Supervised)):
            return left_s
        tick_s = TICK_NS / 1e9
        return tick_s if left_s is None else min(left_s, tick_s)

    def _seconds_left(self) -> float | None:
        if self.limits.seconds is None or self._shared.first_capture_ns is None:
            return None
        return max(0.0, self.limits.seconds - self.ran_s)

    def _open(self, source: Source) -> None:
        """Open sinks and overlay, then let capturing and inference begin."""
        assert self._perception is not None
        self.renderer.open(self._parts.open_sinks(source), self._parts.open_overlay)
        drops = self.limits.drops(source)
        self._shared.inbox.newest_wins = drops
        # Dropping: a frame is taken only when the main thread will be free for its result.
        # Waiting: one result may wait, which evens out uneven stages.
        permits = self._perception.slots + (0 if drops else 1)
        # Beside those: one being captured, one in the inbox, one being rendered.
        self._shared.ledger.limit = permits + 3
        for _ in range(permits):
            self._shared.outbox.release()
        self._shared.go.set()
        for message in self._early:
            self._handle(message)

    def _render(self, result: Result) -> None:
        """The one place where a frame becomes a rendered one."""
        try:
            wanted = self.renderer.render(result, dropped=lambda: self.counts().dropped)
        except Exception as exc:
            self._shared.lose(result.frame, "failed")
            self._fail(self.renderer.stage, exc)
            return
        self._shared.ledger.settle(result.frame.id, "rendered")
        self._rendered += 1
        if not wanted:
            self._reason = "a sink's reader left"
        elif self._rendered == self.limits.frames:
            self._reason = "frames"
        elif self._seconds_left() == 0.0:
            self._reason = "seconds"

    def _tick(self) -> None:
        """What is due by the clock: the view of no signal, and what systemd hears."""
        now_ns = self._clock()
        if self._reason is not None or now_ns < self._tick_ns:
            return
        self._tick_ns = now_ns + TICK_NS
        source = self._source
        if source is None or not self._shared.go.is_set():
            self.heartbeat.loading(now_ns)
            return
        counts = self.counts()
        if isinstance(source, Supervised):
            self._signal(self.status or source.status, counts)
        if self._notifier.active:
            self.heartbeat.beat(now_ns, progress_of(source, counts, self.renderer))
        if self._each_tick is not None:
            self._each_tick()

    def _signal(self, status: SourceStatus, counts: Counts | None = None) -> None:
        """Tell the sinks a new state, or with ``counts`` look whether pictures are still shown."""
        try:
            if counts is None:
                wanted = self.renderer.signal(status)
            else:
                wanted = self.renderer.watch(status, counts, stall_s=self.limits.stall_s)
        except Exception as exc:
            self._fail(self.renderer.stage, exc)
        else:
            self._reason = self._reason if wanted else "a sink's reader left"
        if self.renderer.silent and self._shared.first_capture_ns is None:
            self._shared.first_capture_ns = self._clock()

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
        said = "" if self._error is None else f": {self._error}"
        self._notifier.stopping(f"ended: {self._reason or 'stopped'}{said}")
        self._shared.close()
        for sink in self.renderer.sinks:
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
                self._shared.lose(message.frame, "discarded_at_stop")
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
