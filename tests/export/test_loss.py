"""The training loss on cases small enough to check by hand."""

from __future__ import annotations

import math

import pytest
import torch

from export.augment import Batch
from export.loss import StreetLoss, assign, ciou, crowd_cells
from export.model import ANCHORS, Outputs


def batch_of(boxes: list[list[float]], *, ids: list[int], crowd: list[bool], hw: int = 64) -> Batch:
    return Batch(
        torch.zeros(1, 3, hw, hw),
        torch.zeros(1, hw, hw, dtype=torch.long),
        torch.tensor([boxes]).reshape(1, -1, 4),
        torch.tensor([ids]).reshape(1, -1),
        torch.tensor([crowd]).reshape(1, -1),
    )


def test_ciou_of_equal_boxes_is_one() -> None:
    box = torch.tensor([[5.0, 5.0, 4.0, 2.0]])
    assert ciou(box, box).item() == pytest.approx(1.0, abs=1e-5)


def test_ciou_of_shifted_squares() -> None:
    # 2x2 squares, one pixel apart: inner 1x2 = 2, union 6, IoU 1/3; enclosing 3x2, diagonal² 13,
    # distance² 1, same aspect: 1/3 - 1/13
    a, b = torch.tensor([[1.0, 1.0, 2.0, 2.0]]), torch.tensor([[2.0, 1.0, 2.0, 2.0]])
    assert ciou(a, b).item() == pytest.approx(1 / 3 - 1 / 13, abs=1e-4)


def test_an_object_goes_to_its_cell_and_two_neighbours() -> None:
    # centre (19.2, 28.8) px = (2.4, 3.6) cells of stride 8: left and lower neighbour are near
    batch = batch_of([[9.2, 18.8, 29.2, 38.8]], ids=[1], crowd=[False])
    found = assign(batch, torch.tensor([[20.0, 20.0]]), 8, (8, 8))
    cells = set(zip(found.column.tolist(), found.row.tolist(), strict=True))
    assert cells == {(2, 3), (1, 3), (2, 4)}
    assert found.class_ids.tolist() == [1, 1, 1]


def test_at_the_edge_no_neighbour_outside_is_taken() -> None:
    batch = batch_of([[0.0, 0.0, 6.0, 6.0]], ids=[0], crowd=[False])
    found = assign(batch, torch.tensor([[6.0, 6.0]]), 8, (8, 8))
    assert set(zip(found.column.tolist(), found.row.tolist(), strict=True)) == {(0, 0)}


def test_an_anchor_of_another_shape_is_not_used() -> None:
    batch = batch_of([[0.0, 0.0, 40.0, 8.0]], ids=[0], crowd=[False])
    # 40 / 8 = 5 times as wide: beyond the factor of four
    assert len(assign(batch, torch.tensor([[8.0, 8.0]]), 8, (8, 8)).image) == 0


def test_crowds_and_empty_entries_give_no_object() -> None:
    batch = batch_of([[0, 0, 20, 20], [0, 0, 20, 20]], ids=[0, -1], crowd=[True, False])
    assert len(assign(batch, torch.tensor([[20.0, 20.0]]), 8, (8, 8)).image) == 0


def test_crowd_cells_are_those_with_their_centre_inside() -> None:
    batch = batch_of([[8, 0, 24, 8]], ids=[0], crowd=[True])
    cells = crowd_cells(batch, 8, (8, 8))[0]
    # centres at 4, 12, 20, …: columns 1 and 2 of row 0
    assert torch.nonzero(cells).tolist() == [[0, 1], [0, 2]]


def silent_outputs(hw: int = 64) -> Outputs:
    """No object anywhere, and class 0 everywhere in the mask."""
    boxes = [torch.zeros(1, 27, hw // s, hw // s) for s in (8, 16, 32)]
    for raw in boxes:
        raw.view(1, 3, 9, *raw.shape[2:])[:, :, 4] = -12.0
    mask = torch.zeros(1, 11, hw // 4, hw // 4)
    mask[:, 0] = 12.0
    return Outputs((boxes[0], boxes[1], boxes[2]), mask)


def test_an_empty_image_and_silent_outputs_cost_nothing() -> None:
    total, parts = StreetLoss(ANCHORS, torch.ones(11))(
        silent_outputs(), batch_of([[0, 0, 0, 0]], ids=[-1], crowd=[False])
    )
    assert total.item() == pytest.approx(0.0, abs=1e-3)
    assert all(math.isfinite(v.item()) for v in parts.values())


def test_a_false_object_costs_unless_it_lies_in_a_crowd() -> None:
    outputs = silent_outputs()
    outputs.boxes[0].view(1, 3, 9, 8, 8)[0, 0, 4, 0, 1] = 8.0
    loss = StreetLoss(ANCHORS, torch.ones(11))
    empty = batch_of([[0, 0, 0, 0]], ids=[-1], crowd=[False])
    crowd = batch_of([[8, 0, 24, 8]], ids=[0], crowd=[True])
    assert loss(outputs, empty)[1]["objectness"] > 0.02
    assert loss(outputs, crowd)[1]["objectness"] < 0.001


def test_a_batch_without_a_labelled_pixel_costs_nothing_and_teaches_nothing() -> None:
    batch = batch_of([[0, 0, 0, 0]], ids=[-1], crowd=[False])
    batch.labels[:] = 11
    outputs = silent_outputs()
    outputs.mask.requires_grad_()
    total, parts = StreetLoss(ANCHORS, torch.ones(11))(outputs, batch)
    assert parts["mask"].item() == 0  # the mean over no pixel would be 0/0, a NaN
    total.backward()  # type: ignore[no-untyped-call]
    assert outputs.mask.grad is not None
    assert (outputs.mask.grad == 0).all()


def test_the_smallest_and_the_largest_predictions_keep_loss_and_gradient_finite() -> None:
    # sigmoid(−1000) = 0: boxes without a side, whose w/h and IoU would be 0/0
    batch = batch_of([[10, 10, 13, 14]], ids=[0], crowd=[False])
    for logit in (-1000.0, 1000.0):
        outputs = silent_outputs()
        for raw in outputs.boxes:
            raw.fill_(logit).requires_grad_()
        total, _ = StreetLoss(ANCHORS, torch.ones(11))(outputs, batch)
        total.backward()  # type: ignore[no-untyped-call]
        assert math.isfinite(total.item())
        for raw in outputs.boxes:
            assert raw.grad is not None
            assert torch.isfinite(raw.grad).all()


def test_unlabelled_pixels_do_not_count() -> None:
    batch = batch_of([[0, 0, 0, 0]], ids=[-1], crowd=[False])
    batch.labels[:, 32:] = 11
    assert StreetLoss(ANCHORS, torch.ones(11))(silent_outputs(), batch)[1]["mask"] < 0.01
    batch.labels[:, 32:] = 3
    assert StreetLoss(ANCHORS, torch.ones(11))(silent_outputs(), batch)[1]["mask"] > 1.0
