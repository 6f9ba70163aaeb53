"""The capture and the infer thread and what they share with the main thread; they render nothing.

They tell the main thread everything through the outbox, in order. A worker that fails says so
before it closes the mailboxes: the failure is heard before the end.
"""

from __future__ import annotations

import logging
import statistics
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge.metrics.ledger import Ledger
from edge.metrics.metrics import GPU_STAGE
from edge.run.mailbox import Inbox, InboxClosedError, Outbox
from edge.sources.base import Source
from edge.sources.live.status import SourceStatus
from edge.vision.types import Frame, Result
from engines.errors import SourceError

if TYPE_CHECKING:
    from edge.vision.perception import Perception

log = logging.getLogger(__name__)

RECENT = 8
"""Runs by which the next one is predicted: a quarter of a second of a usual camera."""


@dataclass(frozen=True, slots=True)
class Captured:
    """A frame on its way to inference and how long ``read()`` took.

    ``number`` counts captured frames without a gap; ids may have gaps, which are the source's.
    """

    frame: Frame
    number: int
    capture_ns: int


@dataclass(frozen=True, slots=True)
class PerceptionReady:
    """The models are open, which took ``took_ns``; inference waits for ``Shared.go``."""

    perception: Perception
    took_ns: int


@dataclass(frozen=True, slots=True)
class SourceReady:
    """The source is open; capturing waits for ``Shared.go``."""

    source: Source


@dataclass(frozen=True, slots=True)
class Broken:
    """A stage raised."""

    stage: str
    error: BaseException


@dataclass(frozen=True, slots=True)
class Drained:
    """No result follows. ``error`` is what ended the source, None at its orderly end."""

    error: SourceError | None


@dataclass(frozen=True, slots=True)
class Wake:
    """Makes the main thread look whether it was asked to stop, and how long it may still run."""


@dataclass(frozen=True, slots=True)
class SourceChanged:
    """A live source has another state, or another reason for it."""

    status: SourceStatus


@dataclass(frozen=True, slots=True)
class Call:
    """Something for the main thread to do between two pictures."""

    do: Callable[[], None]


Message = PerceptionReady | SourceReady | Result | SourceChanged | Call | Broken | Drained | Wake


class Shared:
    """What all three threads touch."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self.clock = clock
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

    def pause(self, ns: float) -> None:
        """Wait so long, or until the stop."""
        self.stop.wait(ns / 1e9)

    def close(self) -> None:
        """Wake every blocked call for good; a frame left in the inbox is discarded."""
        self.stop.set()
        left = self.inbox.close()
        if left is not None:
            self.ledger.settle(left.frame.id, "discarded_at_stop")
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
                shared.ledger.settle(frame.id, "discarded_at_stop")
                return
            if lost is not None:
                shared.ledger.settle(lost.frame.id, "dropped_overwritten")
            number += 1


@dataclass(slots=True)
class _Running:
    """A frame in one of the engine's slots."""

    captured: Captured
    slot: int
    stage_ns: dict[str, int]
    submitted_ns: int


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
                self._shared.ledger.settle(left.captured.frame.id, "discarded_at_stop")

    def _hold_back(self, running: _Running) -> bool:
        """Wait until just enough time is left to prepare a frame before ``running`` is done.

        Counts with the shortest of the recent runs, so that no result waits. False before any run.
        """
        if not self._run_ns:
            return False
        takes_ns = min(self._run_ns) - statistics.median(self._prepare_ns)
        left_ns = max(running.submitted_ns, self._free_ns) + takes_ns - self._shared.clock()
        if left_ns > 0:
            self._shared.pause(left_ns)
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
            age_ns, max_age_ms = shared.clock() - captured.frame.t_capture_ns, shared.max_age_ms
            if max_age_ms is None or age_ns <= max_age_ms * 1e6:
                return captured
            shared.ledger.settle(captured.frame.id, "dropped_stale")

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
            self._shared.ledger.settle(frame.id, "failed")
            raise
        self._prepare_ns.append(clock() - t_start)
        stage_ns = {"capture": captured.capture_ns, "letterbox": t_ready - t_start}
        return _Running(captured, slot, stage_ns, t_ready)

    def _finish(self, perception: Perception, running: _Running) -> None:
        frame, number = running.captured.frame, running.captured.number
        stage_ns, clock = running.stage_ns, self._shared.clock
        try:
            self._stage = "infer"
            perception.wait(running.slot)
            t_inferred = clock()
            self._stage = "decode"
            keep = self._shared.keep
            if keep is not None and keep is not self._kept:
                perception.keep(**keep)
                self._kept = keep
            detections, masks = perception.decode(running.slot)
            t_decoded = clock()
        except BaseException:
            self._shared.ledger.settle(frame.id, "failed")
            raise
        self._run_ns.append(t_inferred - max(running.submitted_ns, self._free_ns))
        self._free_ns = t_inferred
        stage_ns["infer"] = t_inferred - running.submitted_ns
        stage_ns["decode"] = t_decoded - t_inferred
        for name, ns in perception.gpu_ns(running.slot).items():
            stage_ns[GPU_STAGE + name] = ns
        # Results keep the order of capture: a gap in the numbers is what was dropped between.
        dropped = number - self._last_number - 1
        self._last_number = number
        names = perception.class_names
        self._shared.outbox.post(Result(frame, detections, names, masks, stage_ns, dropped))
