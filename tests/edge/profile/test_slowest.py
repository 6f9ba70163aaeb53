"""What a slow frame waited for, by the frames before it."""

from __future__ import annotations

import pytest

from edge.profile.slowest import MOST, Slow, Slowest, in_words, parts_of
from tests.edge.profile.frames import told
from tests.edge.profile.rows import row

RESULT, _ = told(0, begin_ns=0)


def words_of(*frames: dict[str, float]) -> str:
    """What is said of the last of some frames, numbered from 118; ``at`` is when it was done."""
    rows = [row(118 + i, at_ms=ms.pop("at"), **ms) for i, ms in enumerate(frames)]
    slow = Slow(rows[-1].took, rows[-1].id, rows[-1], tuple(rows[:-1]), RESULT)
    return in_words(parts_of(slow), {})


@pytest.mark.parametrize(
    ("before", "slow", "said"),
    [
        # 118 is answered at 60 and done at 62. 119 is submitted at 38, and the engine takes it up
        # at 60, so it waits 22 ms.
        (
            {"at": 62, "infer": 40, "engine": 40, "sinks": 2},
            {"at": 69, "letterbox": 1, "infer": 30, "engine": 8, "sinks": 1},
            "32.0 ms: 22.0 ms waiting for the engine, which still worked on frame 118; "
            "8.0 ms in the engine",
        ),
        # 118 is decoded at 60. 119 was read at 40 and is taken at 60.
        (
            {"at": 62, "infer": 35, "engine": 35, "decode": 3, "sinks": 2},
            {"at": 70, "inbox": 20, "infer": 9, "engine": 9, "sinks": 1},
            "30.0 ms: 20.0 ms waiting to be taken, 20.0 of it for inference, which still had frame "
            "118; 9.0 ms in the engine",
        ),
        # 118 is decoded at 10 and done at 60: 119, read at 40, is taken then.
        (
            {"at": 60, "infer": 5, "engine": 5, "sinks": 50},
            {"at": 70, "inbox": 20, "infer": 9, "engine": 9, "sinks": 1},
            "30.0 ms: 20.0 ms waiting to be taken, 20.0 of it for overlay and sinks, which still "
            "had frame 118; 9.0 ms in the engine",
        ),
        # 119 is decoded at 45, 118 done at 60.
        (
            {"at": 60, "infer": 5, "engine": 5, "sinks": 50},
            {"at": 62, "infer": 9, "engine": 9, "outbox": 15, "overlay": 1, "sinks": 1},
            "26.0 ms: 15.0 ms waiting for the main thread, 15.0 of it for overlay and sinks, which "
            "still had frame 118; 9.0 ms in the engine",
        ),
        (
            {"at": 10, "infer": 5, "engine": 5},
            {"at": 70, "capture": 40, "letterbox": 3, "decode": 4, "overlay": 6, "sinks": 7},
            "60.0 ms: 40.0 ms waiting for the source; 7.0 ms in the sinks; 6.0 ms in drawing; "
            "4.0 ms in decoding; 3.0 ms in the letterbox",
        ),
        # Nobody was busy: read at 30, taken at 50.
        (
            {"at": 10, "infer": 5, "engine": 5},
            {"at": 60, "inbox": 20, "infer": 10, "engine": 10},
            "30.0 ms: 20.0 ms waiting to be taken; 10.0 ms in the engine",
        ),
    ],
)  # fmt: skip
def test_each_wait_names_the_frame_that_was_in_the_way(
    before: dict[str, float], slow: dict[str, float], said: str
) -> None:
    assert words_of(dict(before), dict(slow)) == said


def test_a_wait_is_shared_out_among_those_that_were_busy_and_no_others() -> None:
    # 118 is decoded at 30, and 119 at 58; done at 59, its sinks take 1 ms. 120, read at 20, is
    # taken at 60: the file's reader held it for two frames.
    frames: list[dict[str, float]] = [
        {"at": 35, "infer": 20, "engine": 20, "outbox": 5},
        {"at": 59, "infer": 28, "engine": 28, "sinks": 1},
        {"at": 69, "inbox": 40, "infer": 9, "engine": 9},
    ]
    assert words_of(*frames) == (
        "49.0 ms: 40.0 ms waiting to be taken, 38.0 of it for inference, which still had frames "
        "118 and 119, 1.0 of it for overlay and sinks, which still had frame 119; "
        "9.0 ms in the engine"
    )
    # Two at once: 118 is decoded at 55, 120, read at 40, is taken at 60, while 119 runs until 80.
    two: list[dict[str, float]] = [
        {"at": 55, "infer": 30, "engine": 30},
        {"at": 80, "infer": 50, "engine": 25},
        {"at": 90, "inbox": 20, "infer": 30, "engine": 10},
    ]
    assert words_of(*two) == (
        "50.0 ms: 20.0 ms waiting to be taken, 15.0 of it for inference, which still had frame "
        "118; 20.0 ms waiting for the engine, which still worked on frame 119; "
        "10.0 ms in the engine"
    )
    # 118 is decoded at 30 and lies in the outbox until 60, as nobody wakes the main thread.
    asleep: dict[str, float] = {"at": 60, "infer": 20, "engine": 20, "outbox": 30}
    assert words_of(asleep, {"at": 70, "inbox": 40, "infer": 9, "engine": 9, "sinks": 1}) == (
        "50.0 ms: 40.0 ms waiting to be taken, 10.0 of it for inference, which still had frame "
        "118; 9.0 ms in the engine"
    )


def test_a_first_frame_waited_for_nobody() -> None:
    assert words_of({"at": 50, "infer": 30, "engine": 10, "inbox": 5}) == (
        "35.0 ms: 20.0 ms waiting for the engine; 10.0 ms in the engine; 5.0 ms waiting to be taken"
    )


def test_what_is_usual_is_said_beside() -> None:
    slow = Slow(0, 1, row(1, 50, infer=30, engine=30), (), RESULT)
    assert in_words(parts_of(slow), {"took": 12.1e6, "engine": 7.44e6}) == (
        "30.0 ms, usually 12.1: 30.0 ms in the engine (usually 7.4)"
    )


def test_only_the_slowest_are_kept() -> None:
    slowest = Slowest()
    for number in range(1000):
        slowest.look(row(number, number, sinks=number * 7919 % 1000), RESULT)
    kept = [slow.took_ns for slow in slowest.frames()]
    assert kept == [number * 1_000_000 for number in range(999, 999 - MOST, -1)]
    assert [len(slow.before) for slow in slowest.frames()] == [4] * MOST
