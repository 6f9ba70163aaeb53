"""A soak in which anything went wrong is failed, and by the condition that says what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import pytest

from tests.field.watched import Seen, State, Watched
from tests.soak.judge import judged
from tests.soak.soak import Diary, Life, Sample

S = 1_000_000_000
COUNTS = {
    "captured": 3,
    "rendered": 2,
    "dropped_overwritten": 1,
    "dropped_stale": 0,
    "failed": 0,
    "discarded_at_stop": 0,
    "in_flight": 0,
}


@dataclass
class Told:
    """What is left of a watched run when it is over."""

    frames: list[Seen] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    text: str = "source reconnecting: unplugged"

    def log(self) -> str:
        return self.text


def good() -> tuple[Diary, Life, Told]:
    """A life of 100 s with an outage, fed every 10 s; holding 9 threads, 8 descriptors, 150 MB."""
    frames = [Seen(n, n * S, n * S + 1, n * S + 50, 20.0, (256, 128)) for n in (1, 2)]
    told = Told(frames, [State("reconnecting", "unplugged", S, S)])
    samples = [Sample(float(t), 9, 8, 150.0) for t in range(100)]
    counts = dict(COUNTS)
    life = Life(cast(Watched, told), 0, samples, 0, {"frames": counts}, ended_ns=100 * S)
    return Diary([life], watchdog_ns=[10 * n * S for n in range(1, 10)]), life, told


def failed(diary: Diary) -> list[str]:
    return [condition.name for condition in judged(diary) if condition.wrong]


def test_a_soak_in_which_all_was_well_passes() -> None:
    assert failed(good()[0]) == []


def lose_a_frame(diary: Diary, life: Life, told: Told) -> None:
    assert life.metrics is not None
    life.metrics["frames"]["captured"] = 4


def end_with_3(diary: Diary, life: Life, told: Told) -> None:
    life.exit_code = 3


def say_nothing_in_the_log(diary: Diary, life: Life, told: Told) -> None:
    told.text = ""


def tell_the_password(diary: Diary, life: Life, told: Told) -> None:
    told.text += " rtsp://me:s3cret@camera"


def give_no_reason(diary: Diary, life: Life, told: Told) -> None:
    told.states.append(State("stalled", "", S, S))


def show_a_frame_twice(diary: Diary, life: Life, told: Told) -> None:
    told.frames.append(Seen(3, 2 * S, 3 * S, 3 * S + 50, 20.0, (256, 128)))


def starve_the_watchdog(diary: Diary, life: Life, told: Told) -> None:
    del diary.watchdog_ns[3:6]  # 30 s to 70 s


def keep_threads(diary: Diary, life: Life, told: Told) -> None:
    for sample in life.samples[60:]:
        sample.threads += 2


def keep_descriptors(diary: Diary, life: Life, told: Told) -> None:
    for sample in life.samples[60:]:
        sample.descriptors += 4


def keep_memory(diary: Diary, life: Life, told: Told) -> None:
    for sample in life.samples:
        sample.rss_mb += 0.3 * sample.at_s  # 19 MB from the first quarter to the last


def keep_a_little_for_long(diary: Diary, life: Life, told: Told) -> None:
    """8 MB/h over 33 minutes are 4.4 MB: less than a short life may grow."""
    life.samples[:] = [Sample(20.0 * n, 9, 8, 150 + 20 * n * 8 / 3600) for n in range(100)]


FAULTS: dict[Callable[[Diary, Life, Told], None], str] = {
    lose_a_frame: "ledger",
    end_with_3: "ends",
    say_nothing_in_the_log: "outages",
    tell_the_password: "outages",
    give_no_reason: "outages",
    show_a_frame_twice: "none shown twice, none too old",
    starve_the_watchdog: "watchdog",
    keep_threads: "threads",
    keep_descriptors: "descriptors",
    keep_memory: "memory (RSS)",
    keep_a_little_for_long: "memory (RSS)",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_fails_its_condition_alone(fault: Callable[[Diary, Life, Told], None]) -> None:
    diary, life, told = good()
    fault(diary, life, told)
    assert failed(diary) == [FAULTS[fault]]
