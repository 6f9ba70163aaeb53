"""What systemd hears of a run: READY after a picture, WATCHDOG after progress of every stage."""

from __future__ import annotations

import pytest

from edge.run.heartbeat import EXTENDED_AT_MOST_S, Heartbeat, Progress
from edge.service.notify import Notifier

SECOND = 1_000_000_000


class Heard(Notifier):
    """Keeps the lines that would go to systemd."""

    def __init__(self, *, watchdog_s: float | None) -> None:
        super().__init__("@never-used", watchdog_s=watchdog_s)
        self.lines: list[str] = []

    def send(self, *lines: str) -> None:
        self.lines += [line for line in lines if not line.startswith("STATUS=")]


def beats(heard: Heard, *moments: tuple[float, Progress]) -> list[list[str]]:
    """What is heard at each moment, in seconds since the start."""
    heartbeat = Heartbeat(heard, began_ns=0)
    said = []
    for at_s, progress in moments:
        heard.lines.clear()
        heartbeat.beat(round(at_s * SECOND), progress)
        said.append(list(heard.lines))
    return said


def test_ready_is_said_once_and_only_after_a_picture() -> None:
    said = beats(
        Heard(watchdog_s=None),
        (1, Progress(source=1, rendered=0, shown=0, in_flight=1)),
        (2, Progress(source=2, rendered=1, shown=1, in_flight=0)),
        (3, Progress(source=3, rendered=2, shown=2, in_flight=0)),
    )
    assert said == [[], ["READY=1"], []]


def test_the_watchdog_is_fed_a_quarter_of_its_time_after_the_last_feeding_at_the_earliest() -> None:
    # 4 s allowed, so a second lies between: less than half of what systemd allows.
    said = beats(
        Heard(watchdog_s=4.0),
        (1.0, Progress(1, 1, 1, 0)),
        (1.9, Progress(2, 2, 2, 0)),
        (2.0, Progress(3, 3, 3, 0)),
    )
    assert said == [["READY=1", "WATCHDOG=1"], [], ["WATCHDOG=1"]]


BEFORE = Progress(source=10, rendered=8, shown=8, in_flight=0)


@pytest.mark.parametrize(
    ("why", "progress", "feeds"),
    [
        ("all went on", Progress(11, 9, 9, 1), True),
        ("the source stands", Progress(10, 9, 9, 0), False),
        ("the sink stands", Progress(11, 8, 8, 0), False),
        ("the engine keeps a frame, the camera overwrites others", Progress(99, 8, 9, 1), False),
        ("an attempt failed, no signal was shown, nothing waits", Progress(11, 8, 9, 0), True),
        ("no signal is shown, but no attempt has ended", Progress(10, 8, 99, 0), False),
    ],
)
def test_the_watchdog_is_fed_only_where_every_stage_went_on(
    why: str, progress: Progress, feeds: bool
) -> None:
    said = beats(Heard(watchdog_s=4.0), (1, BEFORE), (60, progress))
    assert said[1] == (["WATCHDOG=1"] if feeds else []), why


def test_progress_counts_from_the_last_feeding_and_not_from_the_last_look() -> None:
    said = beats(
        Heard(watchdog_s=4.0),
        (1, BEFORE),
        (3, Progress(11, 8, 8, 1)),  # the source went on
        (5, Progress(11, 9, 9, 0)),  # then the others
    )
    assert said[1:] == [[], ["WATCHDOG=1"]]


def test_a_model_that_loads_gets_more_time_up_to_a_bound() -> None:
    heard = Heard(watchdog_s=4.0)
    heartbeat = Heartbeat(heard, began_ns=0)
    for second in range(3 * round(EXTENDED_AT_MOST_S)):
        heartbeat.loading(second * SECOND)
    # 30 s more every 10 s, the last time at 1770 s: no start ends after 1800 s of loading.
    assert heard.lines == ["EXTEND_TIMEOUT_USEC=30000000"] * 177
