"""What other cameras do to a picture: night, veil, motion blur, softness, noise, block coding.

Each takes some views and numbers to draw from, and returns them as such a camera shows them; none
asks the device for a value, moves an object, or changes what a pixel is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from export.train.batch import Batch

LAMPS = 8
"""Lamps that a night may show."""
REACH = 5
"""A blur takes in so many pixels to each side: at 640 px, 1/60 s at 20 °/s of turn."""
BLOCK = 8
CODED = 2 * BLOCK
"""Blocks are BLOCK px wide, those of the colours twice that (4:2:0)."""


@dataclass(frozen=True, slots=True)
class Draw:
    """Random numbers for ``count`` views; drawn where the generator is, used on ``device``."""

    count: int
    generator: torch.Generator
    device: torch.device

    def between(self, low: float, high: float, *shape: int) -> Tensor:
        """Even in low to high, (count, *shape)."""
        drawn = torch.rand(
            (self.count, *shape), generator=self.generator, device=self.generator.device
        )
        return (low + (high - low) * drawn).to(self.device)

    def normal(self, *shape: int) -> Tensor:
        """Of mean 0 and variance 1, (count, *shape)."""
        drawn = torch.randn(
            (self.count, *shape), generator=self.generator, device=self.generator.device
        )
        return drawn.to(self.device)


def spots(size_hw: tuple[int, int], *, centre: Tensor, radius: Tensor, colour: Tensor) -> Tensor:
    """Sum (K, C, h, w) of N Gaussian spots of light.

    Centres (K, N, 2) across and down, and radii (K, N, 2), in heights of the view; colours
    (K, N, C).
    """
    h, w = size_hw
    x = (torch.arange(w, device=centre.device) + 0.5) / h
    y = (torch.arange(h, device=centre.device) + 0.5) / h
    across = (-(((x - centre[..., :1]) / radius[..., :1]) ** 2) / 2).exp()  # (K, N, w)
    down = (-(((y - centre[..., 1:]) / radius[..., 1:]) ** 2) / 2).exp()  # (K, N, h)
    k, n, c = colour.shape
    rows = colour.transpose(1, 2)[..., None] * down[:, None]  # (K, C, N, h)
    rows = rows.transpose(2, 3).reshape(k, c * h, n)
    return torch.bmm(rows, across).view(k, c, h, w)


def night(part: Batch, draw: Draw, *, sky: int | None) -> Batch:
    """Little light, a dark sky, lamps, the own headlights on the road, and a gain that is noisy.

    ``sky`` is the label of the sky; None where it is none of its own.
    """
    images = part.images
    h, w = images.shape[2:]
    aspect = w / h
    warm = draw.between(0, 1, 1, 1, 1)
    tint = torch.cat([1 - 0.25 * (1 - warm), 0.8 + 0.1 * warm, 1 - 0.45 * warm], dim=1)
    grey = images.mean(1, keepdim=True)
    images = torch.lerp(images, grey, draw.between(0, 0.6, 1, 1, 1))
    images = torch.lerp(images, images * images, draw.between(0, 1, 1, 1, 1))  # deeper shadows
    # what the street is lit by: all around, and by the own headlights
    ahead = torch.stack([draw.between(0.4, 0.6, 1) * aspect, draw.between(0.7, 1, 1)], dim=-1)
    reach = torch.stack([draw.between(0.3, 0.7, 1), draw.between(0.12, 0.3, 1)], dim=-1)
    light = draw.between(0.12, 0.45, 1, 1, 1) + spots(
        (h, w), centre=ahead, radius=reach, colour=draw.between(0, 0.6, 1, 1)
    )
    images = images * light * tint
    if sky is not None:
        # the bright rim around it, which labels give to what stands before it, is dark as well
        above = F.avg_pool2d((part.labels == sky)[:, None].float(), 4, ceil_mode=True)
        above = F.interpolate(above, (h, w), mode="bilinear", align_corners=False)  # (K, 1, h, w)
        above = (2 * above).clamp(max=1)
        glow = draw.between(0, 0.12, 1, 1, 1) * tint
        images = torch.lerp(images, images * 0.15 + glow, above)
    # the camera exposes for what it sees: dark, but not black
    exposed = torch.exp(draw.between(math.log(0.08), math.log(0.25), 1, 1, 1))
    images = images * (exposed / images.mean((1, 2, 3), keepdim=True).clamp(min=0.01))
    # lamps of all colours, a few of them strong, each a core and a halo
    place = torch.stack([draw.between(0, aspect, LAMPS), draw.between(0.1, 0.7, LAMPS)], dim=-1)
    core = torch.exp(draw.between(math.log(0.003), math.log(0.02), LAMPS, 1)).expand(-1, -1, 2)
    white, red = draw.between(0.5, 1, LAMPS), (draw.between(0, 1, LAMPS) < 0.3).float()
    strength = draw.between(-1, 2, LAMPS).clamp(min=0)[..., None]
    shine = torch.stack([torch.ones_like(white), white, 2 * white - 1], dim=-1)
    shine = shine * (1 - red[..., None] * shine.new_tensor([0, 0.8, 0.8])) * strength
    images = images + spots(
        (h, w),
        centre=torch.cat([place, place], dim=1),
        radius=torch.cat([core, 6 * core], dim=1),
        colour=torch.cat([shine, 0.15 * shine], dim=1),
    )
    images = images - draw.between(0, 0.04, 1, 1, 1)  # what the sensor gives up as dark
    return replace(part, images=noisy(images, draw, deviation=draw.between(0.005, 0.04, 1, 1, 1)))


def veil(part: Batch, draw: Draw) -> Batch:
    """Haze that thickens upwards, or a low sun: light over the picture that takes its contrast."""
    images = part.images
    h, w = images.shape[2:]
    up = 1 - torch.linspace(0, 1, h, device=images.device)[:, None]  # (h, 1)
    sun = torch.stack([draw.between(0, w / h, 1), draw.between(-0.1, 0.5, 1)], dim=-1)
    radius = draw.between(0.15, 0.6, 1, 1).expand(-1, -1, 2)
    share = draw.between(0, 0.35, 1, 1, 1) + draw.between(0, 0.35, 1, 1, 1) * up
    glare = draw.between(-0.7, 0.9, 1, 1).clamp(min=0)
    share = share + spots((h, w), centre=sun, radius=radius, colour=glare)
    light = draw.between(0.65, 1, 1, 1, 1) + draw.between(-0.06, 0.06, 3, 1, 1)
    return replace(part, images=torch.lerp(images, light, share.clamp(max=0.95)).clamp(0, 1))


def smear(part: Batch, draw: Draw) -> Batch:
    """Blur along a line, as a camera makes it that shakes or turns while it exposes."""
    length = draw.between(1, REACH, 1, 1)  # half of it
    angle = draw.between(0, math.pi, 1, 1)
    x, y = _offsets(part.images.device)
    along = (x * angle.cos() + y * angle.sin()).abs()  # (K, s, s)
    beside = (y * angle.cos() - x * angle.sin()).abs()
    kernels = (length + 0.5 - along).clamp(0, 1) * (1 - beside).clamp(min=0)
    return replace(part, images=blurred(part.images, kernels))


def soften(part: Batch, draw: Draw) -> Batch:
    """Blur all around: out of focus, a cheap lens, or a small picture that was enlarged."""
    sigma = torch.exp(draw.between(math.log(0.5), math.log(REACH / 2.5), 1, 1))
    x, y = _offsets(part.images.device)
    return replace(part, images=blurred(part.images, (-(x**2 + y**2) / 2 / sigma**2).exp()))


def _offsets(device: torch.device) -> tuple[Tensor, Tensor]:
    """Columns (1, 1, s) and rows (1, s, 1) of a kernel, counted from its middle."""
    steps = torch.arange(-REACH, REACH + 1, device=device, dtype=torch.float32)
    return steps[None, None], steps[None, :, None]


def blurred(images: Tensor, kernels: Tensor) -> Tensor:
    """Each image (K, 3, h, w) under its own kernel (K, s, s), which need not add up to one."""
    kernels = kernels / kernels.sum((1, 2), keepdim=True)
    edged = F.pad(images, (REACH,) * 4, mode="replicate")
    # as channels of one image: many narrow images would cost a CPU three times as much
    channels = edged.flatten(0, 1)[None]  # (1, 3K, …)
    weights = kernels.repeat_interleave(3, dim=0)[:, None]  # (3K, 1, s, s)
    return F.conv2d(channels, weights, groups=len(weights)).view_as(images)


def grain(part: Batch, draw: Draw) -> Batch:
    """The noise of a small sensor, in fine grain or coarse."""
    return replace(
        part, images=noisy(part.images, draw, deviation=draw.between(0.01, 0.06, 1, 1, 1))
    )


def noisy(images: Tensor, draw: Draw, *, deviation: Tensor) -> Tensor:
    """Images with noise added, more of it in the colours of some than of others; 0..1."""
    noise = draw.normal(*images.shape[1:])
    common = draw.between(0, 1, 1, 1, 1)
    noise = torch.lerp(noise, noise[:, 1:2], common)
    return (images + noise * deviation).clamp(0, 1)


def blocks(part: Batch, draw: Draw) -> Batch:
    """Coded as a camera with a narrow link does: JPEG's blocks, a quarter of the colours."""
    images = part.images
    h, w = images.shape[2:]
    # an edge that is repeated makes whole blocks, wherever the first one begins
    high, wide = (math.ceil((side + CODED) / CODED) * CODED for side in (h, w))
    top, left = (draw.between(0, CODED, 2)[0]).long()
    rows = torch.arange(high, device=images.device) - top
    columns = torch.arange(wide, device=images.device) - left
    coded = images[:, :, rows.clamp(0, h - 1)[:, None], columns.clamp(0, w - 1)]
    coarseness = torch.exp(draw.between(math.log(0.5), math.log(6), 1, 1, 1, 1, 1))
    coded = as_coded(coded, coarseness * _steps(images.device))
    rows = torch.arange(h, device=images.device) + top
    columns = torch.arange(w, device=images.device) + left
    return replace(part, images=coded[:, :, rows[:, None], columns].clamp(0, 1))


def _steps(device: torch.device) -> Tensor:
    """Steps (8, 1, 8) of the coefficients at quality 50.

    A plane through the luminance table of JPEG (ITU-T T.81, table K.1), which goes from 16 to 99.
    """
    u = torch.arange(BLOCK, device=device)
    return (12 + 6 * (u[:, None, None] + u)) / 255


def as_coded(images: Tensor, steps: Tensor) -> Tensor:
    """Images (K, 3, h, w) whose brightness and halved colours have gone through ``quantised``.

    h and w are multiples of CODED.
    """
    r, g, b = images.chunk(3, dim=1)
    light = 0.299 * r + 0.587 * g + 0.114 * b  # ITU-R BT.601, as JFIF has it
    colours = F.avg_pool2d(torch.cat([b - light, r - light], dim=1), 2)
    light = quantised(light, steps)
    blue, red = F.interpolate(quantised(colours, steps), scale_factor=2.0).chunk(2, dim=1)
    green = -(0.299 * red + 0.114 * blue) / 0.587
    return light + torch.cat([red, green, blue], dim=1)


def quantised(planes: Tensor, steps: Tensor) -> Tensor:
    """Planes (K, C, h, w) whose blocks have coefficients that are multiples of ``steps``.

    Steps broadcast to (K, C, h/8, 8, w/8, 8): row of the block, its coefficient, column, its own.
    """
    k, c, h, w = planes.shape
    u = torch.arange(BLOCK, device=planes.device)[:, None]
    waves = torch.cos((2 * u.T + 1) * u * (math.pi / 2 / BLOCK)) / 2  # (8, 8): DCT-II
    waves = torch.where(u == 0, waves * math.sqrt(0.5), waves)
    high, wide = h // BLOCK, w // BLOCK
    turned = (waves @ planes.view(k, c, high, BLOCK, w)).view(k, c, high, BLOCK, wide, BLOCK)
    turned = ((turned @ waves.T) / steps).round() * steps
    back = (turned @ waves).view(k, c, high, BLOCK, w)
    return (waves.T @ back).view(k, c, h, w)
