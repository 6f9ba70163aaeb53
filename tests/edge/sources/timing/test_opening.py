"""Openings that cannot be interrupted: in time, late, stopped, failed, and what is left of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from edge.sources.timing.opening import opened_in_time
from engines.errors import SourceError


def open_it(
    call: Callable[[], str], *, deadline_s: float = 30.0, stop: threading.Event | None = None
) -> str:
    return opened_in_time(
        call,
        discard=DISCARDED.append,
        name="it",
        stop=stop or threading.Event(),
        deadline_s=deadline_s,
    )


DISCARDED: list[str] = []


@pytest.fixture(autouse=True)
def _none_yet() -> None:
    DISCARDED.clear()


def test_what_opens_in_time_is_handed_over_and_not_discarded() -> None:
    assert open_it(lambda: "opened") == "opened"
    assert DISCARDED == []


def test_what_fails_in_time_fails_with_its_own_error() -> None:
    with pytest.raises(ZeroDivisionError):
        open_it(lambda: str(1 // 0))


@pytest.mark.parametrize("asked", [True, False])
def test_what_hangs_is_given_up_and_discarded_when_it_opens_after_all(asked: bool) -> None:
    going_on, stop = threading.Event(), threading.Event()

    def hang() -> str:
        if asked:
            stop.set()
        going_on.wait(30)
        return "too late"

    started = time.monotonic()
    wanted = "stopped on request" if asked else r"no answer within 0\.2 s"
    with pytest.raises(SourceError, match=wanted):
        open_it(hang, deadline_s=20.0 if asked else 0.2, stop=stop)
    assert time.monotonic() - started < 5
    assert DISCARDED == []
    going_on.set()
    for thread in threading.enumerate():
        if thread.name == "open-source":
            thread.join(10)
    assert DISCARDED == ["too late"]


def test_what_fails_at_its_own_deadline_is_late() -> None:
    def time_out() -> str:
        threading.Event().wait(0.3)
        raise OSError("interrupted")

    with pytest.raises(SourceError, match=r"no answer within 0\.2 s"):
        open_it(time_out, deadline_s=0.2)
