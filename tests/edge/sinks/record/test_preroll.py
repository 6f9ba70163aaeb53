"""What is held of the pictures that came last: a key frame each second, 25 pictures a group."""

from __future__ import annotations

from edge.sinks.record.film import Coded
from edge.sinks.record.preroll import Line, PreRoll
from tests.edge.sinks.record.coded import coded

SECOND = 90_000


def _held(count: int, *, most_bytes: int = 10**9) -> PreRoll:
    before = PreRoll(most_bytes)
    for picture in coded(count):
        before.add(picture)
    return before


def _numbers(before: PreRoll) -> list[int]:
    return [number for number, _ in before.since(0)]


def test_it_begins_with_the_last_key_frame_at_or_before_a_time() -> None:
    before = _held(100)
    times = (-1, 0, SECOND - 1, SECOND, SECOND + 1, 3 * SECOND, 10 * SECOND)
    assert [before.begin(pts) for pts in times] == [0, 0, 0, 25, 25, 75, 75]
    assert [before.key_of(number) for number in (0, 24, 25, 99, 100)] == [0, 0, 25, 75, 75]
    assert (before.newest, before.end) == (99 * SECOND // 25, 100)


def test_nothing_is_held_before_the_first_key_frame() -> None:
    before = PreRoll(1)
    before.note({"event": "source"})
    for picture in list(coded(3))[1:]:
        before.add(picture)
    assert (_numbers(before), before.end, before.begin(0), before.key_of(0)) == ([], 0, 0, 0)
    assert not before.trim(0, 0)


def test_whole_groups_go_that_neither_a_time_nor_a_number_needs() -> None:
    before = _held(100)
    whole = before.bytes
    assert not before.trim(SECOND - 1, 100)
    assert _numbers(before)[0] == 0
    assert not before.trim(3 * SECOND, 24)
    assert _numbers(before)[0] == 0
    assert not before.trim(SECOND, 25)
    assert _numbers(before) == [*range(25, 100)]
    assert before.bytes < whole
    assert before.begin(0) == before.key_of(0) == 25  # the oldest
    assert not before.trim(10 * SECOND, 100)
    assert _numbers(before) == [*range(75, 100)]  # the newest stays


def test_the_oldest_go_where_there_is_no_room_and_only_what_is_missed_is_told() -> None:
    pictures = list(coded(100))
    group = sum(picture.bytes for picture in pictures[:25])
    before = _held(100, most_bytes=2 * group + group // 2)
    assert not before.trim(2 * SECOND, 0)  # no room for what only the number needs
    assert _numbers(before) == [*range(50, 100)]
    before = _held(100, most_bytes=2 * group + group // 2)
    assert before.trim(2 * SECOND - 1, 100)
    assert _numbers(before) == [*range(50, 100)]


def test_lines_stand_between_the_pictures() -> None:
    before, pictures = PreRoll(10**9), coded(3)
    before.add(next(pictures))
    before.note({"event": "source"})
    before.add(next(pictures))
    items = [item for _, item in before.since(1)]
    assert items[0] == Line(0, {"event": "source"})
    assert isinstance(items[1], Coded)
    assert before.end == 3
