"""From features at stride 16 back to pixels: step by step with convolutions, or at once.

Both read the same features, so that what they differ in is the decoder alone. Any size of image.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from export.zoo.layers import ConvBN
from export.zoo.mask_net import MaskNet, cut, enlarged
from export.zoo.trunks import trunk

LEAST = 32
"""Channels that the decoder keeps at least."""


class Upsample(MaskNet):
    """Four steps of nearest ×2 and a 3×3 convolution, each half as deep as the one before."""

    def __init__(self, backbone: str, classes: int) -> None:
        super().__init__()
        self.backbone = trunk(backbone, output_stride=16)
        c = self.backbone.widths[-1]
        self.steps = nn.ModuleList()
        for _ in range(4):
            narrow = max(c // 2, LEAST)
            self.steps.append(ConvBN(c, narrow, 3))
            c = narrow
        self.mask_out = nn.Conv2d(c, classes, 1)

    def logits(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) RGB 0..1 → (N, K, H, W)."""
        y = self.backbone(x)[-1]  # (N, c, H/16, W/16)
        for step in self.steps:
            y = step(F.interpolate(y, scale_factor=2.0, mode="nearest"))  # (N, c/2, 2h, 2w)
        return cut(self.mask_out(y), int(x.shape[2]), int(x.shape[3]))  # (N, K, H, W)


class Naive(MaskNet):
    """Scores at stride 16, enlarged once: what is thinner than a cell is lost."""

    def __init__(self, backbone: str, classes: int) -> None:
        super().__init__()
        self.backbone = trunk(backbone, output_stride=16)
        self.mask_out = nn.Conv2d(self.backbone.widths[-1], classes, 1)

    def logits(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) RGB 0..1 → (N, K, H, W)."""
        scores = self.mask_out(self.backbone(x)[-1])  # (N, K, H/16, W/16)
        return enlarged(scores, 16, x)  # (N, K, H, W)
