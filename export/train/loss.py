"""What the street network is trained to minimise: YOLO's box losses and the mask's cross-entropy.

Boxes: every object is given to the anchors whose shape is within a factor of four and to the cell
it falls in with its two nearest neighbours (the assignment of YOLOv5), located by CIoU
(arXiv 1911.08287); objectness learns the IoU reached. Regions marked as crowd teach no objectness.
Where data sets label different classes, an image teaches nothing about those that its set does not
label: they take no part in its softmax, and objectness counts the less in a cell the surer the
network is that it shows one of them.
Every size is known without looking at the data, so a device is never waited for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from export.data.labelled import UNLABELLED
from export.train.batch import Batch, box_sides
from export.train.net.street import STRIDES
from export.zoo.layers import upsample
from export.zoo.mask_net import Outputs

MAX_SHAPE_RATIO = 4.0
"""An anchor serves objects up to this many times wider, narrower, taller or shorter than itself."""
LEVEL_BALANCE = (4.0, 1.0, 0.4)
"""Weight of objectness at strides 8, 16, 32 (YOLOv5): the fine grid is mostly empty cells."""


NO_CHANCE = -1e4
"""A logit whose softmax is 0. Not -inf: the gradient would not be finite."""


@dataclass(frozen=True, slots=True)
class Gains:
    """Weights of the parts of the loss."""

    box: float = 0.05
    objectness: float = 1.0
    classes: float = 0.1
    detection: float = 12.0
    mask: float = 1.0
    lovasz: float = 0.0
    """Of the Lovász-softmax term, beside the cross-entropy of the mask."""
    aux: float = 0.0
    """Of the cross-entropy of a mask read at stride 16 (see export.train.net.street.AuxMask)."""


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


def among_known(logits: Tensor, batch: Batch) -> Tensor:
    """Mask logits (B, K, h, w) without a chance for classes that an image's data set lacks."""
    if batch.known is None:
        return logits
    return logits.masked_fill(~batch.known.mask[:, :, None, None], NO_CHANCE)


def lovasz_softmax(logits: Tensor, labels: Tensor) -> Tensor:
    """Lovász extension of 1 − IoU, mean over the classes present (arXiv 1705.08790).

    Logits (B, K, h, w) and labels (B, h, w), over all pixels of the batch at once.
    """
    k = logits.shape[1]
    p = logits.softmax(1).movedim(1, -1).reshape(-1, k)  # (n, K)
    y = labels.reshape(-1)
    # an unlabelled pixel is a false one of no class, and its error of 0 sorts behind all that count
    truth = (y[:, None] == torch.arange(k, device=y.device)).float()  # (n, K)
    known = (y != UNLABELLED)[:, None]
    errors, order = torch.where(known, (truth - p).abs(), 0.0).sort(0, descending=True)
    truth = truth.gather(0, order)
    total = truth.sum(0)  # (K,)
    inner = total - truth.cumsum(0)
    union = total + (1 - truth).cumsum(0)
    jaccard = 1 - inner / union
    slope = torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])
    there = (total > 0).float()
    return ((errors * slope).sum(0) * there).sum() / there.sum().clamp(min=1)


@dataclass(frozen=True, slots=True)
class Assigned:
    """Candidates of one stride: image, anchor, row and column (n,); boxes (n, 4) cxcywh in cells.

    Those that are not ``valid`` (n,) stand for no object and hold a box of one cell.
    """

    image: Tensor
    anchor: Tensor
    row: Tensor
    column: Tensor
    boxes: Tensor
    class_ids: Tensor
    valid: Tensor


NEIGHBOURS = ((0, 0), (-1, 0), (0, -1), (1, 0), (0, 1))
"""The cell of an object, and the steps in x and y to those that may serve it, too."""


def anchors_that_fit(batch: Batch, anchors: Sequence[Tensor], min_cells: float) -> list[Tensor]:
    """Which anchors (A, 2) px of each stride serve which object, by shape: (A, B·M) a stride.

    A coarser stride is given no object whose root of the area is below ``min_cells`` cells if a
    finer one serves it: it cannot place it well, and its poor boxes beside good ones are false
    alarms. The measure is that of FPN (arXiv 1612.03144, equation 1).
    """
    there = ((batch.class_ids >= 0) & ~batch.crowd).view(-1)  # (BM,)
    sides = box_sides(batch.boxes).view(-1, 2)
    scale = sides.clamp(min=0).prod(-1).sqrt()  # (BM,)
    served = torch.zeros_like(there)
    made = []
    for shapes, stride in zip(anchors, STRIDES, strict=True):
        ratio = sides / shapes[:, None]  # (A, BM, 2)
        fits = (torch.max(ratio, 1 / ratio).amax(-1) < MAX_SHAPE_RATIO) & there
        fits &= ~served | (scale >= min_cells * stride)
        served = served | fits.any(0)
        made.append(fits)
    return made


def assign(batch: Batch, fits: Tensor, stride: int, grid_hw: tuple[int, int]) -> Assigned:
    """Match the objects of a batch with the cells of one grid and the anchors of ``fits`` (A, BM).

    Every object is a candidate for each anchor and neighbour: n = 5 · A · B · M.
    """
    b, m = batch.class_ids.shape
    h, w = grid_hw
    there = ((batch.class_ids >= 0) & ~batch.crowd).view(-1)  # (BM,)
    xyxy = batch.boxes.view(-1, 4) / stride
    boxes = torch.cat([(xyxy[:, :2] + xyxy[:, 2:]) / 2, box_sides(xyxy)], dim=1)
    centre = boxes[:, :2]
    x, y = centre[:, 0], centre[:, 1]
    near = torch.stack(
        [
            there,
            (x % 1 < 0.5) & (x > 1),
            (y % 1 < 0.5) & (y > 1),
            (x % 1 > 0.5) & (x < w - 1),
            (y % 1 > 0.5) & (y < h - 1),
        ]
    )  # (5, BM)
    cell = centre.floor().long()
    shape = (len(NEIGHBOURS), len(fits), b * m)
    column = torch.stack([(cell[:, 0] + dx).clamp(0, w - 1) for dx, _ in NEIGHBOURS])
    row = torch.stack([(cell[:, 1] + dy).clamp(0, h - 1) for _, dy in NEIGHBOURS])
    device = boxes.device
    image = torch.arange(b, device=device)[:, None].expand(b, m).reshape(-1)
    anchor = torch.arange(len(fits), device=device)[:, None]
    valid = (near[:, None] & fits).reshape(-1)
    spread = boxes.expand(*shape, 4).reshape(-1, 4)
    return Assigned(
        image.expand(shape).reshape(-1),
        anchor.expand(shape).reshape(-1),
        row[:, None].expand(shape).reshape(-1),
        column[:, None].expand(shape).reshape(-1),
        torch.where(valid[:, None], spread, 1.0),
        batch.class_ids.view(-1).clamp(min=0).expand(shape).reshape(-1),
        valid,
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
        gains: Gains | None = None, *, min_cells: float = 0.0,
    ) -> None:  # fmt: skip
        self.anchors = [torch.tensor(a, device=class_weights.device) for a in anchors]
        self.class_weights = class_weights
        # by label, UNLABELLED among them
        self._weight_of_label = F.pad(class_weights, (0, UNLABELLED + 1 - len(class_weights)))
        self.gains = gains or Gains()
        self.min_cells = min_cells

    def __call__(
        self, outputs: Outputs, batch: Batch, *, aux: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The total, and its parts (detached scalars) for the log; 'mask' has all of its terms.

        ``aux`` (B, K, H/16, W/16) are the logits of an AuxMask.
        """
        box = objectness = classes = batch.boxes.new_zeros(())
        levels = outputs.boxes if self.gains.detection else ()
        fitting = anchors_that_fit(batch, self.anchors, self.min_cells)
        for i, raw in enumerate(levels):
            parts = self._level(raw.float(), batch, self.anchors[i], fitting[i], STRIDES[i])
            box, classes = box + parts[0], classes + parts[2]
            objectness = objectness + LEVEL_BALANCE[i] * parts[1]
        logits = among_known(outputs.mask.float(), batch)
        stride = batch.labels.shape[1] // logits.shape[2]
        # at half resolution, as the exported mask is made, or at that of the network if finer
        fine, step = upsample(logits) if stride == 4 else logits, min(stride, 2)
        mask = self._cross_entropy(fine, batch.labels[:, ::step, ::step])
        if self.gains.lovasz:
            first, apart = 1 // stride, 8 // stride
            few = lovasz_softmax(
                logits[:, :, first::apart, first::apart], batch.labels[:, 1::8, 1::8]
            )
            mask = mask + self.gains.lovasz * few
        if aux is not None:
            early = self._cross_entropy(
                upsample(among_known(aux.float(), batch)), batch.labels[:, 4::8, 4::8]
            )
            mask = mask + self.gains.aux * early
        g = self.gains
        detection = g.box * box + g.objectness * objectness + g.classes * classes
        total = g.detection * detection + g.mask * mask
        log = {"box": box, "objectness": objectness, "classes": classes, "mask": mask}
        return total, {k: v.detach() for k, v in log.items()}

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The weighted mean over labelled pixels; 0 where there is none, not 0/0."""
        summed = F.cross_entropy(
            logits, labels, weight=self.class_weights, ignore_index=UNLABELLED, reduction="sum"
        )
        return summed / self._weight_of_label[labels].sum().clamp(min=1e-6)

    def _level(
        self, raw: Tensor, batch: Batch, anchors: Tensor, fits: Tensor, stride: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        b, _, h, w = raw.shape
        raw = raw.view(b, len(anchors), -1, h, w)  # (B, A, 5+C, h, w)
        found = assign(batch, fits, stride, (h, w))
        count = found.valid.sum().clamp(min=1)
        picked = raw[found.image, found.anchor, :, found.row, found.column]  # (n, 5+C)
        cell = torch.stack([found.column, found.row], dim=1)
        xy = picked[:, :2].sigmoid() * 2 - 0.5 + cell
        wh = (picked[:, 2:4].sigmoid() * 2) ** 2 * (anchors / stride)[found.anchor]
        quality = ciou(torch.cat([xy, wh], dim=1), found.boxes)
        box = torch.where(found.valid, 1 - quality, 0.0).sum() / count
        names = torch.arange(picked.shape[1] - 5, device=raw.device)
        target = (found.class_ids[:, None] == names).float()  # (n, C); F.one_hot reads its input
        each = F.binary_cross_entropy_with_logits(picked[:, 5:], target, reduction="none")
        if batch.known is not None:
            each = each * batch.known.boxes[found.image]
        each = each.mean(1)
        classes = torch.where(found.valid, each, 0.0).sum() / count
        # what is not valid goes to a cell behind the last, which is dropped
        cells = b * len(anchors) * h * w
        flat = ((found.image * len(anchors) + found.anchor) * h + found.row) * w + found.column
        flat = torch.where(found.valid, flat, cells)
        wanted = raw.new_zeros(cells + 1)
        wanted[flat] = quality.detach().clamp(0)
        calm = (~crowd_cells(batch, stride, (h, w)))[:, None].expand(b, len(anchors), h, w).float()
        if batch.known is not None:
            taken = raw[:, :, 5:].detach().softmax(2)  # (B, A, C, h, w)
            calm = calm * (taken * batch.known.boxes[:, None, :, None, None]).sum(2)
        weight = torch.cat([calm.reshape(-1), calm.new_zeros(1)])
        weight = weight.index_fill(0, flat, 1.0)
        logits = raw[:, :, 4].reshape(-1)
        each = F.binary_cross_entropy_with_logits(logits, wanted[:-1], reduction="none")
        return box, (each * weight[:-1]).mean(), classes
