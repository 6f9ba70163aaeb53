"""DeconvNet: unpooling and transposed convolutions, the encoder's mirror (arXiv 1505.04366).

VGG-16 with batch norm, its fully connected layers as convolutions, and all of it once more
backwards. The source's 7×7 layer sees its 224-pixel image whole; here it is padded, for any
multiple of 32.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from export.zoo.mask_net import MaskNet
from export.zoo.trunks import trunk
from export.zoo.unpool import unpool, where_largest

Layer = type[nn.Conv2d] | type[nn.ConvTranspose2d]


def _step(layer: Layer, c_in: int, c_out: int, k: int) -> list[nn.Module]:
    conv = layer(c_in, c_out, k, padding=k // 2, bias=False)
    return [conv, nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)]


class DeconvNet(MaskNet):
    """Per stride: unpool, then as many transposed convolutions as VGG-16 has convolutions there."""

    multiple = 32

    def __init__(self, backbone: str, classes: int) -> None:
        super().__init__()
        self.backbone = trunk(backbone, norm=True)
        self.stride = self.backbone.strides[0]
        widths = self.backbone.widths[::-1]
        full = 4096 if backbone == "vgg16" else min(2 * widths[0], 1024)
        self.full = nn.Sequential(
            *_step(nn.Conv2d, widths[0], full, 7),
            *_step(nn.Conv2d, full, full, 1),
            *_step(nn.ConvTranspose2d, full, widths[1], 7),
        )
        self.steps = nn.ModuleList()
        for c, narrower in pairwise((*widths[1:], widths[-1])):
            more = [_step(nn.ConvTranspose2d, c, c, 3) for _ in range(2 if c >= 256 else 1)]
            layers = [*more, _step(nn.ConvTranspose2d, c, narrower, 3)]
            self.steps.append(nn.Sequential(*(m for group in layers for m in group)))
        self.mask_out = nn.Conv2d(widths[-1], classes, 1)

    def logits(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) RGB 0..1 → (N, K, H/s, W/s), s the finest stride of the backbone."""
        *levels, y = self.backbone(x)
        y = self.full(y)  # (N, c, H/32, W/32)
        for step, level in zip(self.steps, reversed(levels), strict=True):
            y = step(unpool(y, where_largest(level)))  # H/16, then H/8 … H/s
        out: Tensor = self.mask_out(y)
        return out
