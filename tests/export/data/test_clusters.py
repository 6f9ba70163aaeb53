"""Clusters: rectangles of a label and boxes of a teacher, by hand."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from export.data.clusters import (
    CAR_ON_LABEL,
    PERSON_ON_LABEL,
    Region,
    looks_like_one,
    objects_in,
)

Box = tuple[float, ...]


def mask(*boxes: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    inside = np.zeros((100, 100), np.bool_)
    for x0, y0, x1, y1 in boxes:
        inside[y0:y1, x0:x1] = True
    return inside


def found(
    inside: NDArray[np.bool_],
    *seen: Box,
    unlabelled: NDArray[np.bool_] | None = None,
    is_one: Callable[[Region], bool] = looks_like_one,
    on_label: float = CAR_ON_LABEL,
) -> tuple[list[list[float]], list[list[float]]]:
    """The objects, and the crowds."""
    boxes, crowd = objects_in(
        inside,
        np.array(seen, np.float32).reshape(-1, 5),
        unlabelled=unlabelled,
        is_one=is_one,
        on_label=on_label,
    )
    return boxes[~crowd].tolist(), boxes[crowd].tolist()


def test_without_a_teacher_a_region_is_one_object_by_its_outline_or_a_crowd() -> None:
    assert found(mask()) == ([], [])
    assert found(mask((10, 10, 60, 30))) == ([[10, 10, 60, 30]], [])  # 2.5 times as wide as high
    assert found(mask((10, 10, 62, 30))) == ([], [[10, 10, 62, 30]])
    assert found(mask((10, 10, 40, 30)), is_one=partial(looks_like_one, stretch=2)) == (
        [],
        [[10, 10, 40, 30]],
    )  # 60 px to 20
    # two cars, one higher: 600 + 200 px in a hull of 600 + 400 - 100
    assert found(mask((0, 0, 20, 30), (20, 20, 40, 30))) == ([], [[0, 0, 40, 30]])
    assert found(mask((0, 0, 10, 10), (20, 0, 30, 10))) == ([[0, 0, 10, 10], [20, 0, 30, 10]], [])


def test_a_teacher_parts_a_cluster_and_the_rest_is_a_crowd() -> None:
    row = mask((0, 0, 90, 20))
    left, right = (0, 0, 30, 20, 0.5), (28, 0, 60, 20, 0.6)
    assert found(row, left, right) == ([[28, 0, 60, 20], [0, 0, 30, 20]], [[60, 0, 90, 20]])
    # a rest of 11 px is an outline
    assert found(mask((0, 0, 60, 20), (60, 0, 71, 1)), left, right)[1] == []
    assert found(mask((0, 0, 60, 20), (60, 0, 72, 1)), left, right)[1] == [[60, 0, 72, 1]]


def test_regions_too_small_for_an_object_are_crowds_and_specks_nothing() -> None:
    assert found(mask((0, 0, 5, 4))) == ([[0, 0, 5, 4]], [])
    assert found(mask((0, 0, 4, 4))) == ([], [[0, 0, 4, 4]])
    assert found(mask((0, 0, 3, 3))) == ([], [])


def test_a_box_counts_if_it_lies_on_the_label_and_ends_where_the_label_does() -> None:
    row = mask((0, 0, 90, 20))
    # of 28 rows 20 are the label's: 0.714; of 29: 0.690
    assert found(row, (0, 0, 30, 28, 0.5)) == ([[0, 0, 30, 20]], [[30, 0, 90, 20]])
    assert found(row, (0, 0, 30, 29, 0.5)) == ([], [[0, 0, 90, 20]])
    # a step of 18 x 10 px is missing
    steps = mask((0, 0, 12, 20), (12, 10, 30, 20), (30, 0, 90, 20))
    assert found(steps, (0, 0, 30, 20, 0.5))[0] == [[0, 0, 30, 20]]  # 420 of 600
    steps[0, 0] = False
    assert found(steps, (0, 0, 30, 20, 0.5))[0] == []
    assert found(row, (-4, -3, 30, 20, 0.5))[0] == [[0, 0, 30, 20]]
    assert found(row, (0, 50, 30, 70, 0.5), (5, 5, 5, 9, 0.9), (200, 0, 220, 9, 0.9))[0] == []


def test_unlabelled_pixels_count_neither_way_but_may_not_be_most() -> None:
    box = (0, 0, 30, 30, 0.5)
    rails = mask((0, 0, 90, 10), (0, 20, 90, 30))
    assert found(rails, box)[0] == []  # 20 of 30 rows: 0.667
    assert found(rails, box, unlabelled=mask((0, 10, 90, 20)))[0] == [[0, 0, 30, 30]]
    rails = mask((0, 0, 90, 7), (0, 23, 90, 30))  # 16 of 30 rows are between
    assert found(rails, box, unlabelled=mask((0, 7, 90, 23)))[0] == []


def test_of_boxes_within_each_other_the_better_stays() -> None:
    row = mask((0, 0, 90, 20))
    whole = (0, 0, 30, 20, 0.5)
    # 10 of 14 columns lie in the first: 0.714. 9 of 14: 0.643.
    assert found(row, (20, 0, 34, 20, 0.4), whole)[0] == [[0, 0, 30, 20]]
    assert found(row, whole, (21, 0, 35, 20, 0.4))[0] == [[0, 0, 30, 20], [21, 0, 35, 20]]


def test_two_boxes_overrule_the_outline_of_one_and_one_box_that_of_several() -> None:
    two = mask((0, 0, 40, 20))
    halves = (0, 0, 20, 20, 0.5), (20, 0, 40, 20, 0.5)
    assert found(two, *halves) == ([[0, 0, 20, 20], [20, 0, 40, 20]], [])
    assert found(two, halves[0]) == ([[0, 0, 40, 20]], [])
    lorry = mask((0, 0, 60, 20))
    assert found(lorry, (4, 0, 55, 20, 0.5)) == ([[0, 0, 60, 20]], [])  # 51 of 60: 0.85
    assert found(lorry, (4, 0, 54, 20, 0.5)) == ([[4, 0, 54, 20]], [[0, 0, 4, 20], [54, 0, 60, 20]])


def test_pieces_in_one_box_are_one_object() -> None:
    behind_a_pole = mask((0, 0, 30, 20), (32, 0, 40, 20))
    assert found(behind_a_pole)[0] == [[0, 0, 30, 20], [32, 0, 40, 20]]
    assert found(behind_a_pole, (0, 0, 40, 20, 0.5)) == (
        [[0, 0, 40, 20]],
        [],
    )  # 38 of 40 columns: 0.95
    # 5 of the 8 columns of the second: 0.625. The box is the first's, which is whole without it.
    assert found(behind_a_pole, (0, 0, 37, 20, 0.5))[0] == [[0, 0, 30, 20], [32, 0, 40, 20]]


def test_a_crowd_that_is_known_for_one_is_parted_by_the_teacher_alone() -> None:
    person = mask((10, 10, 20, 30))
    assert found(person, is_one=lambda _: False) == ([], [[10, 10, 20, 30]])
    half = (5, 10, 15, 30, 0.5)  # cut to the label 5 of its 10 columns are left: less than 0.7
    assert found(person, half, is_one=lambda _: False) == ([], [[10, 10, 20, 30]])
    half = (10, 10, 15, 30, 0.5)
    assert found(person, half, is_one=lambda _: False) == ([[10, 10, 15, 30]], [[15, 10, 20, 30]])


def test_a_person_fills_less_of_its_box_than_a_car() -> None:
    legs = mask((0, 0, 10, 4), (0, 4, 2, 20), (8, 4, 10, 20))  # 40 + 2 x 32 of 200 px: 0.52
    box = (0, 0, 10, 20, 0.5)
    assert found(legs, box)[0] == []
    assert found(legs, box, on_label=PERSON_ON_LABEL)[0] == [[0, 0, 10, 20]]
