"""Mosaics: four views in one, with picture, labels and boxes of each quarter."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from export.train.batch import Batch
from export.train.views.mosaic import LEAST_ROOM, Mosaic

H, W = 64, 96
# lines lie between a quarter and three quarters: these are always whole in their own quarter
CORNERS = ((2.0, 2.0), (W - 18.0, 2.0), (2.0, H - 14.0), (W - 18.0, H - 14.0))
SMALL_WH = (2.0, 10.0)


def view(i: int) -> tuple[list[list[float]], list[int], list[bool]]:
    """Of view i: a box in each corner, moved by i; one over most of it; a crowd; an empty entry."""
    boxes = [[x + i, y, x + i + SMALL_WH[0], y + SMALL_WH[1]] for x, y in CORNERS]
    boxes += [[2.0 + i, 2, W - 2, H - 2], [W - 12.0, 16, W - 4, 40], [0, 0, 0, 0]]
    return boxes, [i] * 6 + [-1], [False] * 5 + [i == 1, False]


def four_views() -> Batch:
    """View i is all of grey i/10 and of label i; its boxes are of class i."""
    images = (torch.arange(4) / 10)[:, None, None, None].expand(4, 3, H, W).clone()
    labels = torch.arange(4)[:, None, None].expand(4, H, W).clone()
    boxes, ids, crowd = zip(*(view(i) for i in range(4)), strict=True)
    return Batch(images, labels, torch.tensor(boxes), torch.tensor(ids), torch.tensor(crowd))


def mosaic(batch: Batch, *, chance: float = 1.0, seed: int = 0) -> Batch:
    return Mosaic(chance)(batch, generator=torch.Generator().manual_seed(seed))


def lines_of(labels: torch.Tensor) -> tuple[int, int]:
    """Column and row where another quarter begins."""
    return int((labels[0] == labels[0, 0]).sum()), int((labels[:, 0] == labels[0, 0]).sum())


@pytest.mark.parametrize("seed", range(3))
def test_each_quarter_is_another_view_at_its_own_place(seed: int) -> None:
    out = mosaic(four_views(), seed=seed)
    for i in range(4):
        x, y = lines_of(out.labels[i])
        assert W / 4 <= x <= W * 3 / 4
        assert H / 4 <= y <= H * 3 / 4
        rows, columns = [slice(0, y), slice(y, H)], [slice(0, x), slice(x, W)]
        for k in range(4):
            part = rows[k // 2], columns[k % 2]
            assert (out.labels[i][part] == (i + k) % 4).all()
            assert (out.images[i][:, part[0], part[1]] == (i + k) % 4 / 10).all()


def expected(view_id: int, quarter: tuple[int, int, int, int]) -> list[tuple[object, ...]]:
    """Boxes of a view inside x0, y0, x1, y1, cut by hand; those that are mostly gone are crowd."""
    x0, y0, x1, y1 = quarter
    found: list[tuple[object, ...]] = []
    for (a, b, c, d), class_id, crowd in zip(*view(view_id), strict=True):
        cut = max(a, x0), max(b, y0), min(c, x1), min(d, y1)
        w, h = cut[2] - cut[0], cut[3] - cut[1]
        if class_id < 0 or w <= 0 or h <= 0:
            continue
        gone = w * h < 0.35 * (c - a) * (d - b) or w < 3 or h < 3
        found.append((*cut, class_id, crowd or (gone and cut != (a, b, c, d))))
    return found


@pytest.mark.parametrize("seed", range(8))
def test_each_quarter_has_the_boxes_of_its_own_view_cut_at_the_lines(seed: int) -> None:
    out = mosaic(four_views(), seed=seed)
    for i in range(4):
        x, y = lines_of(out.labels[i])
        wanted: list[tuple[object, ...]] = []
        for k, quarter in enumerate([(0, 0, x, y), (x, 0, W, y), (0, y, x, H), (x, y, W, H)]):
            wanted += expected((i + k) % 4, quarter)
        there = out.class_ids[i] >= 0
        found = [
            (*box.tolist(), int(c), bool(r))
            for box, c, r in zip(
                out.boxes[i][there], out.class_ids[i][there], out.crowd[i][there], strict=True
            )
        ]
        assert Counter(found) == Counter(wanted)


def test_a_view_that_stays_whole_is_untouched() -> None:
    before = four_views()
    after = mosaic(before, chance=0.0)
    assert torch.equal(after.images, before.images)
    assert torch.equal(after.labels, before.labels)
    for name in ("boxes", "class_ids", "crowd"):
        assert torch.equal(getattr(after, name)[:, :6], getattr(before, name)[:, :6])
    assert (after.class_ids[:, 6:] == -1).all()


@pytest.mark.parametrize("boxes", [0, 1])
def test_few_boxes_a_view_leave_room_for_four_views(boxes: int) -> None:
    batch = four_views()
    few = Batch(
        batch.images, batch.labels, batch.boxes[:, 4 : 4 + boxes],
        batch.class_ids[:, 4 : 4 + boxes], batch.crowd[:, 4 : 4 + boxes],
    )  # fmt: skip
    out = mosaic(few)
    assert (out.class_ids >= 0).sum(1).tolist() == [4 * boxes] * 4
    assert out.class_ids.shape[1] <= LEAST_ROOM


def test_about_the_chance_are_mosaics_and_the_seed_says_which() -> None:
    batch = four_views()
    many = Batch(*(getattr(batch, name).repeat(50, *[1] * (getattr(batch, name).ndim - 1))
                   for name in Batch.__slots__[:5]))  # fmt: skip
    one, same, other = (mosaic(many, chance=0.3, seed=s) for s in (1, 1, 2))
    changed = (one.labels != many.labels).flatten(1).any(1).float().mean()
    assert 0.2 < changed < 0.4
    assert torch.equal(one.images, same.images)
    assert torch.equal(one.boxes, same.boxes)
    assert not torch.equal(one.images, other.images)
