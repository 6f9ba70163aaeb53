"""Which of many places an image's objects teach, and boxes as numbers beside a place.

A place is a box xyxy px that is known before looking: an anchor, a window or a proposal.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

SPREAD = (0.1, 0.1, 0.2, 0.2)
"""Typical size of the four numbers, by which they are divided (Fast R-CNN's own code)."""
REACH = 4.0
"""A box is at most e^4 times as large as its place: without a limit exp can overflow."""
IGNORED = -1
"""A place that teaches nothing. Background is 0, class i is i + 1."""


class Objects(NamedTuple):
    """Those of some images: boxes (B, M, 4) xyxy px, class ids (B, M), −1 for none, crowd (B, M).

    Crowds are regions that no loss counts.
    """

    boxes: Tensor
    class_ids: Tensor
    crowd: Tensor

    @property
    def real(self) -> Tensor:
        """Which (B, M) are objects."""
        return (self.class_ids >= 0) & ~self.crowd


def box_sides(boxes: Tensor) -> Tensor:
    """Widths and heights (…, 2) of boxes (…, 4) xyxy."""
    return boxes[..., 2:] - boxes[..., :2]


def encode(boxes: Tensor, places: Tensor) -> Tensor:
    """Boxes (…, 4) as steps and scales from their places (arXiv 1311.2524, appendix C)."""
    size, wanted = box_sides(places).clamp(min=1.0), box_sides(boxes).clamp(min=1.0)
    step = (boxes[..., :2] + boxes[..., 2:] - places[..., :2] - places[..., 2:]) / 2 / size
    return torch.cat([step, (wanted / size).log()], -1) / boxes.new_tensor(SPREAD)


def decode(numbers: Tensor, places: Tensor) -> Tensor:
    """Boxes (…, 4) xyxy px of what a network says of its places (…, 4)."""
    numbers = numbers * torch.tensor(SPREAD, device=numbers.device)
    size = box_sides(places).clamp(min=1.0)
    centre = (places[..., :2] + places[..., 2:]) / 2 + numbers[..., :2] * size
    half = size * numbers[..., 2:].clamp(max=REACH).exp() / 2
    return torch.cat([centre - half, centre + half], -1)


def within(boxes: Tensor, height: int, width: int) -> Tensor:
    """Boxes (…, 4) cut to the image."""
    x, y = boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)  # (…, 2) each
    return torch.stack([x, y], -1).flatten(-2)


def grid_places(
    h: int, w: int, stride: float, sides: Tensor, *, offset: float | None = None
) -> Tensor:
    """Boxes of ``sides`` (A, 2) px, width and height, about each cell: (h·w·A, 4).

    Cells lie ``stride`` apart; the middle of the first is at ``offset``, or half a stride.
    """
    first = stride / 2 if offset is None else offset
    x = torch.arange(w, device=sides.device) * stride + first
    y = torch.arange(h, device=sides.device) * stride + first
    centre = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).view(-1, 1, 2)  # (h·w, 1, 2)
    return torch.cat([centre - sides / 2, centre + sides / 2], -1).view(-1, 4)


def shared(places: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """IoU, and share of each place inside each box: (B, P, M) each, of (B, P, 4) and (B, M, 4)."""
    low = torch.max(places[:, :, None, :2], boxes[:, None, :, :2])
    high = torch.min(places[:, :, None, 2:], boxes[:, None, :, 2:])
    inner = (high - low).clamp(min=0).prod(-1)  # (B, P, M)
    mine, theirs = (box_sides(b).clamp(min=0).prod(-1) for b in (places, boxes))
    union = mine[:, :, None] + theirs[:, None] - inner
    return inner / union.clamp(min=1e-6), inner / mine[:, :, None].clamp(min=1e-6)


def match(
    places: Tensor, objects: Objects, *, object_from: float, ground_below: float, best: bool = False
) -> tuple[Tensor, Tensor]:
    """What each of the places (B, P, 4) is to say: class (B, P) and box (B, P, 4).

    It is an object's from IoU ``object_from`` on, and background below ``ground_below``; between
    them, or half inside a crowd, it is ignored. With ``best`` the place that overlaps
    an object most counts below that too, for the object that it overlaps most itself.
    """
    if not objects.class_ids.shape[1]:
        return places.new_zeros(places.shape[:2], dtype=torch.long), torch.zeros_like(places)
    iou, inside = shared(places, objects.boxes)
    iou = iou * objects.real[:, None]
    most, which = iou.max(2)  # (B, P)
    classes = objects.class_ids.gather(1, which) + 1
    found = most >= object_from
    if best:
        first = iou.amax(1, keepdim=True)  # (B, 1, M)
        # what is nobody else's is the object's with which it overlaps most
        found = found | ((iou == first) & (first > 0)).any(2)
    crowd = objects.crowd & (objects.class_ids >= 0)
    unsure = (most >= ground_below) | ((inside >= 0.5) & crowd[:, None]).any(2)
    target = torch.where(unsure, IGNORED, 0)
    boxes = objects.boxes.gather(1, which[..., None].expand(-1, -1, 4))
    return torch.where(found, classes, target), boxes


def sampled(target: Tensor, *, count: int, share: float) -> Tensor:
    """At most ``count`` of the targets (B, P), at random; the others become IGNORED.

    At most a ``share`` of them are objects; background fills the rest.
    """
    chance = torch.rand(target.shape, device=target.device)
    of_object = _first(torch.where(target > 0, chance, -1.0), int(count * share)) & (target > 0)
    room = count - of_object.sum(1, keepdim=True)
    of_ground = _first(torch.where(target == 0, chance, -1.0), room) & (target == 0)
    return torch.where(of_object | of_ground, target, IGNORED)


def _first(values: Tensor, n: int | Tensor) -> Tensor:
    """Which of the values (B, P) are among the ``n`` largest of their row."""
    return values.argsort(1, descending=True).argsort(1) < n


def losses_of(
    logits: Tensor, numbers: Tensor, target: Tensor, wanted: Tensor, *, sharp: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the classes, and smooth L1 of the four numbers where an object is.

    ``logits`` (…, 1+C), ``numbers`` and ``wanted`` (…, 4), ``target`` (…). Both are divided by the
    number of places that count. Below ``sharp`` the second is a square (arXiv 1504.08083).
    """
    flat = target.reshape(-1)
    counted = (flat != IGNORED).sum().clamp(min=1)
    scores = logits.float().reshape(len(flat), -1)
    classes = F.cross_entropy(scores, flat, ignore_index=IGNORED, reduction="sum")
    each = F.smooth_l1_loss(numbers.float(), wanted, beta=sharp, reduction="none").sum(-1)
    box = torch.where(target > 0, each, 0.0).sum()
    return classes / counted, box / counted
