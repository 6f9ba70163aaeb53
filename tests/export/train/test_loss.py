"""The training loss on cases small enough to check by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from export.train.batch import Batch, Known
from export.train.loss import (
    Assigned,
    Gains,
    StreetLoss,
    anchors_that_fit,
    assign,
    ciou,
    crowd_cells,
    lovasz_softmax,
)
from export.train.net.street import ANCHORS
from export.zoo.mask_net import Outputs


def batch_of(boxes: list[list[float]], *, ids: list[int], crowd: list[bool], hw: int = 64) -> Batch:
    return Batch(
        torch.zeros(1, 3, hw, hw),
        torch.zeros(1, hw, hw, dtype=torch.long),
        torch.tensor([boxes]).reshape(1, -1, 4),
        torch.tensor([ids]).reshape(1, -1),
        torch.tensor([crowd]).reshape(1, -1),
    )


def given(batch: Batch, anchors: list[tuple[float, float]]) -> Assigned:
    """What the grid of stride 8 of a view of 64x64 gets with these anchors."""
    fits = anchors_that_fit(batch, [torch.tensor(anchors)] * 3, 0.0)
    return assign(batch, fits[0], 8, (8, 8))


def cells_of(found: Assigned) -> set[tuple[int, int]]:
    """Column and row of the cells that were given an object."""
    column, row = found.column[found.valid], found.row[found.valid]
    return set(zip(column.tolist(), row.tolist(), strict=True))


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
    found = given(batch, [(20.0, 20.0)])
    assert cells_of(found) == {(2, 3), (1, 3), (2, 4)}
    assert found.class_ids[found.valid].tolist() == [1, 1, 1]


def test_at_the_edge_no_neighbour_outside_is_taken() -> None:
    batch = batch_of([[0.0, 0.0, 6.0, 6.0]], ids=[0], crowd=[False])
    found = given(batch, [(6.0, 6.0)])
    assert cells_of(found) == {(0, 0)}


def test_an_anchor_of_another_shape_is_not_used() -> None:
    batch = batch_of([[0.0, 0.0, 40.0, 8.0]], ids=[0], crowd=[False])
    # 40 / 8 = 5 times as wide: beyond the factor of four
    assert cells_of(given(batch, [(8.0, 8.0)])) == set()


def test_crowds_and_empty_entries_give_no_object() -> None:
    batch = batch_of([[0, 0, 20, 20], [0, 0, 20, 20]], ids=[0, -1], crowd=[True, False])
    assert cells_of(given(batch, [(20.0, 20.0)])) == set()


def test_objects_keep_to_their_own_image_and_anchor() -> None:
    one = batch_of([[0, 0, 6, 6], [8, 8, 48, 48]], ids=[0, 1], crowd=[False, False])
    two = batch_of([[20, 20, 28, 28], [0, 0, 0, 0]], ids=[3, -1], crowd=[False, False])
    batch = Batch(*(torch.cat([getattr(b, n) for b in (one, two)]) for n in Batch.__slots__[:5]))
    found = given(batch, [(6.0, 6.0), (40.0, 40.0)])
    valid = found.valid
    pairs = {
        (int(i), int(a), int(c))
        for i, a, c in zip(
            found.image[valid], found.anchor[valid], found.class_ids[valid], strict=True
        )
    }
    # 6 px suits anchor 6 alone; 40 px is 6.7 times 6; 8 px is a fifth of 40
    assert pairs == {(0, 0, 0), (0, 1, 1), (1, 0, 3)}


WAYS = {
    0.0: [(0, 1, 2), (0, 1, 2), (1, 2), (1, 2)],
    2.0: [(0,), (0, 1), (1, 2), (1,)],
}
"""By ``min_cells``: the strides, by number, of boxes of 20x20, 40x30, 64x64 and 60x12."""


@pytest.mark.parametrize("min_cells", WAYS)
def test_what_a_finer_grid_serves_goes_to_a_coarser_one_by_its_size(min_cells: float) -> None:
    boxes = [[0.0, 0.0, w, h] for w, h in ((20, 20), (40, 30), (64, 64), (60, 12))]
    batch = batch_of(boxes, ids=[0] * 4, crowd=[False] * 4)
    # within a factor of four: sides of 4 to 55 px, 6 to 79, 7 to 95
    anchors = [torch.tensor([[s, s]]) for s in (14.0, 20.0, 24.0)]
    fits = anchors_that_fit(batch, anchors, min_cells)
    found = [tuple(k for k in range(3) if bool(fits[k][0, i])) for i in range(4)]
    assert found == WAYS[min_cells]


def test_a_box_that_only_a_coarse_grid_serves_is_not_lost_for_being_small() -> None:
    batch = batch_of([[0.0, 0, 60, 4]], ids=[0], crowd=[False])  # 15.5 px: not one cell of 32
    anchors = [torch.tensor([a]) for a in ((10.0, 10.0), (20.0, 20.0), (30.0, 10.0))]
    fits = anchors_that_fit(batch, anchors, 2.0)
    assert [bool(f.any()) for f in fits] == [False, False, True]


@pytest.mark.parametrize(("min_cells", "taught"), [(0.0, 2), (2.0, 1)])
def test_the_size_decides_which_grids_an_object_teaches(min_cells: float, taught: int) -> None:
    # 16x16 px: within a factor of four of (10, 12) at stride 8 and of (18, 18) at stride 16; its
    # smallest ratio at stride 32 is that of 64 to 16, no longer within it
    batch = batch_of([[24.0, 24.0, 40.0, 40.0]], ids=[0], crowd=[False])
    anchors = (ANCHORS[0], ANCHORS[1], ((64.0, 64.0),) * 3)
    outputs = silent_outputs()
    for raw in outputs.boxes:
        raw.requires_grad_()
    total, _ = StreetLoss(anchors, torch.ones(11), min_cells=min_cells)(outputs, batch)
    total.backward()  # type: ignore[no-untyped-call]
    sides = [raw.grad.view(1, 3, 9, *raw.shape[2:])[:, :, 2:4] for raw in outputs.boxes
             if raw.grad is not None]  # fmt: skip
    assert [bool(g.any()) for g in sides] == [True, taught == 2, False]


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
    batch.labels[:] = 255
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
    batch.labels[:, 32:] = 255
    assert StreetLoss(ANCHORS, torch.ones(11))(silent_outputs(), batch)[1]["mask"] < 0.01
    batch.labels[:, 32:] = 3
    assert StreetLoss(ANCHORS, torch.ones(11))(silent_outputs(), batch)[1]["mask"] > 1.0


def test_the_mask_costs_the_mean_of_the_labelled_pixels_by_their_weights() -> None:
    batch = batch_of([[0, 0, 0, 0]], ids=[-1], crowd=[False])
    batch.labels[:, 32:] = 1
    batch.labels[:, :, 32:] = 255
    outputs = silent_outputs()
    outputs.mask.zero_()
    outputs.mask[:, 0] = 2.0
    weights = torch.ones(11)
    weights[1] = 3.0
    # softmax 0 with e² against ten others: ln(e² + 10) = 2.855; −2 where 0 is right. As many
    # pixels of either, weighed 1 and 3: (0.855 + 3 · 2.855) / 4
    parts = StreetLoss(ANCHORS, weights)(outputs, batch)[1]
    assert parts["mask"].item() == pytest.approx((0.855 + 3 * 2.855) / 4, abs=1e-3)


def logits_of(p: list[list[float]]) -> torch.Tensor:
    """Logits (1, K, 1, n) whose softmax gives the probabilities (n, K)."""
    return torch.tensor(p).log().T[None, :, None]


def test_lovasz_of_three_pixels_by_hand() -> None:
    logits = logits_of([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    labels = torch.tensor([[[0, 0, 1]]])
    # class 0: errors 0.1, 0.6 (both true), 0.2 (false). By size: 0.6 true, 0.2 false, 0.1 true.
    #   1 − IoU with the first k mistaken: k=1: 1 − 1/2, k=2: 1 − 1/3, k=3: 1 − 0/3
    #   slopes 1/2, 1/6, 1/3: 0.6/2 + 0.2/6 + 0.1/3 = 0.36667
    # class 1: errors 0.1, 0.6 (false), 0.2 (true). 0.6 false: 1 − 1/2; 0.2 true: 1 − 0/2; then 0
    #   slopes 1/2, 1/2, 0: 0.3 + 0.1 = 0.4
    assert lovasz_softmax(logits, labels).item() == pytest.approx((0.36667 + 0.4) / 2, abs=1e-4)


def test_lovasz_of_hard_mistakes_is_one_minus_iou() -> None:
    # one of two pixels of class 0 is called 1: IoU 1/2 for class 0, 2/3 for class 1
    sure = [[1.0, 1e-30], [1e-30, 1.0], [1e-30, 1.0], [1e-30, 1.0]]
    loss = lovasz_softmax(logits_of(sure), torch.tensor([[[0, 0, 1, 1]]]))
    assert loss.item() == pytest.approx((1 / 2 + 1 / 3) / 2, abs=1e-5)


def test_lovasz_leaves_out_unlabelled_pixels_and_absent_classes() -> None:
    p = [[0.9, 0.1, 1e-9], [0.4, 0.6, 1e-9], [0.2, 0.8, 1e-9]]
    logits = logits_of([*p, [0.3, 0.3, 0.4], [0.5, 0.2, 0.3]])
    logits.requires_grad_()
    loss = lovasz_softmax(logits, torch.tensor([[[0, 0, 1, 255, 255]]]))
    assert loss.item() == pytest.approx((0.36667 + 0.4) / 2, abs=1e-4)
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert (logits.grad[..., 3:] == 0).all()
    assert (logits.grad[..., :3] != 0).any()
    nothing = lovasz_softmax(logits, torch.full((1, 1, 5), 255))
    assert nothing.item() == 0


def test_the_gain_of_the_mask_multiplies_its_part_of_the_total() -> None:
    batch = batch_of([[0, 0, 0, 0]], ids=[-1], crowd=[False])
    outputs = silent_outputs()
    outputs.mask[:] = 0.0  # every class alike
    totals = []
    for gain in (1.0, 3.0):
        total, parts = StreetLoss(ANCHORS, torch.ones(11), Gains(mask=gain))(outputs, batch)
        totals.append(total)
        assert parts["mask"].item() == pytest.approx(2.3979, abs=1e-3)  # ln 11, whatever the gain
    assert (totals[1] - totals[0]).item() == pytest.approx(2 * 2.3979, abs=1e-3)


def test_the_terms_of_the_mask_count_with_their_weights() -> None:
    batch = batch_of([[0, 0, 0, 0]], ids=[-1], crowd=[False])
    outputs = silent_outputs()
    outputs.mask[:, 0] = 1.0
    aux = torch.zeros(1, 11, 4, 4)
    masks = [
        StreetLoss(ANCHORS, torch.ones(11), gains=gains)(outputs, batch, aux=aux)[1]["mask"]
        for gains in (Gains(), Gains(lovasz=2.0), Gains(aux=0.5))
    ]
    # every pixel is class 0 with p = e / (e + 10) = 0.2137: Lovász 1 − p. aux: ln 11 = 2.3979
    assert (masks[1] - masks[0]).item() == pytest.approx(2 * (1 - 0.2137), abs=1e-3)
    assert (masks[2] - masks[0]).item() == pytest.approx(0.5 * 2.3979, abs=1e-3)


def test_an_image_teaches_nothing_about_classes_that_its_data_set_lacks() -> None:
    # one object of class 0 in a set that lacks the box class 3 and the mask class 7
    boxes, mask = torch.arange(4)[None] != 3, torch.arange(11)[None] != 7
    plain = batch_of([[16, 16, 32, 32]], ids=[0], crowd=[False])
    for batch, taught in ((plain, True), (replace(plain, known=Known(boxes, mask)), False)):
        outputs = silent_outputs()
        # two cells hold an object for sure: one of the unknown class, one of class 0
        cells = outputs.boxes[0].view(1, 3, 9, 8, 8)
        cells[0, 0, [4, 8], 0, 1] = 8.0
        cells[0, 0, [4, 5], 0, 6] = 8.0
        leaves = [raw.requires_grad_() for raw in (*outputs.boxes, outputs.mask)]
        gains = Gains(lovasz=1.0, aux=1.0)
        aux = torch.zeros(1, 11, 4, 4, requires_grad=True)
        total, parts = StreetLoss(ANCHORS, torch.ones(11), gains)(outputs, batch, aux=aux)
        total.backward()  # type: ignore[no-untyped-call]
        assert all(math.isfinite(part.item()) for part in parts.values())
        fine = grad_of(leaves[0]).view(1, 3, 9, 8, 8)
        assert (grad_of(outputs.mask)[:, 7] != 0).any() == taught
        assert (grad_of(aux)[:, 7] != 0).any() == taught
        assert (grad_of(outputs.mask)[:, 6] != 0).any()
        assert (fine[:, :, 8] != 0).any() == taught
        assert (fine[:, :, 7] != 0).any()
        surely_unknown, surely_known = fine[0, 0, 4, 0, 1].item(), fine[0, 0, 4, 0, 6].item()
        # e^8 / (e^8 + 3) of the cell is of the class that is not labelled: 0.1 % is left
        assert surely_unknown / surely_known == pytest.approx(1 if taught else 0.001, abs=2e-4)


def grad_of(leaf: torch.Tensor) -> torch.Tensor:
    assert leaf.grad is not None
    return leaf.grad


def test_a_mask_of_which_a_data_set_has_no_class_stays_finite() -> None:
    batch = batch_of([[16, 16, 32, 32]], ids=[0], crowd=[False])
    batch.labels[:] = 255
    none = Known(torch.zeros(1, 4, dtype=torch.bool), torch.zeros(1, 11, dtype=torch.bool))
    outputs = silent_outputs()
    outputs.mask.requires_grad_()
    loss = StreetLoss(ANCHORS, torch.ones(11), Gains(lovasz=1.0))
    total, _ = loss(outputs, replace(batch, known=none))
    total.backward()  # type: ignore[no-untyped-call]
    assert math.isfinite(total.item())
    assert (grad_of(outputs.mask) == 0).all()
