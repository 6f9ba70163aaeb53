"""What layers and networks of the zoo do, measured: checkerboards, fields, unpooling. Pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from export.zoo.mask_net import MaskNet
from export.zoo.unpool import unpool, where_largest

EFFECTIVE = 1 - 0.9545
"""Share of the largest gradient from which a pixel counts (two sigmas; arXiv 1701.04128)."""
BATCH, SIDE, EDGE = 8, 64, 16
"""Images a step, their side, and what is cut off on each side for the padding's sake, px."""


class Chain(MaskNet):
    """Any layers as a network of the zoo."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def logits(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) → what the layers make of it."""
        out: Tensor = self.layers(x)
        return out


def dilated(rates: Sequence[int]) -> Chain:
    """3×3 convolutions of one channel and of positive weights; the first reads three channels."""
    layers = [nn.Conv2d(1 if i else 3, 1, 3, 1, r, r, bias=False) for i, r in enumerate(rates)]
    return opened(Chain(*layers))


def opened(net: Chain) -> Chain:
    """All weights positive and equal, no bias: every path shows in the gradient."""
    with torch.no_grad():
        for p in net.parameters():
            p.fill_(1 / p[0].numel() if p.ndim > 1 else 0)
    return net


def matrix_of(kernel: Tensor, side: int) -> Tensor:
    """The matrix ((side-k+1)², side²) by which a k×k convolution without padding multiplies."""
    units = torch.eye(side * side).view(-1, 1, side, side)
    return F.conv2d(units, kernel[None, None]).flatten(1).T


def nyquist_share(images: Tensor) -> float:
    """Share of the energy of (N, 1, H, W), even sides, that changes sign from pixel to pixel.

    Along rows, columns or both; the constant part counts as energy, too.
    """
    power = torch.fft.fft2(images).abs().square().sum((0, 1))
    h, w = (n // 2 for n in power.shape)
    return float((power[h].sum() + power[:, w].sum() - power[h, w]) / power.sum())


def enlarging(way: str, c_in: int, c_out: int) -> nn.Module:
    """×2 by a transposed convolution 'k3' or 'k4', or by 'resize': nearest, then 3×3."""
    if way == "k3":
        return nn.ConvTranspose2d(c_in, c_out, 3, 2, 1, output_padding=1)
    if way == "k4":
        return nn.ConvTranspose2d(c_in, c_out, 4, 2, 1)
    return nn.Sequential(
        nn.Upsample(scale_factor=2),
        nn.Conv2d(c_in, c_out, 3, padding=1, padding_mode="replicate"),
    )


def untrained(way: str, *, seed: int | None) -> Tensor:
    """What one layer makes of a constant map, its border cut: (1, 1, 32, 32).

    Weights are all one, or drawn from 0 to 1 with ``seed``.
    """
    layer = enlarging(way, 8, 1)
    draw = torch.Generator().manual_seed(seed or 0)
    with torch.no_grad():
        for p in layer.parameters():
            if p.ndim == 1:
                p.zero_()
            elif seed is None:
                p.fill_(1.0)
            else:
                p.copy_(torch.rand(p.shape, generator=draw))
        out: Tensor = layer(torch.ones(1, 8, 20, 20))
    return out[:, :, 4:36, 4:36]


def discs(count: int, draw: torch.Generator) -> Tensor:
    """(N, 1, SIDE, SIDE) of 0..1: three soft discs each on a slope of grey."""
    y, x = (
        v.float() for v in torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    )
    r = torch.rand(count, 3, 4, 1, 1, generator=draw)
    away = ((x - r[:, :, 0] * SIDE).square() + (y - r[:, :, 1] * SIDE).square()).sqrt()
    inside = torch.sigmoid(6 + r[:, :, 2] * 8 - away)  # (N, 3, SIDE, SIDE)
    image = 0.3 + 0.3 * r[:, :1, 3] * x / SIDE
    for i in range(3):
        image = torch.lerp(image, r[:, i : i + 1, 3].expand_as(image), inside[:, i : i + 1])
    return image


def taught(way: str, *, seed: int, steps: int) -> tuple[Tensor, Tensor]:
    """Images that were not learnt from, and what an autoencoder through stride 8 makes of them.

    Their middles; ``steps`` of eight images take seconds on one thread.
    """
    torch.manual_seed(seed)
    down = [
        nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.ReLU()) for a, b in pairwise((1, 16, 32, 32))
    ]
    up = [nn.Sequential(enlarging(way, 32, 32), nn.ReLU()) for _ in range(2)]
    net = nn.Sequential(*down, *up, enlarging(way, 32, 1))
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    draw = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        images = discs(BATCH, draw)
        loss = F.mse_loss(net(images), images)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    images, middle = discs(32, torch.Generator().manual_seed(99)), slice(EDGE, SIDE - EDGE)
    with torch.no_grad():
        return images[:, :, middle, middle], net(images)[:, :, middle, middle]


def slopes(net: nn.Module, height: int, width: int) -> NDArray[np.float64]:
    """How much each pixel of noise moves the middle pixel's logits: (H, W), the largest is 1.

    The norms take the statistics of another image first: nothing was learnt.
    """
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        net.train()(torch.rand(2, 3, 128, 128))
    image = torch.rand(1, 3, height, width, requires_grad=True)
    mask = net.eval()(image).mask
    (slope,) = torch.autograd.grad(mask[0, :, mask.shape[2] // 2, mask.shape[3] // 2].sum(), image)
    by_pixel = slope.abs().sum((0, 1)).double().numpy()
    return np.asarray(by_pixel / by_pixel.max())


def extent(slope: NDArray[np.float64]) -> int:
    """Rows from the first to the last pixel that counts at all."""
    rows = np.flatnonzero(slope.any(axis=1))
    return int(rows[-1] - rows[0]) + 1


def square(slope: NDArray[np.float64], side: float) -> tuple[float, ...]:
    """Left, top and side of a square over the middle of the pixels that count at all."""
    ends = [np.flatnonzero(slope.any(axis=axis))[[0, -1]] for axis in (0, 1)]
    return (*(float(first + last + 1 - side) / 2 for first, last in ends), side)


def effective(slope: NDArray[np.float64]) -> float:
    """Side of a square with as many pixels as count for more than EFFECTIVE."""
    return float(np.sqrt((slope > EFFECTIVE).sum()))


def pooled_and_back(image: Tensor, times: int) -> dict[str, Tensor]:
    """An image (1, 1, H, W) after 2×2 max-pooling, and enlarged again in three ways."""
    small, places = image, []
    for _ in range(times):
        places.append(where_largest(small))
        small = F.max_pool2d(small, 2)
    put_back = small
    for where in reversed(places):
        put_back = unpool(put_back, where)
    scale = float(2**times)
    return {
        "image": image,
        "bilinear": F.interpolate(small, scale_factor=scale, mode="bilinear"),
        "unpooled": put_back,
        "unpooled, mean of 7×7": _spread(put_back),
    }


def _spread(sparse: Tensor) -> Tensor:
    """What a convolution can make of it: of each 7×7 the mean of what is there."""
    window = torch.ones(1, 1, 7, 7)  # holds a whole 4×4, so something is there
    values, there = (F.conv2d(x, window, padding=3) for x in (sparse, (sparse > 0).float()))
    return values / there.clamp(min=1)


def picture(
    path: Path, panels: Mapping[str, NDArray[Any]], *, columns: int,
    boxes: Mapping[str, tuple[float, ...]], width: float = 2.1, fixed: bool = False,
) -> None:  # fmt: skip
    """Write panels with their titles; ``boxes`` are left, top and side of squares."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.patches import Rectangle

    rows = -(-len(panels) // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(columns * width, rows * (width + 0.25)), layout="constrained",
        squeeze=False,
    )  # fmt: skip
    for axis in axes.flat:
        axis.axis("off")
    for axis, (title, image) in zip(axes.flat, panels.items(), strict=False):
        limits: dict[str, float] = {"vmin": 0, "vmax": 1} if fixed else {}
        axis.imshow(image, cmap="gray" if not boxes else "magma", interpolation="nearest", **limits)
        axis.set_title(title, fontsize=9)
        if box := boxes.get(title):
            x, y, side = box
            axis.add_patch(
                Rectangle((x - 0.5, y - 0.5), side, side, fill=False, edgecolor="cyan", lw=1)
            )
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
