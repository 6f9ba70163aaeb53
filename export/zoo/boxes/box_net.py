"""What training and export know of a network of the zoo with boxes and no mask. It builds none."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from export.zoo.boxes.targets import Objects
from export.zoo.mask_net import Plan
from export.zoo.trunks.base import Trunk


class BoxNet(nn.Module):
    """The base of the zoo's networks with boxes.

    ``class_out`` and ``box_out`` read classes and boxes out of the last features; ``backbone`` is
    what weights learnt elsewhere fit.
    """

    backbone: Trunk
    class_out: nn.Module
    box_out: nn.Module
    stride = 16
    """Of the map that boxes are read from."""
    multiple = 1
    """Any height and width of an image go."""
    least = 32
    """But none below this."""
    nms_iou: float | None = 0.5
    """IoU above which the lower-scored of two boxes of one class falls; None where none has to."""
    shape: Plan
    box_classes: tuple[str, ...]
    mask_classes: tuple[str, ...] = ()
    anchors: tuple[tuple[tuple[float, float], ...], ...] = ()

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) RGB 0..1 → (N, 4+C, P): cx, cy, w, h px, then the score of each class."""
        raise NotImplementedError

    def losses(self, images: Tensor, objects: Objects) -> dict[str, Tensor]:
        """What is minimised, summed over its parts: of 'box', 'classes' and 'objectness'."""
        raise NotImplementedError

    def seen(self, x: Tensor) -> Tensor:
        """The map that boxes are read from, for its receptive field."""
        return self.backbone(x)[-1]  # type: ignore[no-any-return]


def in_rows(boxes: Tensor, scores: Tensor) -> Tensor:
    """Boxes (N, P, 4) xyxy px and scores (N, P, C) as the app reads them: (N, 4+C, P)."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(low + high) / 2, high - low, scores], -1).transpose(1, 2)
