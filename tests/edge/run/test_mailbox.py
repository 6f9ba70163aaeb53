"""The mailboxes: what is overwritten, who waits, who wakes."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from edge.run.mailbox import Inbox, InboxClosedError, Outbox


def in_thread(body: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """Run ``body`` in a thread; its result or exception lands in the list."""
    out: list[object] = []

    def run() -> None:
        try:
            out.append(body())
        except BaseException as exc:
            out.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, out


def joined(thread: threading.Thread) -> bool:
    thread.join(5)
    return not thread.is_alive()


def test_the_newest_item_wins_and_put_returns_each_one_that_lost() -> None:
    inbox: Inbox[int] = Inbox(newest_wins=True)
    assert [inbox.put(n) for n in (1, 2, 3)] == [None, 1, 2]
    assert inbox.take() == 3
    assert inbox.take(block=False) is None


def test_handing_off_waits_until_the_item_is_taken() -> None:
    inbox: Inbox[int] = Inbox(newest_wins=False)
    assert inbox.put(1) is None
    thread, out = in_thread(lambda: inbox.put(2))
    assert inbox.take() == 1
    assert joined(thread)
    assert out == [None]
    assert inbox.take() == 2


def test_take_waits_for_an_item() -> None:
    inbox: Inbox[int] = Inbox(newest_wins=True)
    thread, out = in_thread(inbox.take)
    inbox.put(7)
    assert joined(thread)
    assert out == [7]


def test_after_the_end_the_last_item_is_still_taken_and_then_none() -> None:
    inbox: Inbox[int] = Inbox(newest_wins=True)
    inbox.put(1)
    inbox.end()
    with pytest.raises(InboxClosedError):
        inbox.put(2)
    assert inbox.take() == 1
    assert inbox.take() is None


def test_closing_returns_the_left_item_once_and_wakes_both_sides() -> None:
    full: Inbox[int] = Inbox(newest_wins=False)
    full.put(1)
    producer, put = in_thread(lambda: full.put(2))
    empty: Inbox[int] = Inbox(newest_wins=False)
    consumer, taken = in_thread(empty.take)
    left = full.close()
    assert empty.close() is None
    assert joined(producer)
    assert joined(consumer)
    assert left == 1
    assert isinstance(put[0], InboxClosedError)
    assert taken == [None]
    assert full.close() is None


def test_a_reservation_needs_a_permit_and_each_release_gives_one() -> None:
    outbox: Outbox[int] = Outbox()
    assert not outbox.reserve(block=False)
    outbox.release()
    assert outbox.reserve(block=False)
    assert not outbox.reserve(block=False)


def test_closing_wakes_who_waits_for_a_permit_and_refuses_for_good() -> None:
    outbox: Outbox[int] = Outbox()
    thread, out = in_thread(outbox.reserve)
    outbox.close()
    assert joined(thread)
    assert out == [False]
    assert not outbox.reserve()
    assert not outbox.reserve(block=False)


def test_the_outbox_keeps_order_and_gives_back_what_nobody_took() -> None:
    outbox: Outbox[int] = Outbox()
    for n in (1, 2, 3):
        outbox.post(n)
    assert outbox.take() == 1
    assert outbox.drain() == [2, 3]
    assert outbox.take(timeout_s=0) is None
