"""When a class counts as seen for some time: pictures ten a second, so 9000 of TIME_BASE apart."""

from __future__ import annotations

import pytest

from edge.sinks.record.trigger import Trigger, check_classes
from engines.errors import SettingsError

TENTH = 9000


def _told(
    seen: str, *, seen_s: float = 0.3, step: int = TENTH, classes: tuple[str, ...] = ("car",)
) -> list[int]:
    """At which pictures it tells: ``+`` has a car at 0.5, ``-`` at 0.49, ``.`` nothing."""
    trigger = Trigger(classes, score=0.5, seen_s=seen_s)
    told = []
    for number, sign in enumerate(seen):
        boxes = {"+": [("car", 0.5)], "-": [("car", 0.49)], "s": [("sign", 0.9)], ".": []}[sign]
        record = {"detections": [{"class": name, "score": score} for name, score in boxes]}
        if trigger.look(1000 + number * step, record) is not None:
            told.append(number)
    return told


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        ("", []),
        ("+", []),
        ("+++", []),
        ("++++", [3]),  # from the first to the fourth are 0.3 s
        ("..++++++", [5]),
        ("++++++++", [3]),  # once as long as it is seen
        ("+..+", [3]),  # two pictures without it are no end
        ("+...+", []),  # three are
        ("+...++++", [7]),
        ("+..+..+", [3]),
        ("++++..++++", [3]),  # the same sighting
        ("++++...++++", [3, 10]),
        ("----", []),
        ("+--+", [3]),
        ("ssss", []),
        ("+...", []),  # it is told where it is seen
    ],
)
def test_a_class_is_told_once_it_was_seen_for_the_time(seen: str, told: list[int]) -> None:
    assert _told(seen) == told


def test_no_time_at_all_is_the_first_picture_of_each_sighting() -> None:
    assert _told("..++...+", seen_s=0) == [2, 7]


def test_a_pause_of_more_than_two_seconds_is_another_sighting() -> None:
    assert _told("+++", seen_s=2, step=20 * TENTH) == [1]  # 2 s apart: one sighting
    assert _told("+++", seen_s=2, step=20 * TENTH + 1) == []


def test_every_class_counts_for_itself_and_others_do_not() -> None:
    trigger = Trigger(("car", "sign"), score=0.5, seen_s=0.1)

    def look(number: int, *names: str) -> str | None:
        boxes = [{"class": name, "score": 0.9} for name in names]
        return trigger.look(number * TENTH, {"detections": boxes})

    assert look(0, "car") is None
    assert look(1, "sign", "dog") is None
    assert look(2, "car", "sign", "dog") == "car"  # both; the first one asked for
    assert look(3, "sign") is None
    assert trigger.look(4 * TENTH, None) is None  # a view of no signal


def test_where_no_class_is_asked_for_nothing_is_told() -> None:
    assert _told("++++++", classes=()) == []


def test_a_class_that_is_never_seen_is_no_event() -> None:
    known = ("car", "sign")
    check_classes((), known, None)
    check_classes(("sign",), known, None)
    check_classes(("sign",), known, ("sign", "car"))
    with pytest.raises(SettingsError, match="event_classes: class 'cat' is not one of"):
        check_classes(("sign", "cat"), known, None)
    with pytest.raises(SettingsError, match=r"'sign' is none of \[detect\] classes"):
        check_classes(("sign",), known, ("car",))
