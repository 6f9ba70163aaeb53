"""Mosaics: four views in one, with picture, labels and boxes of each quarter."""

from __future__ import annotations

import pytest
import torch

from export.augment import Batch
from export.camvid import IGNORE
from export.mosaic import Mosaic

H, W = 64, 96


def four_views() -> Batch:
    """View i is all of grey i/10 and label i, with one box over most of it and one 8x8 at 4, 4."""
    images = (torch.arange(4) / 10)[:, None, None, None].expand(4, 3, H, W).clone()
    labels = torch.arange(4)[:, None, None].expand(4, H, W).clone()
    boxes = torch.tensor([[2.0, 2, W - 2, H - 2], [4, 4, 12, 12], [0, 0, 0, 0]]).repeat(4, 1, 1)
    ids = torch.tensor([[0, 1, -1]]).repeat(4, 1)
    crowd = torch.zeros(4, 3, dtype=torch.bool)
    crowd[1, 1] = True
    return Batch(images, labels, boxes, ids, crowd)


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


def test_boxes_are_cut_at_the_lines_and_what_is_mostly_gone_is_crowd() -> None:
    out = mosaic(four_views())
    for i in range(4):
        x, y = lines_of(out.labels[i])
        there = out.class_ids[i] >= 0
        found = {
            tuple(int(v) for v in box): (int(c), bool(r))
            for box, c, r in zip(
                out.boxes[i][there], out.class_ids[i][there], out.crowd[i][there], strict=True
            )
        }
        corners = {
            (2, 2, x, y), (x, 2, W - 2, y), (2, y, x, H - 2), (x, y, W - 2, H - 2),
        }  # fmt: skip
        whole = (W - 4) * (H - 4)
        # the box of 8x8 lies in the first quarter alone: only the view's own is seen, uncut
        assert found == {
            **{c: (0, (c[2] - c[0]) * (c[3] - c[1]) < 0.35 * whole) for c in corners},
            (4, 4, 12, 12): (1, i == 1),
        }


def test_a_view_that_stays_whole_is_untouched() -> None:
    before = four_views()
    after = mosaic(before, chance=0.0)
    assert torch.equal(after.images, before.images)
    assert torch.equal(after.labels, before.labels)
    assert after.class_ids[:, :2].tolist() == [[0, 1]] * 4
    assert (after.class_ids[:, 2:] == -1).all()
    assert torch.equal(after.boxes[:, :2], before.boxes[:, :2])
    assert torch.equal(after.crowd[:, :2], before.crowd[:, :2])


def test_about_the_chance_are_mosaics_and_the_seed_says_which() -> None:
    batch = four_views()
    many = Batch(*(getattr(batch, name).repeat(50, *[1] * (getattr(batch, name).ndim - 1))
                   for name in ("images", "labels", "boxes", "class_ids", "crowd")))  # fmt: skip
    one, same, other = (mosaic(many, chance=0.3, seed=s) for s in (1, 1, 2))
    changed = (one.labels != many.labels).flatten(1).any(1).float().mean()
    assert 0.2 < changed < 0.4
    assert torch.equal(one.images, same.images)
    assert torch.equal(one.boxes, same.boxes)
    assert not torch.equal(one.images, other.images)


def test_two_views_are_enough_and_unlabelled_pixels_stay_so() -> None:
    batch = four_views()
    two = Batch(batch.images[:2], torch.full_like(batch.labels[:2], IGNORE), batch.boxes[:2],
                batch.class_ids[:2], batch.crowd[:2])  # fmt: skip
    out = mosaic(two)
    assert (out.labels == IGNORE).all()
    assert set(out.images[0].flatten().tolist()) == {0.0, float(batch.images[1].max())}
