"""Faults of picture and light: what they leave alone, and what they do to pictures made by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from export.train.batch import Batch
from export.train.views import faults
from export.train.views.faults import Draw

SKY, ROAD = 0, 3
H, W = 48, 80  # neither is a multiple of 16 after a random shift


def draw(count: int, *, seed: int = 0) -> Draw:
    return Draw(count, torch.Generator().manual_seed(seed), torch.device("cpu"))


def part_of(images: torch.Tensor) -> Batch:
    """Views without objects, sky above and road below."""
    k, _, h, w = images.shape
    labels = torch.full((k, h, w), ROAD)
    labels[:, : h // 2] = SKY
    none = torch.full((k, 1), -1)
    return Batch(images, labels, torch.zeros(k, 1, 4), none, none > 0)


def grey(count: int = 4, level: float = 0.5) -> torch.Tensor:
    return torch.full((count, 3, H, W), level)


def night(part: Batch, numbers: Draw) -> Batch:
    return faults.night(part, numbers, sky=SKY)


EACH = (night, faults.veil, faults.smear, faults.soften, faults.grain, faults.blocks)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("fault", EACH)
def test_each_keeps_size_range_labels_and_objects_and_comes_of_the_seed(
    fault: Callable[[Batch, Draw], Batch], count: int
) -> None:
    images = torch.rand(count, 3, H, W, generator=torch.Generator().manual_seed(1))
    one, same, other = (fault(part_of(images), draw(count, seed=s)) for s in (1, 1, 2))
    assert one.images.shape == images.shape
    assert 0 <= one.images.min() <= one.images.max() <= 1
    assert torch.equal(one.images, same.images)
    assert not torch.equal(one.images, other.images)
    assert not torch.equal(one.images, images)
    assert torch.equal(one.labels, part_of(images).labels)
    assert not one.crowd.any()


@pytest.mark.parametrize("fault", [faults.smear, faults.soften])
def test_a_blur_leaves_one_colour_as_it_is_up_to_the_edge(
    fault: Callable[[Batch, Draw], Batch],
) -> None:
    images = grey() * torch.tensor([1.0, 0.4, 0.2])[:, None, None]
    torch.testing.assert_close(fault(part_of(images), draw(4)).images, images)


def test_each_view_is_blurred_by_its_own_kernel() -> None:
    images = torch.zeros(2, 3, H, W)
    images[:, :, 20, 30] = 1
    kernels = torch.zeros(2, 11, 11)
    kernels[0, 5, 5] = 7  # its middle alone: nothing moves, whatever the sum
    kernels[1, 5, 4:7] = 1  # one pixel to each side
    out = faults.blurred(images, kernels)
    assert torch.equal(out[0], images[0])
    torch.testing.assert_close(out[1, :, 20, 29:32], torch.full((3, 3), 1 / 3))
    assert out[1].sum().item() == pytest.approx(3)


def test_a_shaken_point_becomes_a_line_and_a_soft_one_a_disc() -> None:
    images = torch.zeros(16, 3, H, W)
    images[:, :, 24, 40] = 1
    shape = {}
    for fault in (faults.smear, faults.soften):
        light = fault(part_of(images), draw(16)).images[:, 0, 19:30, 35:46]
        assert light.sum((1, 2)) == pytest.approx(torch.ones(16), abs=1e-4)
        at = torch.arange(-5.0, 6)
        xx, yy = (light.sum(1) * at**2).sum(1), (light.sum(2) * at**2).sum(1)
        xy = (light * at[:, None] * at).sum((1, 2))
        # spread along and across the longer axis
        mean, half = (xx + yy) / 2, (((xx - yy) / 2) ** 2 + xy**2).sqrt()
        shape[fault] = (mean - half) / (mean + half)
    assert (shape[faults.smear] < 0.5).all()  # the shortest is two pixels long
    assert shape[faults.smear].min() < 0.05
    assert (shape[faults.soften] > 0.99).all()


def test_fine_steps_leave_a_picture_and_coarse_ones_its_mean() -> None:
    planes = torch.rand(1, 2, 16, 24, generator=torch.Generator().manual_seed(0))
    fine = faults.quantised(planes, torch.tensor(1 / 255))
    # 64 coefficients, each off by half a step at most, of an orthonormal transform
    assert (fine - planes).square().mean().sqrt() < 0.5 / 255
    steps = torch.full((8, 1, 8), 100.0)
    steps[0, 0, 0] = 1e-3
    mean = planes.view(1, 2, 2, 8, 3, 8).mean((3, 5), keepdim=True).expand(-1, -1, -1, 8, -1, 8)
    # only the first coefficient, eight times the mean, is left
    torch.testing.assert_close(
        faults.quantised(planes, steps), mean.reshape(1, 2, 16, 24), atol=1e-4, rtol=0
    )


def test_coding_in_fine_steps_keeps_grey_levels_and_halves_the_colours() -> None:
    images = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    images = images.expand(1, 3, 32, 32)
    coded = faults.as_coded(images, torch.tensor(1e-4))
    torch.testing.assert_close(coded, images, atol=1e-3, rtol=0)
    stripes = torch.zeros(1, 3, 32, 32)
    stripes[:, 0, :, ::2] = 1  # red and black by turns: red is 0.299 bright, and keeps that
    coded = faults.as_coded(stripes, torch.tensor(1e-4))
    # R − Y is 0.701 and 0 by turns, 0.3505 on the mean
    torch.testing.assert_close(
        coded[0, 0, 0, :2], torch.tensor([0.299 + 0.3505, 0.3505]), atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("seed", range(3))
def test_blocks_begin_anywhere_and_one_colour_stays_one(seed: int) -> None:
    out = faults.blocks(part_of(grey()), draw(4, seed=seed)).images
    assert (out - out[:, :, :1, :1]).abs().max() < 1e-5
    # six times 12/255 is the coarsest step of the first coefficient, eight times the mean
    assert (out - 0.5).abs().max() <= 6 * 12 / 255 / 8 / 2 + 1e-5


def test_at_night_all_is_dark_the_sky_darkest_but_the_lamps() -> None:
    out = night(part_of(grey(64, 0.7)), draw(64)).images.mean(1)
    assert out.mean((1, 2)).max() < 0.4
    sky, road = out[:, : H // 2].flatten(1), out[:, H // 2 :].flatten(1)
    assert (sky.median(1).values < road.median(1).values).float().mean() > 0.8
    assert (out.flatten(1).amax(1) > 0.5).float().mean() > 0.8  # lamps
    without = faults.night(part_of(grey(64, 0.7)), draw(64), sky=None).images.mean(1)
    assert without[:, : H // 2].mean() > out[:, : H // 2].mean()


def test_a_veil_takes_contrast_and_adds_light() -> None:
    images = grey(32, 0.0)
    images[:, :, :, ::2] = 0.6
    out = faults.veil(part_of(images), draw(32)).images
    contrast = (out[..., ::2] - out[..., 1::2]).mean((1, 2, 3))
    assert (contrast < 0.6).all()
    assert contrast.min() < 0.3
    assert (out.mean((1, 2, 3)) > 0.3).all()


def test_noise_has_no_mean_and_the_deviation_asked_for() -> None:
    deviation = torch.tensor([0.02, 0.05])[:, None, None, None]
    noise = faults.noisy(grey(2), draw(2), deviation=deviation) - 0.5
    # the green is never mixed with another colour
    assert noise[:, 1].std((1, 2)) == pytest.approx(deviation.flatten(), rel=0.1)
    assert noise.mean((1, 2, 3)).abs().max() < 0.005
