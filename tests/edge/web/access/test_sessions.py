"""Sessions end, by themselves, by their owner and when there are many."""

from __future__ import annotations

from edge.web.access.sessions import LASTS_S, Sessions
from tests.edge.web.access.test_rates import Clock


def test_a_session_goes_on_for_a_day_of_driving() -> None:
    clock = Clock()
    sessions = Sessions(clock=clock)
    name = sessions.begin()
    assert sessions.known(name)
    assert not sessions.known(name[:-1])
    assert not sessions.known("")
    assert not sessions.known("\udcff")
    clock.s += LASTS_S - 1
    assert sessions.known(name)
    clock.s += 1
    assert not sessions.known(name)


def test_one_that_is_ended_is_known_no_more_and_the_others_are() -> None:
    sessions = Sessions(clock=Clock())
    one, other = sessions.begin(), sessions.begin()
    sessions.end(one)
    sessions.end("none")
    assert (sessions.known(one), sessions.known(other)) == (False, True)


def test_of_very_many_the_oldest_end() -> None:
    sessions = Sessions(clock=Clock())
    names = [sessions.begin() for _ in range(100)]
    assert [sessions.known(name) for name in names] == [False] * 36 + [True] * 64
