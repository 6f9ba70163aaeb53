"""Objects in a window, by hand."""

from __future__ import annotations

import torch

from export.train.batch import Batch, drawn, shown_in

Shown = list[tuple[list[float], int, bool, bool]]


def shown(*objects: tuple[list[float], int, bool]) -> Shown:
    """Box, class id, crowd, and whether too little is shown, in a window of 40x20 px."""
    boxes = torch.tensor([o[0] for o in objects]).reshape(1, -1, 4)
    ids = torch.tensor([o[1] for o in objects], dtype=torch.long).reshape(1, -1)
    crowd = torch.tensor([o[2] for o in objects], dtype=torch.bool).reshape(1, -1)
    corner = torch.tensor([40.0, 20.0])
    found = [t[0].tolist() for t in shown_in(torch.zeros(2), corner, boxes, ids, crowd)]
    return list(zip(*found, strict=True))


def test_no_objects_are_no_objects() -> None:
    assert shown() == []


def test_a_box_is_cut_at_the_window_and_counts_from_35_hundredths_on() -> None:
    # 20 px wide, of which 8 are inside: 0.4; or 6: 0.3
    assert shown(([32.0, 4, 52, 14], 1, False)) == [([32.0, 4, 40, 14], 1, False, False)]
    assert shown(([34.0, 4, 54, 14], 1, False)) == [([34.0, 4, 40, 14], 1, False, True)]


def test_what_lies_outside_or_was_none_has_no_class() -> None:
    # the first touches the edge from outside
    assert [o[1:] for o in shown(([40.0, 0, 50, 10], 2, True), ([0.0, 0, 0, 0], -1, False))] == [
        (-1, False, False),
        (-1, False, False),
    ]


def test_a_side_below_three_pixels_is_too_little_and_a_crowd_stays_one() -> None:
    found = shown(([0.0, 0, 2.5, 20], 0, False), ([0.0, 0, 3, 20], 0, True))
    assert [o[2:] for o in found] == [(False, True), (True, False)]


def test_random_numbers_are_drawn_for_each_image_from_the_generator() -> None:
    n = torch.zeros(3, 0)
    batch = Batch(torch.zeros(3, 3, 2, 4), torch.zeros(3, 2, 4), torch.zeros(3, 0, 4), n, n)
    one, same = (drawn(5, batch, torch.Generator().manual_seed(4)) for _ in range(2))
    assert one.shape == (5, 3)
    assert torch.equal(one, same)
    assert ((one >= 0) & (one < 1)).all()
