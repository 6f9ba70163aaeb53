"""Views put together from four: each quarter of a view shows another image of the batch.

A quarter stays in its place, so that sky remains above and road below. YOLOv4 (arXiv 2004.10934)
does the like with whole images; cutting views on the device costs next to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from export.augment import Batch

QUARTERS = 4
ROOM = 2
"""A mosaic has space for this many times the boxes of the fullest image; it is never near it."""


@dataclass(frozen=True, slots=True)
class Mosaic:
    """Makes a view a mosaic with the given ``chance``; the lines lie in its middle half."""

    chance: float
    min_visible: float = 0.35
    """Share of a box that must remain in its quarter; less becomes a region that no loss counts."""
    min_side_px: float = 3.0

    def __call__(self, batch: Batch, *, generator: torch.Generator) -> Batch:
        """The batch with some of its views replaced; images are float (B, 3, h, w)."""
        b, _, h, w = batch.images.shape
        device = batch.images.device
        drawn = torch.rand(3, b, generator=generator, device=generator.device).to(device)
        there = drawn[0] < self.chance
        # a view that stays whole is its own first quarter
        cx = torch.where(there, ((0.25 + drawn[1] / 2) * w).round(), float(w))
        cy = torch.where(there, ((0.25 + drawn[2] / 2) * h).round(), float(h))
        right = torch.arange(w, device=device) >= cx[:, None]  # (B, w)
        below = torch.arange(h, device=device) >= cy[:, None]  # (B, h)
        quarter = below[:, :, None].long() * 2 + right[:, None].long()  # (B, h, w)
        images, labels = batch.images, batch.labels
        parts = [self._in_quarter(batch, 0, cx, cy)]
        for k in range(1, QUARTERS):
            # the neighbours in the batch, which is in random order; with fewer than four images
            # some quarters are of the same one
            here = quarter == k
            images = torch.where(here[:, None], batch.images.roll(-k, 0), images)
            labels = torch.where(here, batch.labels.roll(-k, 0), labels)
            parts.append(self._in_quarter(batch, k, cx, cy))
        boxes, ids, crowd = (torch.cat(p, dim=1) for p in zip(*parts, strict=True))
        room = ROOM * batch.class_ids.shape[1]
        kept = torch.sort((ids < 0).byte(), dim=1, stable=True)[1][:, :room]  # objects first
        return Batch(
            images, labels, boxes.gather(1, kept[..., None].expand(-1, -1, 4)),
            ids.gather(1, kept), crowd.gather(1, kept),
        )  # fmt: skip

    def _in_quarter(
        self, batch: Batch, k: int, cx: Tensor, cy: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes, classes and crowds of the k-th neighbours as far as their quarter shows them."""
        h, w = batch.images.shape[2:]
        none, width, height = torch.zeros_like(cx), torch.full_like(cx, w), torch.full_like(cy, h)
        x0, x1 = (cx, width) if k % 2 else (none, cx)
        y0, y1 = (cy, height) if k // 2 else (none, cy)
        whole = batch.boxes.roll(-k, 0)  # (B, M, 4)
        low = torch.stack([x0, y0], dim=-1)[:, None]  # (B, 1, 2)
        high = torch.stack([x1, y1], dim=-1)[:, None]
        start, end = whole[..., :2].clamp(low, high), whole[..., 2:].clamp(low, high)
        sides = end - start
        area = (whole[..., 2:] - whole[..., :2]).prod(-1)
        ids = batch.class_ids.roll(-k, 0)
        there = (ids >= 0) & (sides > 0).all(-1)
        seen = sides.prod(-1) >= self.min_visible * area
        seen &= (sides >= self.min_side_px).all(-1)
        cut = (sides < whole[..., 2:] - whole[..., :2]).any(-1)
        crowd = there & (batch.crowd.roll(-k, 0) | (cut & ~seen))
        return torch.cat([start, end], dim=-1), torch.where(there, ids, -1), crowd
