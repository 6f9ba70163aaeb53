"""The capture and the infer thread and what they share with the main thread; they render nothing.

They tell the main thread everything through the outbox, in order. A worker that fails says so
before it closes the mailboxes: the failure is heard before the end.
"""

from __future__ import annotations

import logging
import statistics
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge.metrics.ledger import Ledger, Outcome
from edge.metrics.metrics import GPU_STAGE
from edge.run.mailbox import Inbox, InboxClosedError, Outbox
from edge.run.messages import (
    Broken,
    Captured,
    Drained,
    Message,
    PerceptionReady,
    SourceChanged,
    SourceReady,
    Wake,
)
from edge.sources.base import Source
from edge.sources.live.status import SourceStatus
from edge.vision.types import Frame, Result
from engines.errors import SourceError

if TYPE_CHECKING:
    from edge.metrics.observer import Observer
    from edge.vision.perception import Perception

log = logging.getLogger(__name__)

RECENT = 8
"""Runs by which the next one is predicted: a quarter of a second of a usual camera."""


class Shared:
    """What all three threads touch."""

    def __init__(self, clock: Callable[[], int], observers: Sequence[Observer]) -> None:
        self.clock = clock
        self.observers = observers
        self.ledger = Ledger()
        self.inbox: Inbox[Captured] = Inbox(newest_wins=False)
        self.outbox: Outbox[Message] = Outbox()
        self.stop = threading.Event()
        self.go = threading.Event()
        self.source_error: SourceError | None = None
        self.first_capture_ns: int | None = None
        self.max_age_ms: float | None = None
        self.keep: Mapping[str, Any] | None = None
        """Which boxes the infer thread is to keep from the next frame on; ``Perception.keep``."""

    def lose(self, frame: Frame, outcome: Outcome) -> None:
        """Close the account of a frame that is not rendered."""
        self.ledger.settle(frame.id, outcome)
        for observer in self.observers:
            observer.lost(frame, outcome, self.clock())

    def pause(self, ns: float) -> None:
        """Wait so long, or until the stop."""
        self.stop.wait(ns / 1e9)

    def close(self) -> None:
        """Wake every blocked call for good; a frame left in the inbox is discarded."""
        self.stop.set()
        left = self.inbox.close()
        if left is not None:
            self.lose(left.frame, "discarded_at_stop")
        self.outbox.close()
        self.go.set()

    def fail(self, stage: str, error: BaseException) -> None:
        """Tell the main thread that a worker's stage raised, then stop the others."""
        self.outbox.post(Broken(stage, error))
        self.close()


def release_quietly(what: str, close: Callable[[], None]) -> None:
    """Close what the run no longer needs; a failure is only logged: the frames are rendered."""
    try:
        close()
    except Exception as exc:
        log.warning("closing the %s failed: %s", what, exc)


class CaptureWorker:
    """Opens the source, reads it to its end or to the stop, closes it."""

    def __init__(
        self,
        shared: Shared,
        open_source: Callable[[threading.Event, Callable[[SourceStatus], None]], Source],
    ) -> None:
        self._shared = shared
        self._open_source = open_source

    def run(self) -> None:
        """Body of the capture thread."""
        shared, source = self._shared, None
        try:
            source = self._open_source(
                shared.stop, lambda status: shared.outbox.post(SourceChanged(status))
            )
            shared.outbox.post(SourceReady(source))
            shared.go.wait()
            self._read(source)
            shared.inbox.end()
        except SourceError as exc:
            if shared.go.is_set():
                # What was read before is rendered, then the run fails.
                shared.source_error = exc
                shared.inbox.end()
            else:
                shared.fail("source", exc)
        except BaseException as exc:
            shared.fail("source", exc)
        finally:
            if source is not None:
                release_quietly("source", source.close)

    def _read(self, source: Source) -> None:
        shared, number = self._shared, 0
        while not shared.stop.is_set():
            t_asked = shared.clock()
            frame = source.read()
            if frame is None:
                return
            capture_ns = shared.clock() - t_asked
            shared.ledger.capture(frame.id)
            if number == 0:
                if shared.first_capture_ns is None:
                    shared.first_capture_ns = shared.clock()
                shared.outbox.post(Wake())
            try:
                lost = shared.inbox.put(Captured(frame, number, capture_ns))
            except InboxClosedError:
                shared.lose(frame, "discarded_at_stop")
                return
            if lost is not None:
                shared.lose(lost.frame, "dropped_overwritten")
            number += 1


@dataclass(slots=True)
class _Running:
    """A frame in one of the engine's slots."""

    captured: Captured
    slot: int
    stage_ns: dict[str, int]
    submitted_ns: int
    waited_ns: int
    """For its run, so far."""


class InferWorker:
    """Opens the models, turns frames into results, closes the models: all on its own thread."""

    def __init__(
        self,
        shared: Shared,
        open_perception: Callable[[], Perception],
    ) -> None:
        self._shared = shared
        self._open = open_perception
        self._kept: Mapping[str, Any] | None = None
        self._last_number = -1
        self._stage = "model"
        self._prepare_ns: deque[int] = deque(maxlen=RECENT)
        self._run_ns: deque[int] = deque(maxlen=RECENT)
        self._free_ns = 0
        """When the engine was done with the last frame."""

    def run(self) -> None:
        """Body of the infer thread."""
        shared, perception, began_ns = self._shared, None, self._shared.clock()
        try:
            perception = self._open()
            shared.outbox.post(PerceptionReady(perception, shared.clock() - began_ns))
            shared.go.wait()
            self._infer(perception)
        except BaseException as exc:
            shared.fail(self._stage, exc)
        finally:
            if perception is not None:
                release_quietly("engine", perception.close)
            shared.outbox.post(Drained(shared.source_error))

    def _infer(self, perception: Perception) -> None:
        """Keep every slot busy: frame n+1 is prepared and submitted while n runs.

        A device runs one frame after another: of a live source the next is taken just before n
        ends, or it would only wait and age.
        """
        running: deque[_Running] = deque()
        slot, late = 0, self._shared.inbox.newest_wins and perception.on_gpu
        at_once = min(perception.slots, 2) if late else perception.slots
        try:
            while True:
                while len(running) < at_once:
                    if late and running and not self._hold_back(running[-1]):
                        break
                    # Never wait for a frame while the result of another can be fetched.
                    captured = self._next_frame(block=not running)
                    if captured is None:
                        break
                    running.append(self._begin(perception, captured, slot))
                    slot = (slot + 1) % perception.slots
                if not running:
                    return
                self._finish(perception, running.popleft())
        finally:
            for left in running:
                self._shared.lose(left.captured.frame, "discarded_at_stop")

    def _hold_back(self, running: _Running) -> bool:
        """Wait until just enough time is left to prepare a frame before ``running`` is done.

        Counts with the shortest of the recent runs, so that no result waits. False before any run.
        """
        if not self._run_ns:
            return False
        takes_ns = min(self._run_ns) - statistics.median(self._prepare_ns)
        left_ns = max(running.submitted_ns, self._free_ns) + takes_ns - self._shared.clock()
        if left_ns > 0:
            began_ns = self._shared.clock()
            self._shared.pause(left_ns)
            running.waited_ns += self._shared.clock() - began_ns
        return True

    def _next_frame(self, *, block: bool) -> Captured | None:
        """The newest frame that is young enough, taken when its result has a place to go."""
        shared = self._shared
        if not shared.outbox.reserve(block=block):
            return None
        while True:
            captured = shared.inbox.take(block=block)
            if captured is None:
                shared.outbox.release()
                return None
            frame, max_age_ms = captured.frame, shared.max_age_ms
            # What its source holds it back is no fault of this run, and bounded by itself.
            age_ns = shared.clock() - frame.t_capture_ns - frame.delay_ns
            if max_age_ms is None or age_ns <= max_age_ms * 1e6:
                return captured
            shared.lose(captured.frame, "dropped_stale")

    def _begin(self, perception: Perception, captured: Captured, slot: int) -> _Running:
        frame, clock = captured.frame, self._shared.clock
        try:
            self._stage = "letterbox"
            perception.choose_letterbox(frame.image, slot)  # not timed: trials, once a frame size
            t_start = clock()
            perception.prepare(frame.image, slot)
            self._stage = "infer"
            t_ready = clock()
            perception.submit(slot)
        except BaseException:
            self._shared.lose(frame, "failed")
            raise
        t_submitted = clock()
        self._prepare_ns.append(t_submitted - t_start)
        stage_ns = {"capture": captured.capture_ns, "letterbox": t_ready - t_start}
        # Engines without a thread of their own do the run in submit().
        return _Running(captured, slot, stage_ns, t_ready, t_submitted - t_ready)

    def _finish(self, perception: Perception, running: _Running) -> None:
        frame, number = running.captured.frame, running.captured.number
        stage_ns, clock = running.stage_ns, self._shared.clock
        try:
            self._stage = "infer"
            t_waits = clock()
            perception.wait(running.slot)
            t_inferred = clock()
            self._stage = "decode"
            keep = self._shared.keep
            if keep is not None and keep is not self._kept:
                perception.keep(**keep)
                self._kept = keep
            detections, masks = perception.decode(running.slot)
            to_blur = perception.to_blur(running.slot)
            t_decoded = clock()
        except BaseException:
            self._shared.lose(frame, "failed")
            raise
        t_submitted = running.submitted_ns
        engine_ns = t_inferred - max(t_submitted, self._free_ns)
        self._run_ns.append(engine_ns)
        self._free_ns = t_inferred
        stage_ns["infer"] = t_inferred - t_submitted
        stage_ns["decode"] = t_decoded - t_inferred
        for name, ns in perception.gpu_ns(running.slot).items():
            stage_ns[GPU_STAGE + name] = ns
        # Results keep the order of capture: a gap in the numbers is what was dropped between.
        dropped = number - self._last_number - 1
        self._last_number = number
        names = perception.class_names
        t_begin = t_submitted - stage_ns["letterbox"]
        found = frame, detections, names, masks
        waited_ns = running.waited_ns + t_inferred - t_waits
        result = Result(*found, stage_ns, t_begin, engine_ns, dropped, to_blur, waited_ns)
        self._shared.outbox.post(result)
