"""Copy-paste of rare objects: poles, signs and people cut out of other frames by their labels.

The whole batch at once, on the device of the set (arXiv 2012.07177). An object keeps its height in
the frame, so that its size suits the distance; it moves sideways and may be mirrored.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import torch
from torch import Tensor

from export.data.class_set import Classes
from export.train.batch import Batch, box_sides, drawn
from export.train.dataset import TrainingSet
from export.train.recipe import OBJECTS

RARE = ("pole", "sign", "pedestrian", "bicyclist")
"""CamVid's classes with the fewest pixels among those that stand alone."""
MIN_AREA_PX = 80
"""Smaller things are specks by themselves."""
HIDDEN = 0.5
"""An object of which more than this lies behind a pasted one is a region that no loss counts."""


@dataclass(frozen=True, slots=True)
class Cutouts:
    """Rare objects of a set: image (n,), box (n, 4) xyxy whole px, label and box class (n,).

    The box class is −1 for what has no boxes. Sorted by label; those of the k-th rare class are
    ``count[k]`` from ``start[k]`` on.
    """

    image: Tensor
    box: Tensor
    label: Tensor
    box_class: Tensor
    start: Tensor
    count: Tensor

    def __len__(self) -> int:
        return int(self.image.shape[0])


def find_cutouts(data: TrainingSet, classes: Classes) -> Cutouts:
    """The objects of the photographs that can be cut out whole; crowds are left where they are."""
    rows: list[tuple[int, ...]] = []
    counts: list[int] = []
    shown = slice(data.real or None)
    labels = data.labels[shown].cpu().numpy()
    boxes, ids = data.boxes[shown].cpu().numpy(), data.class_ids[shown].cpu().numpy()
    crowd = data.crowd[shown].cpu().numpy()
    for label, members in enumerate(classes.mask.members):
        if not set(members) <= set(RARE):
            continue
        box_class = classes.boxes.index_of(members[0])
        found: list[tuple[int, ...]] = []
        for i, picture in enumerate(labels):
            if box_class is None:
                _, _, stats, _ = cv2.connectedComponentsWithStats((picture == label).astype("u1"))
                corners = [(x, y, x + w, y + h) for x, y, w, h, _ in stats[1:]]
            else:
                mine = boxes[i][(ids[i] == box_class) & ~crowd[i]]
                corners = [(int(x), int(y), int(u), int(v)) for x, y, u, v in mine.round()]
            for x0, y0, x1, y1 in corners:
                if int((picture[y0:y1, x0:x1] == label).sum()) >= MIN_AREA_PX:
                    found.append((i, x0, y0, x1, y1, label, -1 if box_class is None else box_class))
        if found:
            rows += found
            counts.append(len(found))
    table = torch.tensor(rows, dtype=torch.long).reshape(-1, 7).to(data.images.device)
    count = torch.tensor(counts, dtype=torch.long)
    start = (count.cumsum(0) - count).to(table.device)
    return Cutouts(
        table[:, 0], table[:, 1:5], table[:, 5], table[:, 6], start, count.to(table.device)
    )


class Paste:
    """Puts up to OBJECTS cut-outs into every image, each with the given ``chance``."""

    def __init__(self, data: TrainingSet, classes: Classes, *, chance: float) -> None:
        self.data, self.chance = data, chance
        self.cutouts = find_cutouts(data, classes)

    def __call__(self, batch: Batch, *, generator: torch.Generator) -> Batch:
        """The batch with objects pasted; images are uint8 (B, 3, h, w), before any view of them."""
        if not len(self.cutouts):
            return batch
        for _ in range(OBJECTS):
            batch = self._one(batch, generator)
        return batch

    def _one(self, batch: Batch, generator: torch.Generator) -> Batch:
        b, _, h, w = batch.images.shape
        device, bank = batch.images.device, self.cutouts
        # each class is as likely as the next, however few objects it has
        kind, nth, across, chance, mirror = drawn(5, batch, generator)
        kind = (kind * len(bank.count)).long().clamp(max=len(bank.count) - 1)
        nth = (nth * bank.count[kind]).long().minimum(bank.count[kind] - 1)
        which = bank.start[kind] + nth
        x0, y0, x1, y1 = bank.box[which].unbind(1)  # each (B,)
        wide = x1 - x0
        left = (across * (w - wide + 1)).long().minimum(w - wide)
        there = chance < self.chance
        offset = torch.arange(w, device=device) - left[:, None]  # (B, w)
        inside = (offset >= 0) & (offset < wide[:, None])
        mirrored = (mirror < 0.5)[:, None]
        column = torch.where(mirrored, x1[:, None] - 1 - offset, x0[:, None] + offset)
        column = column.clamp(0, w - 1)[:, None].expand(b, h, w)
        row = torch.arange(h, device=device)
        level = (row >= y0[:, None]) & (row < y1[:, None])  # (B, h)
        source = bank.image[which]
        labels = self.data.labels[source].gather(2, column)  # (B, h, w)
        wanted = bank.label[which][:, None, None]
        cut = (labels == wanted) & inside[:, None] & level[:, :, None] & there[:, None, None]
        images = self.data.images[source].gather(3, column[:, None].expand(b, 3, h, w))

        box = torch.stack([left, y0, left + wide, y1], dim=1).to(batch.boxes.dtype)  # (B, 4)
        sides = torch.minimum(batch.boxes[..., 2:], box[:, None, 2:]) - torch.maximum(
            batch.boxes[..., :2], box[:, None, :2]
        )
        area = box_sides(batch.boxes).prod(-1)
        hidden = (sides.clamp(min=0).prod(-1) > HIDDEN * area) & there[:, None]
        new_id = torch.where(there, bank.box_class[which], -1)[:, None]
        return Batch(
            torch.where(cut[:, None], images, batch.images),
            torch.where(cut, labels, batch.labels),
            torch.cat([batch.boxes, box[:, None]], dim=1),
            torch.cat([batch.class_ids, new_id], dim=1),
            torch.cat([batch.crowd | hidden, torch.zeros_like(there)[:, None]], dim=1),
        )
