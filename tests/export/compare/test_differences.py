"""Boxes and masks of two models against each other, on a handful that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edge.vision.types import Detections
from export.compare.differences import SAME, Differences, Limits


def boxes(*given: tuple[float, float, float, float, float, int]) -> Detections:
    """(x0, y0, x1, y1, score, class) each."""
    rows = np.array(given, np.float64).reshape(-1, 6)
    return Detections(
        rows[:, :4].astype(np.float32), rows[:, 4].astype(np.float32),
        rows[:, 5].astype(np.int32), np.full(len(rows), -1, np.int32),
    )  # fmt: skip


ONE = boxes((0, 0, 100, 10, 0.5, 0))


@pytest.mark.parametrize(
    ("other", "unmatched", "min_iou", "max_score"),
    [
        (ONE, 0, 1.0, 0.0),
        (boxes(), 1, 0.0, 0.5),  # the other side's score there is 0
        (boxes((0, 0, 100, 10, 0.5, 1)), 1, 0.0, 0.5),  # of another class
        (boxes((0, 0, 80, 10, 0.5, 0)), 1, 0.8, 0.0),  # 800 of 1000 px²
        (boxes((0, 0, 80, 10, 0.25, 0)), 1, 0.8, 0.25),  # still the same thing
        (boxes((0, 0, 40, 10, 0.5, 0)), 1, 0.4, 0.5),  # another
        (boxes((0, 0, 100, 10, 0.75, 0)), 1, 1.0, 0.25),  # there, with another score
        # Of two at one place the one of the nearest score.
        (boxes((0, 0, 100, 10, 0.75, 0), (0, 0, 100, 10, 0.5, 0)), 0, 1.0, 0.0),
    ],
)
def test_a_box_is_looked_up_by_class_place_and_score(
    other: Detections, unmatched: int, min_iou: float, max_score: float
) -> None:
    differences = Differences(SAME)
    differences.add_boxes(ONE, other)
    found = differences.boxes
    assert (found.boxes, found.unmatched) == (1, unmatched)
    assert found.min_iou == pytest.approx(min_iou)
    assert found.max_score == pytest.approx(max_score)
    assert bool(list(differences.failures())) is bool(unmatched)  # 1 of 1 is more than 0.5 %


def test_boxes_of_low_scores_are_not_compared_and_those_at_the_edge_need_no_partner() -> None:
    differences = Differences(SAME)
    faint = boxes((0, 0, 100, 10, 0.05, 0))
    differences.add_boxes(faint, boxes())
    assert differences.boxes.boxes == 0
    edge = boxes((0, 0, 100, 10, 0.105, 0))
    differences.add_boxes(edge, boxes(), sure=0.11)
    assert (differences.boxes.boxes, differences.boxes.unmatched) == (1, 0)
    differences.add_boxes(edge, boxes())
    assert (differences.boxes.boxes, differences.boxes.unmatched) == (2, 1)


def test_the_worst_frame_of_a_mask_counts_and_one_of_another_size_agrees_nowhere() -> None:
    differences = Differences(Limits(mask=0.9))
    labels = np.array([[0, 1], [1, 1]], np.uint8)
    differences.add_mask("road", labels, labels)
    assert list(differences.failures()) == []
    differences.add_mask("road", labels, np.ones_like(labels))
    differences.add_mask("road", labels, labels)
    assert differences.masks == {"road": 0.75}
    differences.add_mask("lane", labels, labels[:1])
    differences.add_mask("sign", labels, None)
    assert list(differences.failures()) == [
        "mask road agrees in 75.00% of its labels, limit 90.00%",
        "mask lane agrees in 0.00% of its labels, limit 90.00%",
        "mask sign agrees in 0.00% of its labels, limit 90.00%",
    ]


def test_too_little_to_prove_anything_is_said() -> None:
    differences = Differences(SAME)
    differences.add_mask("road", np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8))
    assert list(differences.doubts(has_boxes=True)) == [
        "0 boxes were found, wanted 10 or more",
        "mask road shows one class only",
    ]
    assert list(differences.doubts(has_boxes=False)) == ["mask road shows one class only"]
