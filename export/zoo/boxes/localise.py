"""One object: its class, and its box as four numbers, beside each other on the same features.

Classification with localisation, where detection begins: two heads, two losses, cross-entropy and
a smooth L1 (Sermanet et al., arXiv 1312.6229, section 4). The object is the largest of an image;
the box is in shares of the image's sides.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.zoo.boxes.box_net import BoxNet, in_rows
from export.zoo.boxes.targets import Objects, box_sides
from export.zoo.layers import ConvBN
from export.zoo.trunks import trunk

GRID = (6, 10)
"""Cells to which the last features of an image of any size are brought."""
SHARP = 0.02
"""Shares of a side up to which an error counts by its square."""
BOX_GAIN = 10.0
"""Four numbers of 0 to 1 err by tenths, and the cross-entropy by ones."""


class Localise(BoxNet):
    """Features of the whole image, two fully connected layers, and the two heads."""

    nms_iou = None

    def __init__(self, backbone: str, classes: int) -> None:
        super().__init__()
        self.backbone = trunk(backbone)
        self.stride = self.backbone.strides[-1]
        self.narrow = ConvBN(self.backbone.widths[-1], 64)
        self.full = nn.Sequential(nn.Linear(64 * GRID[0] * GRID[1], 256), nn.ReLU(inplace=True))
        self.class_out = nn.Linear(256, classes)
        self.box_out = nn.Linear(256, 4)
        with torch.no_grad():  # begins in the middle, a third as wide and high
            self.box_out.weight.mul_(0.1)
            self.box_out.bias.copy_(torch.tensor([0.5, 0.5, 0.33, 0.33]))

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) RGB 0..1 → logits (N, C) and cx, cy, w, h (N, 4) in shares of the sides."""
        y = self.narrow(self.backbone(x)[-1])  # (N, 64, H/32, W/32)
        y = F.interpolate(y, GRID, mode="bilinear", align_corners=False)  # (N, 64, 6, 10)
        y = self.full(y.flatten(1))  # (N, 256)
        return self.class_out(y), self.box_out(y)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) RGB 0..1 → (N, 4+C, 1)."""
        logits, shares = self.heads(x)
        h, w = int(x.shape[2]), int(x.shape[3])
        box = shares * torch.tensor([w, h, w, h], dtype=shares.dtype, device=shares.device)
        return torch.cat([box, logits.softmax(1)], 1)[:, :, None]

    def losses(self, images: Tensor, objects: Objects) -> dict[str, Tensor]:
        """Of images that show an object."""
        logits, shares = self.heads(images)
        if not objects.class_ids.shape[1]:
            nothing = (logits.sum() + shares.sum()) * 0
            return {"box": nothing, "classes": nothing}
        target, wanted = largest(objects, *(int(n) for n in images.shape[2:]))
        there = (target >= 0).sum().clamp(min=1)
        classes = F.cross_entropy(logits.float(), target, ignore_index=-1, reduction="sum")
        each = F.smooth_l1_loss(shares.float(), wanted, beta=SHARP, reduction="none").sum(1)
        box = torch.where(target >= 0, each, 0.0).sum()
        return {"box": BOX_GAIN * box / there, "classes": classes / there}

    def seen(self, x: Tensor) -> Tensor:
        """A fully connected layer reads all of the map."""
        y: Tensor = self.backbone(x)[-1].mean((2, 3), keepdim=True)
        return y


def largest(objects: Objects, h: int, w: int) -> tuple[Tensor, Tensor]:
    """Class (B,), −1 for none, and box (B, 4), cx, cy, w, h in shares, of the largest object.

    ``h`` and ``w`` are the height and width of the images.
    """
    area, which = torch.where(objects.real, box_sides(objects.boxes).prod(-1), -1.0).max(1)
    box = objects.boxes.gather(1, which[:, None, None].expand(-1, 1, 4)) / objects.boxes.new_tensor(
        [w, h, w, h]
    )
    rows = in_rows(box, box[..., :0])[..., 0]  # (B, 4)
    classes = objects.class_ids.gather(1, which[:, None])[:, 0]
    return torch.where(area > 0, classes, -1), rows
