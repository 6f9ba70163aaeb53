"""The street network: sizes, shapes and what it is made of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from docs.experiments.anchors import k_means_anchors
from export.train.net.street import ANCHORS, STRIDES, StreetNet
from export.zoo.layers import Depthwise


@pytest.mark.parametrize(("h", "w"), [(64, 96), (96, 64), (32, 160)])
def test_any_multiple_of_32_goes_through(h: int, w: int) -> None:
    net = StreetNet().eval()
    with torch.no_grad():
        boxes, mask = net(torch.zeros(2, 3, h, w))
    assert [tuple(b.shape) for b in boxes] == [(2, 27, h // s, w // s) for s in STRIDES]
    assert tuple(mask.shape) == (2, 11, h // 4, w // 4)


def test_it_stays_under_two_million_parameters() -> None:
    assert sum(p.numel() for p in StreetNet().parameters()) <= 2_000_000


def test_every_spatial_convolution_but_the_stem_is_depthwise() -> None:
    net = StreetNet()
    wide = [
        name
        for name, m in net.named_modules()
        if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1) and m.groups != m.in_channels
    ]
    assert wide == ["backbone.stem.0"]


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2), (1, 4)])
def test_a_depthwise_step_learns_the_same_in_mixed_precision(stride: int, dilation: int) -> None:
    torch.manual_seed(0)
    step = Depthwise(32, stride=stride, dilation=dilation)
    image = torch.randn(2, 32, 16, 24).contiguous(memory_format=torch.channels_last)
    gradients = []
    for mixed in (False, True):
        x = image.clone().to(torch.bfloat16 if mixed else torch.float32).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            out = step(x)
        assert out.dtype == x.dtype
        step.zero_grad()
        (out.float() ** 2).mean().backward()
        assert x.grad is not None
        assert step.weight.grad is not None
        gradients.append((x.grad.float(), step.weight.grad))
        if mixed:  # in float32 the weights are not rounded: only then are all bits the same
            precise = nn.functional.conv2d(
                x.float(), step.weight, None, stride, dilation, dilation, groups=32
            )
            assert torch.equal(out, precise.to(torch.bfloat16)) == (stride > 1 or dilation > 1)
    for wanted, got in zip(*gradients, strict=True):
        assert (got - wanted).abs().max() < 0.03 * wanted.abs().max()


def test_anchors_grow_from_stride_to_stride() -> None:
    areas = np.prod(np.array(ANCHORS).reshape(9, 2), axis=1)
    assert (np.diff(areas) > 0).all()


def test_k_means_finds_two_kinds_of_boxes() -> None:
    rng = np.random.default_rng(0)
    small = rng.normal((10, 20), 0.5, (200, 2))
    large = rng.normal((80, 40), 0.5, (100, 2))
    shapes = k_means_anchors(np.concatenate([small, large]).astype(np.float32), 2, seed=0)
    assert np.allclose(shapes, [[10, 20], [80, 40]], atol=1.0)
