"""The account of every frame by its id: captured, and what became of it; it decides nothing.

At every report and at exit: captured = the sum of all outcomes + in_flight. A frame that goes
missing stays open and is found; one that is settled twice is refused.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Literal, get_args

Outcome = Literal["rendered", "dropped_overwritten", "dropped_stale", "failed", "discarded_at_stop"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


class LedgerError(RuntimeError):
    """Frames were lost, counted twice or never captured: a defect of the program itself."""


@dataclass(frozen=True, slots=True)
class Counts:
    """The ledger at one moment; ``source_gaps`` (lost before ``read()``) stands outside the sum."""

    captured: int
    rendered: int
    dropped_overwritten: int
    dropped_stale: int
    failed: int
    discarded_at_stop: int
    in_flight: int
    source_gaps: int = 0

    @property
    def settled(self) -> int:
        """Frames whose outcome is known."""
        return sum(getattr(self, outcome) for outcome in OUTCOMES)

    @property
    def dropped(self) -> int:
        """Frames that were overwritten or too old."""
        return self.dropped_overwritten + self.dropped_stale


class Ledger:
    """Thread-safe; keeps the ids of frames in flight only.

    ``limit`` is how many frames fit into the pipeline at once, None while that is not known.
    """

    def __init__(self, *, limit: int | None = None) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._open: set[int] = set()
        self._last_id = -1
        self._captured = 0
        self._settled = dict.fromkeys(OUTCOMES, 0)
        self._sealed = False

    def capture(self, frame_id: int) -> None:
        """Open the account of one frame.

        Raises:
            LedgerError: the id does not grow, or more frames are open than the pipeline can hold.
        """
        with self._lock:
            if self._sealed:
                return
            if frame_id <= self._last_id:
                raise LedgerError(
                    f"frame id {frame_id} came after {self._last_id}; a source's ids must grow"
                )
            self._last_id = frame_id
            self._captured += 1
            self._open.add(frame_id)
            if self.limit is not None and len(self._open) > self.limit:
                raise LedgerError(
                    f"{len(self._open)} frames in flight where {self.limit} fit: "
                    f"some were lost uncounted, the oldest is {min(self._open)}"
                )

    def settle(self, frame_id: int, outcome: Outcome) -> None:
        """Close the account of one frame.

        Raises:
            LedgerError: the frame is not open: never captured, or settled before.
        """
        with self._lock:
            if self._sealed:
                return
            if frame_id not in self._open:
                raise LedgerError(
                    f"frame {frame_id} became {outcome}, but it was settled or never captured"
                )
            self._open.remove(frame_id)
            self._settled[outcome] += 1

    def counts(self, *, source_gaps: int = 0) -> Counts:
        """The account now, checked.

        Raises:
            LedgerError: the sum does not balance.
        """
        with self._lock:
            counts = Counts(
                captured=self._captured,
                **self._settled,
                in_flight=len(self._open),
                source_gaps=source_gaps,
            )
        if counts.captured != counts.settled + counts.in_flight:
            raise LedgerError(f"the ledger does not balance: {counts}")
        return counts

    def seal(self) -> None:
        """Count what an abandoned thread still holds as discarded and take no more entries."""
        with self._lock:
            self._settled["discarded_at_stop"] += len(self._open)
            self._open.clear()
            self._sealed = True

    def check_settled(self) -> None:
        """Refuse an end with frames in flight.

        Raises:
            LedgerError: a frame was captured and nobody says what became of it.
        """
        counts = self.counts()
        if counts.in_flight:
            with self._lock:
                ids = sorted(self._open)[:5]
            raise LedgerError(
                f"{counts.in_flight} of {counts.captured} frames were lost uncounted (ids {ids})"
            )
