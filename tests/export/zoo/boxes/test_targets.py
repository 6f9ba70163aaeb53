"""Boxes as numbers, and which place learns what, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from export.zoo.boxes.localise import largest
from export.zoo.boxes.targets import (
    IGNORED,
    Objects,
    decode,
    encode,
    grid_places,
    losses_of,
    match,
    sampled,
    within,
)


def objects(boxes: list[list[float]], ids: list[int], crowd: list[bool] | None = None) -> Objects:
    """Of one image."""
    return Objects(
        torch.tensor(boxes).view(1, -1, 4), torch.tensor(ids, dtype=torch.long)[None],
        torch.tensor(crowd or [False] * len(ids), dtype=torch.bool)[None],
    )  # fmt: skip


def test_the_four_numbers_by_hand_and_back() -> None:
    place, box = torch.tensor([0.0, 0, 10, 20]), torch.tensor([5.0, 0, 25, 20])
    # the centre goes from 5 to 15: one width; twice as wide, as high
    wanted = torch.tensor([1 / 0.1, 0, math.log(2) / 0.2, 0])
    torch.testing.assert_close(encode(box, place), wanted)
    torch.testing.assert_close(decode(wanted, place), box)
    torch.manual_seed(0)
    low = torch.rand(50, 2) * 100
    many = torch.cat([low, low + 2 + torch.rand(50, 2) * 60], 1)
    torch.testing.assert_close(
        decode(encode(many, many.flip(0)), many.flip(0)), many, rtol=0, atol=1e-3
    )
    assert decode(torch.tensor([0, 0, 1e9, 0.0]), place).isfinite().all()


def test_places_of_a_grid_and_a_box_cut_to_the_image() -> None:
    made = grid_places(2, 3, 8, torch.tensor([[4.0, 2.0], [8.0, 8.0]]))
    assert made.shape == (12, 4)
    assert made[0].tolist() == [2, 3, 6, 5]  # about 4, 4
    assert made[1].tolist() == [0, 0, 8, 8]
    assert made[2].tolist() == [10, 3, 14, 5]  # the next column comes before the next row
    assert within(torch.tensor([-3.0, 2, 30, 40]), 16, 24).tolist() == [0, 2, 24, 16]


def test_what_a_place_is_to_say() -> None:
    there = objects(
        [[0, 0, 10, 10], [40, 0, 60, 20], [100, 0, 140, 40]], [2, 0, 1], [False] * 2 + [True]
    )
    places = torch.tensor([[
        [0, 0, 10, 10],  # the first object
        [0, 0, 10, 16],  # IoU 100/160: neither of the two
        [0, 5, 10, 15],  # IoU 50/150: background
        [40, 0, 60, 9],  # IoU 9/20, the most that the second has
        [110, 0, 150, 40],  # three quarters inside a crowd
        [130, 0, 170, 40],  # one quarter
    ]]).float()  # fmt: skip
    target, boxes = match(places, there, object_from=0.7, ground_below=0.4)
    assert target.tolist() == [[3, IGNORED, 0, IGNORED, IGNORED, 0]]
    assert boxes[0, 0].tolist() == [0, 0, 10, 10]
    target, boxes = match(places, there, object_from=0.7, ground_below=0.4, best=True)
    assert target.tolist() == [[3, IGNORED, 0, 1, IGNORED, 0]]
    assert boxes[0, 3].tolist() == [40, 0, 60, 20]


@pytest.mark.parametrize("given", [objects([], []), objects([[0, 0, 10, 10]], [-1])])
def test_without_an_object_every_place_is_background(given: Objects) -> None:
    target, _ = match(torch.rand(1, 5, 4), given, object_from=0.5, ground_below=0.5, best=True)
    assert target.tolist() == [[0] * 5]


def test_a_sample_holds_at_most_its_share_of_objects_and_is_filled_with_background() -> None:
    torch.manual_seed(0)
    target = torch.tensor([[1] * 10 + [0] * 30 + [IGNORED] * 10, [2] + [0] * 49])
    drawn = sampled(target, count=16, share=0.25)
    assert ((drawn > 0).sum(1)).tolist() == [4, 1]
    assert ((drawn == 0).sum(1)).tolist() == [12, 15]
    assert ((drawn == target) | (drawn == IGNORED)).all()
    few = sampled(torch.tensor([[1, 0, IGNORED]]), count=16, share=0.25)
    assert few.tolist() == [[1, 0, IGNORED]]


def test_losses_count_what_is_not_ignored_and_boxes_of_objects_alone() -> None:
    logits = torch.tensor([[[0.0, 0.0], [0.0, 0.0], [9.0, -9.0]]])
    numbers = torch.tensor([[[0.5, 0, 0, 0], [7.0, 0, 0, 0], [7.0, 0, 0, 0]]])
    target = torch.tensor([[1, 0, IGNORED]])
    classes, box = losses_of(logits, numbers, target, torch.zeros(1, 3, 4))
    assert classes.item() == pytest.approx(math.log(2))
    assert box.item() == pytest.approx(0.125 / 2)  # half the square, over two places


def test_the_largest_object_is_the_one_that_is_located() -> None:
    there = objects(
        [[0, 0, 20, 10], [50, 20, 90, 40], [0, 0, 100, 50]], [0, 1, 0], [False] * 2 + [True]
    )
    classes, rows = largest(there, 50, 100)
    assert classes.tolist() == [1]
    torch.testing.assert_close(rows, torch.tensor([[0.7, 0.6, 0.4, 0.4]]))
    classes, _ = largest(objects([[0, 0, 9, 9]], [0], [True]), 50, 100)
    assert classes.tolist() == [-1]
