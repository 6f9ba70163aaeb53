"""Runs an opening that cannot be interrupted and gives it up in time; it knows no format."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from engines.errors import SourceError

POLL_S = 0.05
"""How often a wait for a source looks at the stop event."""

T = TypeVar("T")


def opened_in_time(
    call: Callable[[], T],
    *,
    discard: Callable[[T], None],
    name: str,
    stop: threading.Event,
    deadline_s: float,
) -> T:
    """What ``call`` returns, run on a daemon thread of its own.

    A thread that was given up hands what it opened after all to ``discard``.

    Raises:
        SourceError: the deadline has passed, or ``stop`` was set.
        Exception: what ``call`` raised within the deadline.
    """
    future: Future[T] = Future()

    def opener() -> None:
        try:
            future.set_result(call())
        except Exception as exc:  # crosses to the waiting thread
            future.set_exception(exc)

    def discard_opened(done: Future[T]) -> None:
        if done.exception() is None:
            discard(done.result())

    deadline = time.monotonic() + deadline_s
    threading.Thread(target=opener, name="open-source", daemon=True).start()
    while not (future.done() or stop.is_set()) and (left_s := deadline - time.monotonic()) > 0:
        wait([future], timeout=min(POLL_S, left_s))
    if not future.done():
        future.add_done_callback(discard_opened)
        raise stopped(name) if stop.is_set() else late(name, deadline_s)
    error = future.exception()
    # What a library raises at its own deadline depends on where it stood: the clock tells.
    if error is not None and time.monotonic() >= deadline:
        raise late(name, deadline_s) from error
    return future.result()


def stopped(name: str) -> SourceError:
    """The opening was given up because ``stop`` was set."""
    return SourceError(f"{name}: opening was stopped on request")


def late(name: str, deadline_s: float) -> SourceError:
    """The opening was given up at its deadline."""
    return SourceError(
        f"{name}: no answer within {deadline_s:g} s (open_timeout_s), wanted a stream; check the "
        "address and that the device is on, or raise the limit"
    )
