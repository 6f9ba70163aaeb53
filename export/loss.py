"""What the street network is trained to minimise: YOLO's box losses and the mask's cross-entropy.

Boxes: every object is given to the anchors whose shape is within a factor of four and to the cell
it falls in with its two nearest neighbours (the assignment of YOLOv5), located by CIoU
(arXiv 1911.08287); objectness learns the IoU reached. Regions marked as crowd teach no objectness.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from export.augment import Batch
from export.camvid import IGNORE
from export.model import STRIDES, Outputs, upsample

MAX_SHAPE_RATIO = 4.0
"""An anchor serves objects up to this many times wider, narrower, taller or shorter than itself."""
LEVEL_BALANCE = (4.0, 1.0, 0.4)
"""Weight of objectness at strides 8, 16, 32 (YOLOv5): the fine grid is mostly empty cells."""


@dataclass(frozen=True, slots=True)
class Gains:
    """Weights of the parts of the loss."""

    box: float = 0.05
    objectness: float = 1.0
    classes: float = 0.1
    detection: float = 12.0
    mask: float = 1.0


def ciou(a: Tensor, b: Tensor) -> Tensor:
    """Complete IoU of boxes (n, 4) cx, cy, w, h, pair by pair → (n,), at most 1."""
    (ax1, ay1), (ax2, ay2) = (a[:, :2] - a[:, 2:] / 2).T, (a[:, :2] + a[:, 2:] / 2).T
    (bx1, by1), (bx2, by2) = (b[:, :2] - b[:, 2:] / 2).T, (b[:, :2] + b[:, 2:] / 2).T
    inner = (torch.min(ax2, bx2) - torch.max(ax1, bx1)).clamp(0) * (
        torch.min(ay2, by2) - torch.max(ay1, by1)
    ).clamp(0)
    union = a[:, 2] * a[:, 3] + b[:, 2] * b[:, 3] - inner + 1e-7
    iou = inner / union
    diagonal = (
        (torch.max(ax2, bx2) - torch.min(ax1, bx1)) ** 2
        + (torch.max(ay2, by2) - torch.min(ay1, by1)) ** 2
        + 1e-7
    )
    distance = ((a[:, :2] - b[:, :2]) ** 2).sum(1)
    aspect = (4 / math.pi**2) * (
        torch.atan(b[:, 2] / (b[:, 3] + 1e-7)) - torch.atan(a[:, 2] / (a[:, 3] + 1e-7))
    ) ** 2
    with torch.no_grad():
        alpha = aspect / (1 - iou + aspect + 1e-7)
    quality: Tensor = iou - distance / diagonal - alpha * aspect
    return quality


@dataclass(frozen=True, slots=True)
class Assigned:
    """Positives of one stride: image, anchor, row and column (n,); boxes (n, 4) cxcywh in cells."""

    image: Tensor
    anchor: Tensor
    row: Tensor
    column: Tensor
    boxes: Tensor
    class_ids: Tensor


def assign(batch: Batch, anchors: Tensor, stride: int, grid_hw: tuple[int, int]) -> Assigned:
    """Match the objects of a batch with the cells and anchors (A, 2) px of one grid."""
    image, slot = torch.nonzero((batch.class_ids >= 0) & ~batch.crowd, as_tuple=True)
    xyxy = batch.boxes[image, slot] / stride
    boxes = torch.cat([(xyxy[:, :2] + xyxy[:, 2:]) / 2, xyxy[:, 2:] - xyxy[:, :2]], dim=1)
    class_ids = batch.class_ids[image, slot]
    ratio = boxes[None, :, 2:] / (anchors[:, None] / stride)  # (A, n, 2)
    fits = torch.max(ratio, 1 / ratio).amax(-1) < MAX_SHAPE_RATIO
    anchor, index = torch.nonzero(fits, as_tuple=True)
    image, boxes, class_ids = image[index], boxes[index], class_ids[index]
    centre, (h, w) = boxes[:, :2], grid_hw
    size = torch.tensor([w, h], device=centre.device)
    near_low = (centre % 1 < 0.5) & (centre > 1)  # the left / upper neighbour is close
    near_high = (centre % 1 > 0.5) & (centre < size - 1)
    steps = torch.tensor([[0, 0], [-1, 0], [0, -1], [1, 0], [0, 1]], device=centre.device)
    take = torch.stack(
        [
            torch.ones_like(near_low[:, 0]),
            near_low[:, 0],
            near_low[:, 1],
            near_high[:, 0],
            near_high[:, 1],
        ]
    )  # (5, n)
    step, index = torch.nonzero(take, as_tuple=True)
    cell = centre[index].floor().long() + steps[step]
    cell = torch.minimum(cell.clamp(min=0), size - 1)
    return Assigned(
        image[index], anchor[index], cell[:, 1], cell[:, 0], boxes[index], class_ids[index]
    )


def crowd_cells(batch: Batch, stride: int, grid_hw: tuple[int, int]) -> Tensor:
    """Which cells (B, h, w) have their centre in a crowd region."""
    h, w = grid_hw
    device = batch.boxes.device
    x = (torch.arange(w, device=device) + 0.5) * stride
    y = (torch.arange(h, device=device) + 0.5) * stride
    crowd = batch.crowd & (batch.class_ids >= 0)
    x1, y1, x2, y2 = batch.boxes.unbind(-1)  # each (B, M)
    in_x = (x >= x1[..., None]) & (x <= x2[..., None])  # (B, M, w)
    in_y = (y >= y1[..., None]) & (y <= y2[..., None]) & crowd[..., None]  # (B, M, h)
    return torch.einsum("bmh,bmw->bhw", in_y.float(), in_x.float()) > 0


class StreetLoss:
    """The loss of both heads; ``class_weights`` (K,) weigh the mask's classes."""

    def __init__(
        self, anchors: tuple[tuple[tuple[float, float], ...], ...], class_weights: Tensor,
        gains: Gains | None = None,
    ) -> None:  # fmt: skip
        self.anchors = [torch.tensor(a, device=class_weights.device) for a in anchors]
        self.class_weights = class_weights
        self.gains = gains or Gains()

    def __call__(self, outputs: Outputs, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The total, and its parts (detached scalars) for the log."""
        box = objectness = classes = batch.boxes.new_zeros(())
        for i, (raw, stride) in enumerate(zip(outputs.boxes, STRIDES, strict=True)):
            parts = self._level(raw.float(), batch, self.anchors[i], stride)
            box, classes = box + parts[0], classes + parts[2]
            objectness = objectness + LEVEL_BALANCE[i] * parts[1]
        mask = self._mask(outputs.mask.float(), batch.labels)
        g = self.gains
        detection = g.box * box + g.objectness * objectness + g.classes * classes
        total = g.detection * detection + g.mask * mask
        log = {"box": box, "objectness": objectness, "classes": classes, "mask": mask}
        return total, {k: v.detach() for k, v in log.items()}

    def _mask(self, logits: Tensor, labels: Tensor) -> Tensor:
        # at half resolution, as the exported mask is made
        logits = upsample(logits)  # (B, K, H/2, W/2)
        labels = labels[:, ::2, ::2]
        if bool((labels == IGNORE).all()):
            return logits.sum() * 0  # nothing to learn; the mean over no pixel would be 0/0
        return F.cross_entropy(logits, labels, weight=self.class_weights, ignore_index=IGNORE)

    def _level(
        self, raw: Tensor, batch: Batch, anchors: Tensor, stride: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        b, _, h, w = raw.shape
        raw = raw.view(b, len(anchors), -1, h, w)  # (B, A, 5+C, h, w)
        found = assign(batch, anchors, stride, (h, w))
        wanted = torch.zeros_like(raw[:, :, 4])  # (B, A, h, w)
        weight = (~crowd_cells(batch, stride, (h, w)))[:, None].float().expand_as(wanted).clone()
        box = classes = raw.new_zeros(())
        if len(found.image):
            at = (found.image, found.anchor, found.row, found.column)
            picked = raw[found.image, found.anchor, :, found.row, found.column]  # (n, 5+C)
            cell = torch.stack([found.column, found.row], dim=1)
            xy = picked[:, :2].sigmoid() * 2 - 0.5 + cell
            wh = (picked[:, 2:4].sigmoid() * 2) ** 2 * (anchors / stride)[found.anchor]
            quality = ciou(torch.cat([xy, wh], dim=1), found.boxes)
            box = (1 - quality).mean()
            wanted[at] = quality.detach().clamp(0)
            weight[at] = 1.0
            target = F.one_hot(found.class_ids, picked.shape[1] - 5).float()
            classes = F.binary_cross_entropy_with_logits(picked[:, 5:], target)
        each = F.binary_cross_entropy_with_logits(raw[:, :, 4], wanted, reduction="none")
        return box, (each * weight).mean(), classes
