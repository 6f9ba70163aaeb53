"""SegNet: the decoder puts values back where the encoder's maxima were (arXiv 1511.00561).

No feature is carried over, only where in each 2×2 window the largest lay. On VGG-16 (with batch
norm, as in the source) that is what its pooling chose; a backbone that halves by strides has the
same asked of what it saw before.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from export.zoo.layers import ConvBN
from export.zoo.mask_net import MaskNet
from export.zoo.trunks import trunk
from export.zoo.unpool import unpool, where_largest


class SegNet(MaskNet):
    """Per stride: unpool, then as many convolutions as VGG-16 has there (three from 256 on)."""

    multiple = 32

    def __init__(self, backbone: str, classes: int) -> None:
        super().__init__()
        self.backbone = trunk(backbone, norm=True)
        self.stride = self.backbone.strides[0]
        widths = self.backbone.widths[::-1]
        # unpooling needs the channels of the level that it goes to
        first = widths[0] != widths[1]
        self.enter = ConvBN(widths[0], widths[1], 3) if first else nn.Identity()
        self.steps = nn.ModuleList()
        for c, narrower in pairwise((*widths[1:], widths[-1])):
            more = [ConvBN(c, c, 3) for _ in range(2 if c >= 256 else 1)]
            self.steps.append(nn.Sequential(*more, ConvBN(c, narrower, 3)))
        self.mask_out = nn.Conv2d(widths[-1], classes, 3, padding=1)

    def logits(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) RGB 0..1 → (N, K, H/s, W/s), s the finest stride of the backbone."""
        *levels, y = self.backbone(x)
        y = self.enter(y)  # (N, c, H/32, W/32)
        for step, level in zip(self.steps, reversed(levels), strict=True):
            y = step(unpool(y, where_largest(level)))  # H/16, then H/8 … H/s
        out: Tensor = self.mask_out(y)
        return out
