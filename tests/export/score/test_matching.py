"""Which box is taken for what, on cases that are counted by hand."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pytest

from export.score.matching import (
    MISSED,
    NOT_COUNTED,
    BoxConfusion,
    Matching,
    SingleFrames,
    match_boxes,
)

Box = tuple[float, float, float, float]
CAR, WALKER, SIGN = 0, 1, 2
HERE, THERE, FAR = (0.0, 0.0, 10.0, 10.0), (50.0, 0.0, 60.0, 10.0), (80.0, 80.0, 90.0, 90.0)


def match(
    truth: Sequence[tuple[Box, int]],
    found: Sequence[tuple[Box, int]],
    crowd: Sequence[bool] | None = None,
) -> Matching:
    return match_boxes(
        np.array([b for b, _ in truth], np.float32).reshape(-1, 4),
        np.array([c for _, c in truth], np.int64),
        np.array(crowd if crowd is not None else [False] * len(truth), np.bool_),
        np.array([b for b, _ in found], np.float32).reshape(-1, 4),
        np.array([c for _, c in found], np.int64),
    )


def test_the_matrix_is_that_counted_by_hand() -> None:
    truth = [(HERE, CAR), (THERE, WALKER), (FAR, SIGN)]
    # A car on the car, a car on the walker, nothing on the sign, a sign where nothing is.
    found = [(HERE, CAR), (THERE, CAR), ((30.0, 30.0, 40.0, 40.0), SIGN)]
    confusion = BoxConfusion(("car", "walker", "sign"))
    matching = match(truth, found)
    confusion.add(np.array([0, 1, 2]), np.array([0, 0, 2]), matching)
    assert confusion.matrix.tolist() == [
        [1, 0, 0, 0],
        [1, 0, 0, 0],
        [0, 0, 0, 1],
        [0, 0, 1, 0],
    ]
    assert confusion.recall() == {"car": 1.0, "walker": 0.0, "sign": 0.0}
    assert confusion.precision() == {"car": 0.5, "walker": None, "sign": 0.0}
    assert confusion.false().tolist() == [1, 0, 1]
    assert confusion.recall(np.array([0, 0, 1])) == {"car": 0.0, "walker": 0.0, "sign": 1.0}


def test_a_box_of_one_frame_alone_has_no_neighbour_of_its_class_before_or_after() -> None:
    moved = (5.0, 0.0, 15.0, 10.0)  # IoU with HERE 50 / 150 = 0.33
    gone = (6.0, 0.0, 16.0, 10.0)  # 40 / 160 = 0.25
    for second, third, single in (
        ([(HERE, CAR)], [], [0, 0]),  # there in the frame before
        ([(THERE, CAR)], [], [1, 0]),
        ([(THERE, CAR)], [(THERE, CAR)], [0, 0]),
        ([(THERE, CAR)], [(THERE, WALKER)], [1, 0]),
        ([(moved, CAR)], [], [0, 0]),
        ([(gone, CAR), (FAR, WALKER)], [], [1, 1]),
    ):
        counted = SingleFrames(2)
        for boxes in ([(HERE, CAR)], second, third):
            counted.add(
                np.array([b for b, _ in boxes], np.float32).reshape(-1, 4),
                np.array([c for _, c in boxes], np.int64),
            )
        # the first frame's car, gone in the second, has one neighbour: it is not judged
        assert counted.counts.tolist() == single


def test_the_own_class_comes_before_a_better_overlap_of_another() -> None:
    # IoU with the car: 1 for the walker found there, 80 / 120 for the car found beside it.
    matching = match([(HERE, CAR)], [(HERE, WALKER), ((2.0, 0.0, 12.0, 10.0), CAR)])
    assert matching.of_truth.tolist() == [1]
    assert matching.of_found.tolist() == [MISSED, 0]


def test_a_second_box_on_the_same_truth_is_a_false_alarm() -> None:
    matching = match([(HERE, CAR)], [(HERE, CAR), (HERE, CAR)])
    assert matching.of_found.tolist() == [0, MISSED]


@pytest.mark.parametrize(("right", "paired"), [(20.0, True), (20.2, False)])
def test_half_an_overlap_counts_and_less_does_not(right: float, paired: bool) -> None:
    # 10 of 20 is 0.5, 10 of 20.2 is less.
    matching = match([(HERE, CAR)], [((0.0, 0.0, right, 10.0), CAR)])
    assert (matching.of_truth.tolist() == [0]) == paired


def test_what_lies_in_a_crowd_of_its_class_is_not_counted_and_the_crowd_is_not_missed() -> None:
    crowd = ((0.0, 0.0, 100.0, 100.0), WALKER)
    found = [(HERE, WALKER), (THERE, WALKER), (FAR, CAR)]
    matching = match([crowd, (HERE, WALKER)], found, [True, False])
    assert matching.of_truth.tolist() == [NOT_COUNTED, 0]
    assert matching.of_found.tolist() == [1, NOT_COUNTED, MISSED]
    confusion = BoxConfusion(("car", "walker"))
    confusion.add(np.array([1, 1]), np.array([1, 1, 0]), matching)
    assert confusion.matrix.tolist() == [[0, 0, 0], [0, 1, 0], [1, 0, 0]]


def test_a_crowd_may_be_all_that_is_there() -> None:
    matching = match([((0.0, 0.0, 100.0, 100.0), WALKER)], [(HERE, WALKER), (FAR, CAR)], [True])
    assert matching.of_truth.tolist() == [NOT_COUNTED]
    assert matching.of_found.tolist() == [NOT_COUNTED, MISSED]


def test_a_box_on_another_class_in_a_crowd_of_its_own_is_shown_but_no_false_alarm() -> None:
    # A rider, who is an ignored walker too, as CamVid's protocol has it.
    rider = [(HERE, SIGN), (HERE, WALKER)]
    matching = match(rider, [(HERE, WALKER), (FAR, WALKER)], [False, True])
    assert matching.of_truth.tolist() == [0, NOT_COUNTED]
    assert matching.of_found.tolist() == [0, MISSED]
    assert matching.excused.tolist() == [True, False]
    confusion = BoxConfusion(("car", "walker", "sign"))
    confusion.add(np.array([SIGN, WALKER]), np.array([WALKER, WALKER]), matching)
    assert confusion.matrix[SIGN].tolist() == [0, 1, 0, 0]
    assert confusion.recall() == {"car": None, "walker": None, "sign": 0.0}
    assert confusion.precision() == {"car": None, "walker": 0.0, "sign": None}
    confusion.add(np.array([WALKER]), np.array([WALKER]), match([(HERE, WALKER)], [(HERE, WALKER)]))
    assert confusion.precision()["walker"] == 0.5  # one right, one where nothing is


def test_nothing_true_or_nothing_found_is_no_error() -> None:
    assert match([], [(HERE, CAR)]).of_found.tolist() == [MISSED]
    assert match([(HERE, CAR)], []).of_truth.tolist() == [MISSED]
    assert match([], []).of_found.tolist() == []


def test_thousands_of_boxes_in_a_picture_are_matched_at_once() -> None:
    corners = np.arange(50_000, dtype=np.float32)
    truth = np.stack([corners * 10, corners * 0, corners * 10 + 8, corners * 0 + 8], axis=1)
    ids, crowd = np.zeros(50_000, np.int64), np.zeros(50_000, np.bool_)
    began_s = time.process_time()
    matching = match_boxes(truth, ids, crowd, truth[:40], ids[:40] + 1)
    assert matching.of_found.tolist() == list(range(40))
    assert (matching.of_truth[:40] == np.arange(40)).all()
    assert (matching.of_truth[40:] == MISSED).all()
    assert time.process_time() - began_s < 5
