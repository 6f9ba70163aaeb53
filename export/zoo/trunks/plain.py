"""The plain backbone: four stages of residual depthwise blocks, learnt from nothing."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from export.zoo.layers import ConvBN, Depthwise, Separable
from export.zoo.trunks.base import Trunk

STEM, WIDTHS, DEPTHS, EXPAND = 32, (48, 96, 192, 256), (1, 3, 5, 3), 2
"""As the street network is trained over it."""


class Block(nn.Module):
    """Residual block: depthwise k×k (dilated for reach), pointwise out ×``expand`` and back.

    The depthwise step stays at the narrow width: on a CPU it is bound by memory, while the
    pointwise steps are matrix products that run near peak.
    """

    def __init__(self, c: int, *, expand: int, k: int = 3, dilation: int = 1) -> None:
        super().__init__()
        self.spatial = Depthwise(c, k, dilation=dilation)
        self.wide = ConvBN(c, c * expand)
        self.narrow = ConvBN(c * expand, c, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape out as in."""
        return F.relu(x + self.narrow(self.wide(self.spatial(x))))


class Down(nn.Module):
    """Halve the resolution: depthwise 3×3 of stride 2, then pointwise to the new width."""

    def __init__(self, c_in: int, c_out: int, *, stride: int = 2) -> None:
        super().__init__()
        self.conv = Separable(c_in, c_out, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, h, w) → (N, c_out, h/2, w/2)."""
        out: Tensor = self.conv(x)
        return out


class Backbone(Trunk):
    """Four stages at strides 4, 8, 16, 32; the last two look wide by dilation.

    No stride is above ``output_stride``: the stages that would halve once more are dilated more.
    """

    early = ("stem", "stages.0")

    def __init__(
        self,
        stem: int = STEM,
        widths: tuple[int, ...] = WIDTHS,
        depths: tuple[int, ...] = DEPTHS,
        expand: int = EXPAND,
        *,
        output_stride: int = 32,
    ) -> None:
        super().__init__()
        self.widths = widths
        self.strides = tuple(min(s, output_stride) for s in (4, 8, 16, 32))
        self.stem = ConvBN(3, stem, 3, stride=2)
        # dilations grow along a stage so that neighbouring blocks see different neighbourhoods
        reach = ((1, 1, 1), (1, 1, 1, 1), (1, 2, 1, 4, 1, 2, 1), (1, 2, 3, 1))
        stages, c = [], stem
        held = 1
        for width, depth, dilations, s in zip(widths, depths, reach, (4, 8, 16, 32), strict=True):
            stride = 1 if s > output_stride else 2
            held *= 2 // stride
            blocks = [
                Block(width, expand=expand, dilation=held * dilations[i]) for i in range(depth)
            ]
            stages.append(nn.Sequential(Down(c, width, stride=stride), *blocks))
            c = width
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W) RGB 0..1 → the features of the four stages."""
        x = self.stem(x)  # (N, stem, H/2, W/2)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)  # (N, w_i, H/2^(i+2), W/2^(i+2))
        return features
