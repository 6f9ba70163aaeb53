"""EfficientNet-Lite0 as a backbone: what is in it, and no head.

Convolution, depthwise, ReLU6 and residual add alone, which TensorRT and INT8 take well. After
Tan and Le, arXiv 1905.11946, in the "lite" form of tensorflow/tpu: no squeeze-and-excitation, no
swish, stem and head not scaled. It is cut after block 12: what follows knows ImageNet's classes.
"""

from __future__ import annotations

from torch import Tensor, nn

from export.zoo.layers import Depthwise
from export.zoo.trunks.base import Trunk

WIDTHS = (24, 40, 112, 192)
"""Channels at strides 4, 8, 16 and 32."""
_TAPS = (2, 4, 10, 12)
"""The last block of each of those strides."""
_STAGES = (
    # from, to, kernel, stride, expansion, blocks
    (32, 16, 3, 1, 1, 1),
    (16, 24, 3, 2, 6, 2),
    (24, 40, 5, 2, 6, 2),
    (40, 80, 3, 2, 6, 3),
    (80, 112, 5, 1, 6, 3),
    (112, 192, 5, 2, 6, 2),
)
_EPS = 1e-3
MEAN, SCALE = 127 / 255, 255 / 128
"""It was trained on (x - 127) / 128 of bytes; an image here is 0 to 1."""


class Inverted(nn.Module):
    """MBConv: pointwise out by ``expand``, depthwise k×k, pointwise back (arXiv 1801.04381)."""

    def __init__(
        self, c_in: int, c_out: int, *, k: int, stride: int, expand: int, dilation: int = 1
    ) -> None:
        super().__init__()
        wide = c_in * expand
        self.expand = (
            nn.Sequential(
                nn.Conv2d(c_in, wide, 1, bias=False),
                nn.BatchNorm2d(wide, eps=_EPS),
                nn.ReLU6(inplace=True),
            )
            if expand > 1
            else nn.Identity()
        )
        self.depthwise = nn.Sequential(
            Depthwise(wide, k, stride=stride, dilation=dilation),
            nn.BatchNorm2d(wide, eps=_EPS),
            nn.ReLU6(inplace=True),
        )
        self.project = nn.Sequential(
            nn.Conv2d(wide, c_out, 1, bias=False), nn.BatchNorm2d(c_out, eps=_EPS)
        )
        self.adds = c_in == c_out and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, h, w) → (N, c_out, h/stride, w/stride)."""
        out: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + out if self.adds else out


class Lite0(Trunk):
    """Thirteen blocks; features at strides 4, 8, 16, 32, and 2 where ``finest`` is 2.

    No stride is above ``output_stride``: the blocks that would halve once more are dilated.
    """

    early = ("stem", "blocks.0", "blocks.1", "blocks.2")

    def __init__(self, *, finest: int = 4, output_stride: int = 32) -> None:
        super().__init__()
        stem = nn.Conv2d(3, 32, 3, 2, 1, bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(32, eps=_EPS), nn.ReLU6(inplace=True))
        blocks: list[nn.Module] = []
        now, dilation = 2, 1  # the stride so far
        for c_in, c_out, k, stride, expand, count in _STAGES:
            if now * stride > output_stride:
                stride, dilation = 1, dilation * stride
            now *= stride
            how = {"k": k, "expand": expand, "dilation": dilation}
            blocks.append(Inverted(c_in, c_out, stride=stride, **how))
            for _ in range(count - 1):
                blocks.append(Inverted(c_out, c_out, stride=1, **how))
        self.blocks = nn.ModuleList(blocks)
        self.taps = _TAPS if finest == 4 else (0, *_TAPS)
        self.widths = WIDTHS if finest == 4 else (16, *WIDTHS)
        self.strides = tuple(min(s, output_stride) for s in (2, 4, 8, 16, 32) if s >= finest)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W) RGB 0..1 → (N, w_i, H/s_i, W/s_i) for each of ``strides``."""
        x = self.stem(x - MEAN)  # (N, 32, H/2, W/2)
        features = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.taps:
                features.append(x)
        return features
