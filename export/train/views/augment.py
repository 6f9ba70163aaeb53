"""Random views of labelled images, made on the device that trains: scale, shift, mirror, colour.

It takes a whole batch at once and draws every random number from the generator it is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from export.data.labelled import UNLABELLED
from export.train.batch import Batch, shown_in
from export.train.views.faults import Draw

PAD = 114 / 255
"""Grey outside the image: the letterbox padding that the network meets in the app."""

LIFT = 0.25
"""Share of the height by which a lower or tilted camera may move the horizon."""


@dataclass(frozen=True, slots=True)
class Augment:
    """How far a view may stray; ``scale`` is relative to the size that the app gives the image."""

    size_hw: tuple[int, int] = (320, 448)
    base_scale: tuple[float, float] = (384 / 360, 384 / 360)
    """Across and down, by which the app would enlarge the image."""
    scale: tuple[float, float] = (0.65, 1.7)
    stretch: float = 0.15
    brightness: float = 0.35
    contrast: float = 0.35
    saturation: float = 0.5
    tint: float = 0.08
    gamma: float = 0.0
    """Brightness is raised to a power of e^−gamma to e^gamma: dusk and glare."""
    lift: float = 0.0
    """Chance of a view to be moved up or down by up to LIFT, its edge in grey: other mountings."""

    def __call__(self, batch: Batch, *, generator: torch.Generator) -> Batch:
        """A random view of every image. ``batch.images`` is uint8 (B, 3, h, w) here."""
        images = batch.images
        b, _, h, w = images.shape
        out_h, out_w = self.size_hw
        device = images.device

        uniform = Draw(b, generator, device).between
        scale = uniform(math.log(self.scale[0]), math.log(self.scale[1])).exp()  # (B,)
        stretch = uniform(-self.stretch, self.stretch).exp().sqrt()
        sx, sy = scale * stretch * self.base_scale[0], scale / stretch * self.base_scale[1]
        mirror = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
        # where the view's corner falls on the scaled image; a smaller image floats in grey padding
        left = uniform(0, 1) * (w * sx - out_w)
        top = uniform(0, 1) * (h * sy - out_h)
        if self.lift:
            top = top + (uniform(0, 1) < self.lift) * uniform(-LIFT, LIFT) * out_h

        # view pixel → image pixel, as normalised coordinates of grid_sample (align_corners=False)
        xs = torch.arange(out_w, device=device) + 0.5
        ys = torch.arange(out_h, device=device) + 0.5
        gx = ((xs + left[:, None]) / sx[:, None]) * 2 / w - 1  # (B, out_w)
        gy = ((ys + top[:, None]) / sy[:, None]) * 2 / h - 1  # (B, out_h)
        gx = gx * mirror[:, None]
        grid = torch.stack(
            [gx[:, None].expand(b, out_h, out_w), gy[:, :, None].expand(b, out_h, out_w)], dim=-1
        )
        # sampling around the padding grey makes grid_sample's zero padding come out as that grey
        view = F.grid_sample(images.float() / 255 - PAD, grid, align_corners=False) + PAD
        labels = F.grid_sample(
            batch.labels[:, None].float() - UNLABELLED, grid, mode="nearest", align_corners=False
        )
        labels = (labels[:, 0] + UNLABELLED).round().long()  # (B, out_h, out_w)

        x = batch.boxes[..., 0::2]  # (B, M, 2)
        x = torch.where(mirror[:, None, None] < 0, w - x.flip(-1), x)
        x = x * sx[:, None, None] - left[:, None, None]
        y = batch.boxes[..., 1::2] * sy[:, None, None] - top[:, None, None]
        boxes = torch.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], dim=-1)
        corner = boxes.new_tensor([out_w, out_h])
        boxes, ids, crowd, little = shown_in(
            torch.zeros_like(corner), corner, boxes, batch.class_ids, batch.crowd
        )
        return Batch(self._colour(view, uniform), labels, boxes, ids, crowd | little)

    def _colour(self, view: Tensor, draw: Callable[..., Tensor]) -> Tensor:
        gain = 1 + draw(-self.brightness, self.brightness, 1, 1, 1)
        contrast = 1 + draw(-self.contrast, self.contrast, 1, 1, 1)
        saturation = 1 + draw(-self.saturation, self.saturation, 1, 1, 1)
        tint = 1 + draw(-self.tint, self.tint, 3, 1, 1)
        if self.gamma:
            view = view.clamp(min=0) ** draw(-self.gamma, self.gamma, 1, 1, 1).exp()
        view = view * gain * tint
        mean = view.mean((1, 2, 3), keepdim=True)
        view = (view - mean) * contrast + mean
        grey = view.mean(1, keepdim=True)
        toned: Tensor = ((view - grey) * saturation + grey).clamp(0, 1)
        return toned
