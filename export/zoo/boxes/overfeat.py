"""OverFeat: a classifier of windows run over the whole image at once (arXiv 1312.6229).

Its fully connected layers are convolutions, and nothing is padded: so an image larger than a window
gives a map of what each of its windows would have given alone, without computing anything twice.
At every place of every scale a class, or none, and a box, of which the app keeps the best where the
paper joins those that overlap.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.zoo.boxes.box_net import BoxNet, in_rows
from export.zoo.boxes.targets import Objects, decode, encode, grid_places, losses_of, match, sampled
from export.zoo.trunks.base import Trunk

STEPS = ((6, 2, 24, 2), (3, 1, 48, 2), (3, 1, 96, 1))
FULL, WIDE = 3, 256
"""The last layer looks at 3×3 cells: the fully connected one of a window."""
SCALES = (1, 2, 4)
"""By how much the image is made smaller."""


class Windows(Trunk):
    """Unpadded convolutions of ``steps``: kernel, stride, width, and size of the pooling behind.

    What the last layer gives is of windows of ``window`` px, ``stride`` apart.
    """

    early = ("steps.0",)

    def __init__(
        self, steps: tuple[tuple[int, int, int, int], ...] = STEPS, full: int = FULL,
        wide: int = WIDE,
    ) -> None:  # fmt: skip
        super().__init__()
        self.steps, c, self.window, stride = nn.ModuleList(), 3, full, 1
        for k, s, width, pool in steps:
            layers = [nn.Conv2d(c, width, k, s, bias=False), nn.BatchNorm2d(width)]
            self.steps.append(nn.Sequential(*layers, nn.ReLU(inplace=True), nn.MaxPool2d(pool)))
            c, stride = width, stride * s * pool
        for k, s, _, pool in reversed(steps):
            self.window = ((self.window - 1) * pool + pool - 1) * s + k
        self.full = nn.Sequential(
            nn.Conv2d(c, wide, full, bias=False), nn.BatchNorm2d(wide), nn.ReLU(inplace=True),
            nn.Conv2d(wide, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU(inplace=True),
        )  # fmt: skip
        self.strides, self.widths = (stride,), (wide,)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W) RGB 0..1 → (N, wide, h, w): one cell for each whole window."""
        y = x - 0.5
        for step in self.steps:
            y = step(y)
        return [self.full(y)]


class OverFeat(BoxNet):
    """The classifier on the image, on its half and on its quarter, and a box at each place."""

    def __init__(self, backbone: str, classes: int) -> None:
        super().__init__()
        self.backbone: Windows = Windows()
        (self.stride,), (wide,) = self.backbone.strides, self.backbone.widths
        self.least = self.backbone.window * SCALES[-1]
        self.class_out = nn.Conv2d(wide, 1 + classes, 1)
        self.box_out = nn.Conv2d(wide, 4, 1)
        assert self.class_out.bias is not None
        with torch.no_grad():  # nearly all windows show nothing
            self.class_out.bias.zero_()
            self.class_out.bias[0] = 3.0

    def at_places(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, 3, H, W) → windows (P, 4) px, logits (N, P, 1+C), numbers of the boxes (N, P, 4)."""
        places, logits, numbers = [], [], []
        for scale in SCALES:
            y = self.backbone(F.avg_pool2d(x, scale) if scale > 1 else x)[0]  # (N, c, h, w)
            logits.append(self.class_out(y).float().flatten(2))
            numbers.append(self.box_out(y).float().flatten(2))
            side = float(self.backbone.window * scale)
            places.append(
                grid_places(
                    int(y.shape[2]), int(y.shape[3]), self.stride * scale,
                    torch.tensor([[side, side]], device=x.device), offset=side / 2,
                )
            )  # fmt: skip
        scores, boxes = (torch.cat(maps, 2).transpose(1, 2) for maps in (logits, numbers))
        return torch.cat(places), scores, boxes

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) RGB 0..1 → (N, 4+C, P)."""
        places, logits, numbers = self.at_places(x)
        return in_rows(decode(numbers, places), logits.softmax(2)[..., 1:])

    def losses(self, images: Tensor, objects: Objects) -> dict[str, Tensor]:
        """Of windows drawn from all of them; one that holds half of an object's IoU is its own."""
        places, logits, numbers = self.at_places(images)
        places = places.expand(len(images), -1, -1)
        target, boxes = match(places, objects, object_from=0.5, ground_below=0.3, best=True)
        target = sampled(target, count=256, share=0.25)
        classes, box = losses_of(logits, numbers, target, encode(boxes, places))
        return {"box": box, "classes": classes}
