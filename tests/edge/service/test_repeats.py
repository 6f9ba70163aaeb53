"""A fault that repeats is told once and then counted."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator

import pytest

from edge.service import repeats
from edge.service.repeats import CountedRepeats


class Told(logging.Handler):
    """Keeps what arrives."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []
        self.arrived = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        assert record.exc_info is None or "times since" not in str(record.msg)
        self.messages.append(re.sub(r"since \d\d:\d\d", "since HH:MM", record.getMessage()))
        self.arrived.set()

    def fresh(self) -> list[str]:
        messages, self.messages = self.messages, []
        return messages


class Bench:
    """A log with a clock of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.told = Told()
        self.handler = CountedRepeats(self.told, clock=lambda: self.now)
        self.log = logging.Logger("edge.sources")
        self.log.addHandler(self.handler)

    def fail(self, reason: str = "refused", *, state: str | None = None, cam: str = "a") -> None:
        extra = {} if state is None else {"OUTRIDER_STATE": state, "OUTRIDER_SOURCE": cam}
        self.log.warning("%s: cannot be opened: %s", cam, reason, extra=extra)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.handler.close()


def test_a_repeat_is_counted_and_its_number_told_when_it_ends(bench: Bench) -> None:
    for bench.now in range(0, 300, 30):  # 10 times, the last at 270 s
        bench.fail(f"reason {bench.now}")
    assert bench.told.fresh() == ["a: cannot be opened: reason 0"]
    bench.now = 329
    bench.handler.tell_due()
    assert bench.told.fresh() == []
    bench.now = 330  # 60 s without it
    bench.handler.tell_due()
    assert bench.told.fresh() == ["a: cannot be opened: reason 270 (10 times since HH:MM)"]
    bench.fail()  # begins anew
    assert bench.told.fresh() == ["a: cannot be opened: refused"]


def test_one_that_goes_on_is_told_each_ten_minutes(bench: Bench) -> None:
    for bench.now in range(0, 1290, 30):  # at 0 s, ..., 1260 s
        bench.fail()
    assert bench.told.fresh() == [
        "a: cannot be opened: refused",
        "a: cannot be opened: refused (20 times since HH:MM)",  # at 600 s, before the 21st
        "a: cannot be opened: refused (40 times since HH:MM)",
    ]
    bench.handler.close()
    assert bench.told.fresh() == ["a: cannot be opened: refused (43 times since HH:MM)"]


def test_one_that_came_once_has_no_number(bench: Bench) -> None:
    bench.fail()
    bench.now = 1000
    bench.handler.tell_due()
    bench.fail()
    bench.handler.close()
    assert bench.told.fresh() == ["a: cannot be opened: refused"] * 2


def test_another_state_of_the_source_ends_what_was_counted_of_it(bench: Bench) -> None:
    for _ in range(3):
        bench.fail(state="reconnecting")
        bench.fail(state="reconnecting", cam="b")
    live = {"OUTRIDER_STATE": "live", "OUTRIDER_SOURCE": "a"}
    bench.log.info("a: live", extra=live)
    bench.fail(state="reconnecting")
    assert bench.told.fresh() == [
        "a: cannot be opened: refused",
        "b: cannot be opened: refused",
        "a: cannot be opened: refused (3 times since HH:MM)",
        "a: live",
        "a: cannot be opened: refused",
    ]


def test_information_and_other_faults_are_told_each(bench: Bench) -> None:
    for number, word in enumerate(("first", "second")):
        bench.log.info("frame %d", number)
        bench.log.error("%s", f"{word} fault")
        bench.log.error(ValueError(f"{word} kind"))
    bench.log.warning("first fault")
    assert bench.told.fresh() == [
        "frame 0",
        "first fault",
        "first kind",
        "frame 1",
        "second fault",
        "second kind",
        "first fault",  # another level
    ]


def test_a_new_reason_is_told_among_repeats_of_others_and_a_new_number_in_it_is_none(
    bench: Bench,
) -> None:
    for number in range(4):
        bench.log.warning("source %s: %s", "reconnecting", f"ended after frame {number}")
        bench.log.warning("source %s: %s", "reconnecting", "401 wanted a login")
    assert bench.told.fresh() == [
        "source reconnecting: ended after frame 0",
        "source reconnecting: 401 wanted a login",
    ]


def test_a_number_is_told_where_no_record_comes_any_more(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeats, "QUIET_S", 0.01)
    bench.log.error("broke", exc_info=ValueError("x"))
    bench.log.error("broke", exc_info=ValueError("x"))
    assert bench.told.fresh() == ["broke"]
    bench.told.arrived.clear()
    bench.now = 1.0
    assert bench.told.arrived.wait(20)
    assert bench.told.fresh() == ["broke (2 times since HH:MM)"]


def test_a_record_that_cannot_be_formatted_does_not_stop_the_program(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    bench.log.warning("%d", "no number")
    bench.log.warning("next")
    assert bench.told.fresh() == ["next"]
