"""Views put together from four: each quarter of a view shows another view of the batch.

Around a random point, as in RICAP (arXiv 1811.09030), but a quarter stays in its place, so that
sky remains above and road below.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from export.train.batch import Batch, box_sides, drawn, shown_in

QUARTERS = 4
ROOM, LEAST_ROOM = 2, 16
"""A mosaic has space for ROOM times the boxes of the fullest view, and for LEAST_ROOM at least:
of CamVid train, whose frames have up to 28, the fullest of 10,800 mosaics had 42."""


@dataclass(frozen=True, slots=True)
class Mosaic:
    """Makes a view a mosaic with the given ``chance``; the lines lie in its middle half.

    Of a box as the view showed it, MIN_VISIBLE must remain in the quarter, and MIN_SIDE_PX of each
    side that is cut; less becomes a region that no loss counts.
    """

    chance: float

    def __call__(self, batch: Batch, *, generator: torch.Generator) -> Batch:
        """The batch with some of its views replaced; images are float (B, 3, h, w).

        B must be 4 or more: with fewer, one view would fill two quarters, and its objects would be
        cut at a line that nobody sees.
        """
        h, w = batch.images.shape[2:]
        device = batch.images.device
        chance, across, down = drawn(3, batch, generator)
        there = chance < self.chance
        # a view that stays whole is its own first quarter
        cx = torch.where(there, ((0.25 + across / 2) * w).round(), float(w))
        cy = torch.where(there, ((0.25 + down / 2) * h).round(), float(h))
        right = torch.arange(w, device=device) >= cx[:, None]  # (B, w)
        below = torch.arange(h, device=device) >= cy[:, None]  # (B, h)
        quarter = below[:, :, None].long() * 2 + right[:, None].long()  # (B, h, w)
        images, labels = batch.images, batch.labels
        parts = [self._in_quarter(batch, 0, cx, cy)]
        for k in range(1, QUARTERS):
            # the neighbours in the batch, which is in random order
            here = quarter == k
            images = torch.where(here[:, None], batch.images.roll(-k, 0), images)
            labels = torch.where(here, batch.labels.roll(-k, 0), labels)
            parts.append(self._in_quarter(batch, k, cx, cy))
        boxes, ids, crowd = (torch.cat(p, dim=1) for p in zip(*parts, strict=True))
        room = max(ROOM * batch.class_ids.shape[1], LEAST_ROOM)
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
        low = torch.stack([x0, y0], dim=-1)[:, None]  # (B, 1, 2)
        high = torch.stack([x1, y1], dim=-1)[:, None]
        whole, ids, crowd = (t.roll(-k, 0) for t in (batch.boxes, batch.class_ids, batch.crowd))
        boxes, ids, crowd, little = shown_in(low, high, whole, ids, crowd)
        cut = (box_sides(boxes) < box_sides(whole)).any(-1)
        return boxes, ids, crowd | (cut & little)
