"""Runs an opening that cannot be interrupted and gives it up in time; it knows no format."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
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
    outcome: queue.SimpleQueue[tuple[T] | Exception] = queue.SimpleQueue()
    abandoned = threading.Event()

    def discard_leftover() -> None:
        try:
            leftover = outcome.get_nowait()
        except queue.Empty:
            return
        if not isinstance(leftover, Exception):
            discard(leftover[0])

    def opener() -> None:
        try:
            outcome.put((call(),))
        except Exception as exc:  # crosses to the waiting thread
            outcome.put(exc)
        if abandoned.is_set():
            discard_leftover()

    started = time.monotonic()
    threading.Thread(target=opener, name="open-source", daemon=True).start()
    result: tuple[T] | Exception | None = None
    while result is None and not stop.is_set():
        left_s = started + deadline_s - time.monotonic()
        if left_s <= 0:
            break
        try:
            result = outcome.get(timeout=min(POLL_S, left_s))
        except queue.Empty:
            continue
    if result is None:
        abandoned.set()
        discard_leftover()
        raise stopped(name) if stop.is_set() else late(name, deadline_s)
    if isinstance(result, Exception):
        # What a library raises at its own deadline depends on where it stood: the clock tells.
        if time.monotonic() - started >= deadline_s:
            raise late(name, deadline_s) from result
        raise result
    return result[0]


def stopped(name: str) -> SourceError:
    """The opening was given up because ``stop`` was set."""
    return SourceError(f"{name}: opening was stopped on request")


def late(name: str, deadline_s: float) -> SourceError:
    """The opening was given up at its deadline."""
    return SourceError(
        f"{name}: no answer within {deadline_s:g} s (open_timeout_s), wanted a stream; check the "
        "address and that the device is on, or raise the limit"
    )
