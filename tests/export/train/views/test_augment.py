"""Augmentation: picture, labels and boxes move together."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from export.data.labelled import UNLABELLED
from export.train.batch import MIN_VISIBLE, Batch
from export.train.views.augment import PAD, Augment

PLAIN = Augment(
    size_hw=(96, 128), base_scale=(1.0, 1.0), scale=(1.0, 1.0), stretch=0.0, brightness=0.0,
    contrast=0.0, saturation=0.0, tint=0.0,
)  # fmt: skip


def one_car(*, count: int = 8, h: int = 96, w: int = 128) -> Batch:
    """A white block at x 30..70, y 20..50, labelled 8, in ``count`` equal dark images."""
    images = torch.zeros(count, 3, h, w, dtype=torch.uint8)
    labels = torch.zeros(count, h, w, dtype=torch.uint8)
    images[:, :, 20:50, 30:70] = 255
    labels[:, 20:50, 30:70] = 8
    boxes = torch.tensor([[[30.0, 20, 70, 50], [0, 0, 0, 0]]]).repeat(count, 1, 1)
    ids = torch.tensor([[0, -1]]).repeat(count, 1)
    return Batch(images, labels, boxes, ids, torch.zeros(count, 2, dtype=torch.bool))


def test_without_change_only_the_mirror_remains() -> None:
    out = PLAIN(one_car(), generator=torch.Generator().manual_seed(0))
    # mirrored in a width of 128: 128 - 70 = 58, 128 - 30 = 98
    seen = {tuple(b[0].round().int().tolist()) for b in out.boxes}
    assert seen == {(30, 20, 70, 50), (58, 20, 98, 50)}
    assert (out.class_ids[:, 1] == -1).all()
    assert not out.crowd.any()


@pytest.mark.parametrize("seed", range(4))
def test_the_box_frames_the_block_in_picture_and_labels(seed: int) -> None:
    augment = Augment(size_hw=(160, 200), base_scale=(1.0, 1.0), scale=(0.6, 1.6), stretch=0.2,
                      brightness=0.0, contrast=0.0, saturation=0.0, tint=0.0)  # fmt: skip
    out = augment(one_car(), generator=torch.Generator().manual_seed(seed))
    checked = 0
    for image, labels, boxes, ids, crowd in zip(
        out.images, out.labels, out.boxes, out.class_ids, out.crowd, strict=True
    ):
        if ids[0] < 0 or crowd[0]:
            continue
        for there in (image.mean(0) > 0.75, labels == 8):
            rows, columns = torch.nonzero(there, as_tuple=True)
            found = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            # a pixel belongs to the block when its centre does: off by at most one at each side
            assert (found - boxes[0]).abs().max() <= 1.01
        checked += 1
    assert checked > 0


def test_a_view_may_be_moved_up_or_down_and_its_box_with_it() -> None:
    batch = one_car(count=64)
    level = PLAIN(batch, generator=torch.Generator().manual_seed(0))
    assert (level.boxes[:, 0, 1] == 20).all()
    lifted = replace(PLAIN, lift=0.5)(batch, generator=torch.Generator().manual_seed(0))
    moved = lifted.boxes[:, 0, 1] - 20
    assert 0.3 < (moved != 0).float().mean() < 0.7
    # a quarter of 96 rows is 24: up until the top edge at −20, down by 24
    assert moved.min() < -10
    assert 10 < moved.max() <= 24
    for labels, shift in zip(lifted.labels, moved, strict=True):
        if shift > 0:
            assert (labels[: int(shift)] == UNLABELLED).all()


def test_outside_the_image_is_grey_and_not_scored() -> None:
    small = Augment(size_hw=(96, 128), base_scale=(1.0, 1.0), scale=(0.5, 0.5), stretch=0.0,
                    brightness=0.0, contrast=0.0, saturation=0.0, tint=0.0)  # fmt: skip
    out = small(one_car(count=2), generator=torch.Generator().manual_seed(1))
    outside = out.labels == UNLABELLED
    # half the size leaves three quarters of the view outside
    assert outside.float().mean().item() == pytest.approx(0.75, abs=0.02)
    grey = (out.images - PAD).abs().amax(1) < 1e-3
    assert grey[outside].float().mean() > 0.98


def test_a_box_that_is_mostly_cut_off_is_not_counted_as_an_object() -> None:
    big = Augment(size_hw=(96, 128), base_scale=(1.0, 1.0), scale=(4.0, 4.0), stretch=0.0)
    out = big(one_car(count=64), generator=torch.Generator().manual_seed(0))
    visible = (out.boxes[:, 0, 2] - out.boxes[:, 0, 0]) * (out.boxes[:, 0, 3] - out.boxes[:, 0, 1])
    share = visible / (160 * 120)  # 40x30 px, four times as large
    there = out.class_ids[:, 0] >= 0
    assert (out.crowd[:, 0] == (there & (share < MIN_VISIBLE)))[there].all()
    assert out.crowd.any()
    assert there.sum() > out.crowd.sum()


def test_the_same_seed_gives_the_same_view() -> None:
    a = Augment()(one_car(), generator=torch.Generator().manual_seed(5))
    b = Augment()(one_car(), generator=torch.Generator().manual_seed(5))
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.boxes, b.boxes)


@pytest.mark.parametrize("gamma", [0.3, 1.0])
def test_gamma_raises_brightness_to_a_power_in_its_range(gamma: float) -> None:
    batch = one_car(count=64)
    batch.images[:] = 64  # 0.251 of full brightness
    toned = replace(PLAIN, gamma=gamma)(batch, generator=torch.Generator().manual_seed(0))
    power = toned.images.mean((1, 2, 3)).log() / math.log(64 / 255)
    assert (power.log().abs() <= gamma + 1e-4).all()
    assert power.log().max() > 0.8 * gamma
    assert power.log().min() < -0.8 * gamma
    assert toned.images.flatten(1).std(1).max() < 1e-4  # every pixel alike
