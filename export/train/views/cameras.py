"""Views as cameras give them that are not those of the data sets: other places, lenses, nights.

It decides which views of a batch have which fault and draws the own bonnet; the faults of picture
and light are in export.train.views.faults.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from export.data.class_set import Classes
from export.data.labelled import UNLABELLED
from export.train.batch import MIN_SIDE_PX, MIN_VISIBLE, Batch, drawn
from export.train.views.faults import Draw, blocks, grain, night, smear, soften, veil

CHANGED = ("images", "labels", "crowd")
"""What a fault may change of a batch."""


class Cameras:
    """Gives each view each of the faults with the given ``chance``, one after the other.

    First what stands in the scene, then light, lens, sensor and coding, as in a camera. What a
    fault costs depends on the views that have it alone: on the share ``chance`` of a batch.
    """

    def __init__(self, chance: float, classes: Classes) -> None:
        sky = classes.mask.index_of("sky")
        alone = sky is not None and classes.mask.members[sky] == ("sky",)
        self.chance = chance
        self.faults: tuple[Callable[[Batch, Draw], Batch], ...] = (
            bonnet, partial(night, sky=sky if alone else None), veil, smear, soften, grain, blocks,
        )  # fmt: skip

    def __call__(self, batch: Batch, *, generator: torch.Generator) -> Batch:
        """The batch with some of its views changed; images are float (B, 3, h, w)."""
        size, device = batch.images.shape[0], batch.images.device
        # so many of a batch, and those with what is left of the chance: no count of views that
        # only the device knows
        most = math.ceil(self.chance * size)
        if not most:
            return batch
        made = {name: getattr(batch, name).clone() for name in CHANGED}
        draw = Draw(most, generator, device)
        for fault in self.faults:
            index = drawn(1, batch, generator)[0].argsort()[:most]
            there = draw.between(0, 1) < self.chance * size / most
            shown = {name: value[index] for name, value in made.items()}
            before = Batch(boxes=batch.boxes[index], class_ids=batch.class_ids[index], **shown)
            after = fault(before, draw)
            for name, value in made.items():
                chosen = there.view(-1, *[1] * (value.ndim - 1))
                new = torch.where(chosen, getattr(after, name), shown[name])
                value.index_copy_(0, index, new)
        return replace(batch, **made)


def bonnet(part: Batch, draw: Draw) -> Batch:
    """The own bonnet at the bottom, of no label: no data set has one to learn.

    An object of which it leaves less than MIN_VISIBLE or MIN_SIDE_PX is a region that no loss
    counts; the boxes of others stay whole.
    """
    images = part.images
    h, w = images.shape[2:]
    x = (torch.arange(w, device=images.device) + 0.5) / w
    beside = (x - draw.between(0.4, 0.6, 1)) / draw.between(0.4, 0.9, 1)  # (K, w)
    edge = h * (1 - draw.between(0.05, 0.22, 1) * (1 - beside.abs() ** 2.5))  # its upper line
    row = torch.arange(h, device=images.device)[:, None] + 0.5
    depth = (row - edge[:, None])[:, None]  # (K, 1, h, w), px below that line
    # paint, and the sky that it mirrors
    paint = draw.between(0.02, 0.35, 1, 1, 1) * (1 + draw.between(-0.3, 0.3, 3, 1, 1))
    shine = draw.between(0, 0.4, 1, 1, 1) * (-depth / (0.05 * h)).clamp(max=0).exp()
    images = torch.lerp(images, (paint + shine).clamp(0, 1), depth.clamp(0, 1))
    labels = torch.where(depth[:, 0] > 0, UNLABELLED, part.labels)

    x0, y0, x1, y1 = (v[..., None] for v in part.boxes.unbind(-1))  # (K, M, 1)
    column = torch.arange(w, device=images.device) + 0.5
    inside = (column > x0) & (column < x1)
    seen = torch.where(inside, (edge[:, None].minimum(y1) - y0).clamp(min=0), 0.0)  # (K, M, w)
    whole = torch.where(inside, y1 - y0, 0.0).sum(-1)
    hidden = (seen.sum(-1) < whole) & (part.class_ids >= 0)
    little = (seen.sum(-1) < MIN_VISIBLE * whole) | (seen.amax(-1) < MIN_SIDE_PX)
    return replace(part, images=images, labels=labels, crowd=part.crowd | (hidden & little))
