"""The ledger: it balances, and a frame that goes missing or counts twice is found."""

from __future__ import annotations

import threading
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.metrics.ledger import Counts, Ledger, LedgerError, Outcome

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


def test_a_new_ledger_is_empty_and_settled() -> None:
    ledger = Ledger()
    assert ledger.counts() == Counts(0, 0, 0, 0, 0, 0, 0)
    ledger.check_settled()


@given(st.lists(st.sampled_from((*OUTCOMES, None)), max_size=40))
def test_captured_is_always_the_sum_of_outcomes_and_in_flight(fates: list[Outcome | None]) -> None:
    ledger = Ledger()
    for frame_id, fate in enumerate(fates):
        ledger.capture(frame_id)
        if fate is not None:
            ledger.settle(frame_id, fate)
        counts = ledger.counts()
        assert counts.captured == frame_id + 1 == counts.settled + counts.in_flight
    counts = ledger.counts()
    assert counts.in_flight == fates.count(None)
    assert {name: getattr(counts, name) for name in OUTCOMES} == {
        name: fates.count(name) for name in OUTCOMES
    }


def test_a_frame_that_nobody_settles_is_found_at_the_end() -> None:
    ledger = Ledger()
    for frame_id in range(3):
        ledger.capture(frame_id)
    ledger.settle(0, "rendered")
    ledger.settle(2, "rendered")
    with pytest.raises(LedgerError, match=r"1 of 3 frames were lost uncounted \(ids \[1\]\)"):
        ledger.check_settled()


def test_more_frames_in_flight_than_fit_are_found_at_once() -> None:
    ledger = Ledger(limit=2)
    ledger.capture(4)
    ledger.capture(5)
    with pytest.raises(LedgerError, match=r"3 frames in flight where 2 fit.*oldest is 4"):
        ledger.capture(6)


def test_a_frame_settles_once() -> None:
    ledger = Ledger()
    ledger.capture(0)
    ledger.settle(0, "failed")
    with pytest.raises(LedgerError, match="frame 0 became rendered"):
        ledger.settle(0, "rendered")


def test_a_frame_that_was_never_captured_is_refused() -> None:
    with pytest.raises(LedgerError, match="frame 9"):
        Ledger().settle(9, "rendered")


@pytest.mark.parametrize("again", [3, 2])
def test_ids_must_grow(again: int) -> None:
    ledger = Ledger()
    ledger.capture(3)
    with pytest.raises(LedgerError, match=f"id {again} came after 3"):
        ledger.capture(again)


def test_gaps_of_the_source_stand_outside_the_sum() -> None:
    ledger = Ledger()
    ledger.capture(0)
    ledger.settle(0, "rendered")
    counts = ledger.counts(source_gaps=7)
    assert (counts.captured, counts.settled, counts.source_gaps) == (1, 1, 7)


def test_sealing_discards_what_is_open_and_ignores_a_thread_that_comes_back() -> None:
    ledger = Ledger()
    ledger.capture(0)
    ledger.seal()
    ledger.settle(0, "rendered")
    ledger.capture(1)
    assert ledger.counts() == Counts(1, 0, 0, 0, 0, discarded_at_stop=1, in_flight=0)
    ledger.check_settled()


def test_two_threads_lose_no_count() -> None:
    ledger = Ledger()
    ready = threading.Semaphore(0)

    def capture() -> None:
        for frame_id in range(2_000):
            ledger.capture(frame_id)
            ready.release()

    thread = threading.Thread(target=capture)
    thread.start()
    for frame_id in range(2_000):
        ready.acquire()
        ledger.settle(frame_id, "rendered")
        ledger.counts()
    thread.join()
    assert ledger.counts() == Counts(2_000, 2_000, 0, 0, 0, 0, 0)
