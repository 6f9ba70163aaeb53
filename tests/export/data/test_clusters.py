"""Clusters: rectangles of a label and boxes of a teacher, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from export.data.clusters import objects_in

Box = tuple[float, ...]


def mask(*boxes: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    inside = np.zeros((100, 100), np.bool_)
    for x0, y0, x1, y1 in boxes:
        inside[y0:y1, x0:x1] = True
    return inside


def found(
    inside: NDArray[np.bool_], *seen: Box, stretch: int = 1
) -> tuple[list[list[float]], list[list[float]]]:
    """The objects, and the crowds."""
    boxes, crowd = objects_in(inside, np.array(seen, np.float32).reshape(-1, 5), stretch=stretch)
    return boxes[~crowd].tolist(), boxes[crowd].tolist()


def test_without_a_teacher_a_region_is_one_object_by_its_outline_or_a_crowd() -> None:
    assert found(mask()) == ([], [])
    assert found(mask((10, 10, 60, 30))) == ([[10, 10, 60, 30]], [])  # 2.5 times as wide as high
    assert found(mask((10, 10, 62, 30))) == ([], [[10, 10, 62, 30]])
    assert found(mask((10, 10, 40, 30)), stretch=2) == ([], [[10, 10, 40, 30]])  # 60 px to 20
    # two cars, one higher: 600 + 200 px in a hull of 600 + 400 - 100
    assert found(mask((0, 0, 20, 30), (20, 20, 40, 30))) == ([], [[0, 0, 40, 30]])
    assert found(mask((0, 0, 10, 10), (20, 0, 30, 10))) == ([[0, 0, 10, 10], [20, 0, 30, 10]], [])


def test_a_teacher_parts_a_cluster_and_the_rest_is_a_crowd() -> None:
    row = mask((0, 0, 90, 20))
    left, right = (0, 0, 30, 20, 0.5), (28, 0, 60, 20, 0.6)
    assert found(row, left, right) == ([[28, 0, 60, 20], [0, 0, 30, 20]], [[60, 0, 90, 20]])
    # a rest of 11 px is an outline: 11 x 1
    assert found(mask((0, 0, 60, 20), (60, 0, 71, 1)), left, right)[1] == []
    assert found(mask((0, 0, 60, 20), (60, 0, 72, 1)), left, right)[1] == [[60, 0, 72, 1]]


def test_a_box_counts_if_it_lies_on_the_label() -> None:
    row = mask((0, 0, 90, 20))
    # of 30 x 32 px 20 rows are the label: 0.625; of 30 x 34: 0.588. Boxes end where the label does.
    assert found(row, (0, 0, 30, 32, 0.5)) == ([[0, 0, 30, 20]], [[30, 0, 90, 20]])
    assert found(row, (0, 0, 30, 34, 0.5)) == ([], [[0, 0, 90, 20]])
    assert found(row, (0, 50, 30, 70, 0.5), (5, 5, 5, 9, 0.9)) == ([], [[0, 0, 90, 20]])


def test_of_boxes_within_each_other_the_better_stays() -> None:
    row = mask((0, 0, 90, 20))
    whole, wheel = (0, 0, 30, 20, 0.5), (20, 0, 34, 20, 0.4)
    # 10 of 14 columns lie in the first: 0.714. 9 of 14: 0.643.
    assert found(row, wheel, whole)[0] == [[0, 0, 30, 20]]
    assert found(row, whole, (21, 0, 35, 20, 0.4))[0] == [[0, 0, 30, 20], [21, 0, 35, 20]]


@pytest.mark.parametrize("score", [0.3, 0.9])
def test_a_teacher_overrules_the_outline(score: float) -> None:
    two = mask((0, 0, 40, 20))
    assert found(two, (0, 0, 20, 20, score), (20, 0, 40, 20, score))[0] == [
        [0, 0, 20, 20],
        [20, 0, 40, 20],
    ]
    # one box on most of a long region: a lorry, in the label's own box
    lorry = mask((0, 0, 60, 20))
    assert found(lorry, (4, 0, 50, 20, score)) == ([[0, 0, 60, 20]], [])  # 46 of 60: 0.77
    assert found(lorry, (4, 0, 40, 20, score))[0] == [[4, 0, 40, 20]]  # 36 of 60: 0.6
    # one box on a part of what looks like one
    assert found(two, (0, 0, 20, 20, score)) == ([[0, 0, 40, 20]], [])
