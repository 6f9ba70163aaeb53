"""What counts as wrong with frames that a run showed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.field.watched import Seen, faults_of

MS = 1_000_000
# Taken at 1.00 s, told as of 1.01 s, drawn 20 ms and seen 50 ms after.
FIRST = Seen(7, taken_ns=1000 * MS, told_ns=1010 * MS, seen_ns=1050 * MS, age_ms=20, wh=(8, 4))
NEXT = Seen(8, taken_ns=1040 * MS, told_ns=1050 * MS, seen_ns=1090 * MS, age_ms=20, wh=(8, 4))


def test_frames_that_are_new_and_in_order_have_no_fault() -> None:
    damaged = replace(NEXT, taken_ns=None)
    for frames in ([], [FIRST], [FIRST, NEXT], [FIRST, damaged]):
        assert faults_of(frames, told_ms=100, true_ms=100, late_ms=30) == []


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (replace(NEXT, id=7), "frame 7 came after 7"),
        (replace(NEXT, told_ns=1010 * MS), "captured before"),
        (
            replace(NEXT, taken_ns=1000 * MS, told_ns=1020 * MS),
            "shows what was shown before, 0 ms older",
        ),
        (
            replace(NEXT, taken_ns=985 * MS, told_ns=1011 * MS, seen_ns=1055 * MS),
            "shows what was shown before, 15 ms older",
        ),
        (replace(NEXT, age_ms=-1), "is -1 ms old, it says"),
        (replace(NEXT, age_ms=101), "is 101 ms old, it says"),
        (replace(NEXT, seen_ns=1141 * MS), "is 101 ms old and says 20"),
        (replace(NEXT, taken_ns=1091 * MS), "is -1 ms old and says 20"),
        (replace(NEXT, told_ns=1071 * MS), "says it was captured 31 ms after it was"),
        (replace(NEXT, taken_ns=1070 * MS, told_ns=1019 * MS), "captured -51 ms after it was"),
    ],
)
def test_a_frame_that_is_old_or_out_of_order_is_named(second: Seen, words: str) -> None:
    (fault,) = faults_of([FIRST, second], told_ms=100, true_ms=100, late_ms=30)
    assert words in fault


@pytest.mark.parametrize("off_ms", [4000, -61_000])
def test_a_picture_that_says_what_cannot_be_is_a_damaged_one(off_ms: int) -> None:
    assert NEXT.taken_ns is not None
    impossible = replace(NEXT, taken_ns=NEXT.taken_ns + off_ms * MS)
    third = replace(NEXT, id=9, taken_ns=1060 * MS, told_ns=1070 * MS, seen_ns=1095 * MS)
    assert faults_of([FIRST, impossible, third], told_ms=100, true_ms=100, late_ms=30) == []


def test_a_picture_is_compared_with_the_newest_shown_and_not_with_the_last() -> None:
    damaged = replace(NEXT, taken_ns=None)
    third = replace(FIRST, id=9, told_ns=1051 * MS)
    (fault,) = faults_of([FIRST, damaged, third], told_ms=100, true_ms=100, late_ms=60)
    assert fault == "frame 9 shows what was shown before, 0 ms older"


def test_a_picture_from_after_its_capture_time_is_a_misread_one_and_so_many_may_be() -> None:
    # Read as 61 ms after what it says; the frame after it is whole, and no older than the first.
    misread = replace(NEXT, taken_ns=1080 * MS, told_ns=1019 * MS)
    third = replace(NEXT, id=9, taken_ns=1060 * MS, told_ns=1070 * MS, seen_ns=1095 * MS)
    frames = [FIRST, misread, third]
    (fault,) = faults_of(frames, told_ms=100, true_ms=100, late_ms=30)
    assert "captured -61 ms after it was" in fault
    assert faults_of(frames, told_ms=100, true_ms=100, late_ms=30, misread=1) == []
