"""U-Net: the encoder's features are put beside the decoder's, not added (arXiv 1505.04597).

Enlarged by a transposed convolution, as in the source, or by interpolation and a convolution,
which leaves no checkerboard. Convolutions are padded, so that the mask is as large as the image.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from export.zoo.layers import ConvBN, upsample
from export.zoo.mask_net import MaskNet
from export.zoo.trunks import trunk


class Resize(nn.Module):
    """Bilinear ×2, then a 3×3 convolution."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv = ConvBN(c_in, c_out, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, h, w) → (N, c_out, 2h, 2w)."""
        out: Tensor = self.conv(upsample(x))
        return out


class UNet(MaskNet):
    """Per stride: enlarge to the width of the encoder there, put that beside, two convolutions."""

    multiple = 32

    def __init__(self, backbone: str, classes: int, *, transposed: bool = False) -> None:
        super().__init__()
        self.backbone = trunk(backbone)
        self.stride = self.backbone.strides[0]
        widths = self.backbone.widths[::-1]
        self.up, self.steps = nn.ModuleList(), nn.ModuleList()
        for c, narrower in pairwise(widths):
            self.up.append(
                nn.ConvTranspose2d(c, narrower, 2, 2) if transposed else Resize(c, narrower)
            )
            self.steps.append(
                nn.Sequential(ConvBN(2 * narrower, narrower, 3), ConvBN(narrower, narrower, 3))
            )
        self.mask_out = nn.Conv2d(widths[-1], classes, 1)

    def logits(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) RGB 0..1 → (N, K, H/s, W/s), s the finest stride of the backbone."""
        *levels, y = self.backbone(x)  # (N, c, H/32, W/32)
        for up, step, level in zip(self.up, self.steps, reversed(levels), strict=True):
            y = step(torch.cat([level, up(y)], 1))  # H/16, then H/8 … H/s
        out: Tensor = self.mask_out(y)
        return out
