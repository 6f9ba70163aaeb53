"""Labelled images as tensors, and the rule for objects of which a view shows a part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from export.zoo.boxes.targets import box_sides as box_sides

MIN_VISIBLE = 0.35
"""Share of a box that must remain in a view; less becomes a region that no loss counts."""
MIN_SIDE_PX = 3.0
"""Sides of a box in a view that are shorter make it such a region, too."""


class Known(NamedTuple):
    """Which classes of boxes (B, C) and of the mask (B, K) the data set of each image labels."""

    boxes: Tensor
    mask: Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """Some labelled images.

    Images (B, 3, H, W) RGB 0..1; labels (B, H, W) int64; boxes (B, M, 4) xyxy px; class_ids (B, M),
    −1 for none; crowd (B, M) bool marks regions that no loss counts. ``known`` is None where every
    class is labelled in every image.
    """

    images: Tensor
    labels: Tensor
    boxes: Tensor
    class_ids: Tensor
    crowd: Tensor
    known: Known | None = field(default=None, kw_only=True)


def joined(parts: Sequence[Batch], order: Tensor) -> Batch:
    """Batches of one size as one, in the ``order`` (B,) given; with room for all objects."""
    most = max(part.class_ids.shape[1] for part in parts)

    def padded(values: Sequence[Tensor], fill: float) -> Tensor:
        # the objects are the second axis of all three
        wide = [
            F.pad(v, (0, 0) * (v.ndim - 2) + (0, most - v.shape[1]), value=fill) for v in values
        ]
        return torch.cat(wide)[order]

    known = [part.known for part in parts if part.known is not None]
    return Batch(
        torch.cat([part.images for part in parts])[order],
        torch.cat([part.labels for part in parts])[order],
        padded([part.boxes for part in parts], 0),
        padded([part.class_ids for part in parts], -1),
        padded([part.crowd for part in parts], 0),
        known=Known(*(torch.cat(rows)[order] for rows in zip(*known, strict=True)))
        if known
        else None,
    )


def drawn(count: int, batch: Batch, generator: torch.Generator) -> Tensor:
    """Random numbers (count, B) of 0 to 1, on the device of the batch."""
    shape = (count, batch.images.shape[0])
    return torch.rand(shape, generator=generator, device=generator.device).to(batch.images.device)


def shown_in(
    low: Tensor, high: Tensor, boxes: Tensor, class_ids: Tensor, crowd: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Objects as a window shows them whose corners are ``low`` and ``high`` (…, 2) px.

    Returns boxes, class ids and crowds, and which of the objects are shown too little to count.
    """
    cut = torch.cat([boxes[..., :2].clamp(low, high), boxes[..., 2:].clamp(low, high)], dim=-1)
    sides = box_sides(cut)
    there = (class_ids >= 0) & (sides > 0).all(-1)
    visible = sides.prod(-1) / box_sides(boxes).prod(-1).clamp(min=1e-6)
    little = (visible < MIN_VISIBLE) | (sides < MIN_SIDE_PX).any(-1)
    return cut, torch.where(there, class_ids, -1), there & crowd, there & little
