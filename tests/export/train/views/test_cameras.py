"""Views of other cameras: which views of a batch have a fault, and the own bonnet."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from export.data.class_set import Classes
from export.data.labelled import UNLABELLED
from export.train.batch import MIN_VISIBLE, Batch, Known
from export.train.views.cameras import Cameras, bonnet
from export.train.views.faults import Draw

H, W = 64, 96
CAMVID = Classes.parse()
PARTS = ("images", "labels", "boxes", "class_ids", "crowd")


def white(count: int) -> Batch:
    """All road; a box in the sky, one from there to the bottom, one at the bottom, a free place."""
    boxes = [[40.0, 4, 56, 20], [40, 2, 56, H], [44, H - 3, 52, H], [0, 0, 0, 0]]
    ids = torch.tensor([[0, 1, 2, -1]]).repeat(count, 1)
    return Batch(
        torch.ones(count, 3, H, W), torch.full((count, H, W), 3),
        torch.tensor(boxes).repeat(count, 1, 1), ids, ids > 2,
    )  # fmt: skip


def changed(after: Batch, before: Batch) -> torch.Tensor:
    return (after.images != before.images).flatten(1).any(1)


def test_without_a_chance_nothing_changes_bit_by_bit() -> None:
    before = white(4)
    draw = torch.Generator().manual_seed(0)
    state = draw.get_state()
    after = Cameras(0.0, CAMVID)(before, generator=draw)
    assert all(torch.equal(getattr(after, name), getattr(before, name)) for name in PARTS)
    assert torch.equal(draw.get_state(), state)


@pytest.mark.parametrize(("chance", "count"), [(0.3, 8), (0.05, 4), (1.0, 4)])
def test_each_fault_comes_to_the_share_asked_for_and_the_seed_says_to_which(
    chance: float, count: int
) -> None:
    cameras = Cameras(chance, CAMVID)
    cameras.faults = (bonnet,)
    draw, again = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    before = white(count)
    shares, places = 0.0, torch.zeros(count)
    for _ in range(50):
        after = cameras(before, generator=draw)
        same = cameras(before, generator=again)
        assert all(torch.equal(getattr(after, name), getattr(same, name)) for name in PARTS)
        shares += changed(after, before).float().mean().item()
        places += changed(after, before)
    # 200 views and more: a share is within 0.08 of the chance
    assert shares / 50 == pytest.approx(chance, abs=0.08)
    assert (places > 0).all()  # none is spared for good
    assert (before.images == 1).all()  # what was given is left alone


def test_all_faults_in_a_row_change_pictures_and_leave_boxes_and_classes() -> None:
    known = Known(torch.ones(8, 4), torch.ones(8, 11))
    before = replace(white(8), known=known)
    after = Cameras(0.5, CAMVID)(before, generator=torch.Generator().manual_seed(0))
    assert changed(after, before).float().mean() > 0.7
    assert torch.equal(after.boxes, before.boxes)
    assert torch.equal(after.class_ids, before.class_ids)
    assert after.known is known
    assert ((after.labels == before.labels) | (after.labels == UNLABELLED)).all()


def test_the_sky_is_dark_at_night_where_it_is_a_class_of_its_own() -> None:
    def sky_of(mask: str) -> object:
        night = Cameras(0.5, Classes.parse("", mask)).faults[1]
        assert isinstance(night, partial)
        return night.keywords["sky"]

    assert sky_of("") == CAMVID.mask.names.index("sky")
    assert sky_of("road,sky") == 1
    assert sky_of("road,other=*") is None
    assert sky_of("road,car") is None


def test_a_bonnet_is_dark_unlabelled_and_at_the_bottom() -> None:
    before = white(32)
    after = bonnet(before, Draw(32, torch.Generator().manual_seed(0), torch.device("cpu")))
    gone = after.labels == UNLABELLED
    # at most 0.22 of 64 rows high: 14
    assert not gone[:, : H - 15].any()
    assert gone[:, -1].any(1).all()
    assert torch.equal(gone, gone.cummax(1).values)  # below a pixel of it is only more of it
    whole = gone & gone.roll(1, 1)  # the first row of it is a part of what was there
    assert after.images.mean(1)[whole].max() < 0.86  # 0.35 · 1.3 of paint, 0.4 of mirrored sky
    assert (after.images[:, :, : H - 15] == 1).all()
    assert torch.equal(after.labels[~gone], before.labels[~gone])


def test_what_a_bonnet_hides_is_not_counted() -> None:
    before = white(64)
    after = bonnet(before, Draw(64, torch.Generator().manual_seed(0), torch.device("cpu")))
    assert torch.equal(after.boxes, before.boxes)
    # the first is far above; of the second, 62 px high, 14 at most are hidden
    assert not after.crowd[:, [0, 1, 3]].any()
    # the third: 3 x 8 px, of which the pixels say how many are left; not exactly as the line is
    left = (after.labels[:, H - 3 :, 44:52] != UNLABELLED).float().mean((1, 2))
    assert after.crowd[left < MIN_VISIBLE - 0.3, 2].all()
    assert after.crowd[:, 2].any()
    untouched = (after.labels[:, H - 4 :, 44:52] != UNLABELLED).flatten(1).all(1)
    assert not after.crowd[untouched, 2].any()
