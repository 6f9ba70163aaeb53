"""Xception as a backbone (arXiv 1610.02357, figure 5): separable convolutions throughout."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from export.zoo.layers import ConvBN, Depthwise
from export.zoo.trunks.base import Trunk


def _separable(c_in: int, c_out: int, dilation: int) -> list[nn.Module]:
    """Depthwise, pointwise and a norm, without a ReLU: here that stands before them."""
    return [Depthwise(c_in, dilation=dilation), ConvBN(c_in, c_out, act=False)]


class Block(nn.Module):
    """Separable convolutions through the ``widths`` and a pooling; a 1×1 convolution beside them.

    Without ``pooled`` what came in is added as it is.
    """

    def __init__(
        self, *widths: int, relu: bool = True, pooled: bool = True, stride: int = 2,
        dilation: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        layers: list[nn.Module] = []
        for c_in, c_out in pairwise(widths):
            layers += [nn.ReLU(), *_separable(c_in, c_out, dilation)]
        layers = layers if relu else layers[1:]  # the first block comes behind one
        if pooled:
            layers.append(nn.MaxPool2d(3, stride, 1))
        self.way = nn.Sequential(*layers)
        self.beside = (
            ConvBN(widths[0], widths[-1], stride=stride, act=False) if pooled else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, h, w) → (N, c_out, h/stride, w/stride)."""
        out: Tensor = self.way(x) + self.beside(x)
        return out


class Xception(Trunk):
    """Entry, middle and exit flow; features at strides 2 to 32.

    No stride is above ``output_stride``, 16 or 32: at 16 the exit flow is dilated (DeepLab v3+).
    """

    early = ("stem", "entry.0")
    widths = (64, 128, 256, 728, 2048)

    def __init__(self, *, output_stride: int = 32) -> None:
        super().__init__()
        held, eight = output_stride < 32, output_stride < 16
        self.strides = tuple(min(s, output_stride) for s in (2, 4, 8, 16, 32))
        self.stem = nn.Sequential(ConvBN(3, 32, 3, stride=2), ConvBN(32, 64, 3))
        self.entry = nn.ModuleList(
            [
                Block(64, 128, 128, relu=False),
                Block(128, 256, 256),
                Block(256, 728, 728, stride=1 if eight else 2),
            ]
        )
        reach = 2 if eight else 1
        self.middle = nn.Sequential(
            *(Block(728, 728, 728, 728, pooled=False, dilation=reach) for _ in range(8))
        )
        last = 2 * reach if held else 1
        self.exit = nn.Sequential(
            Block(728, 728, 1024, stride=1 if held else 2, dilation=reach),
            *_separable(1024, 1536, last), nn.ReLU(inplace=True),
            *_separable(1536, 2048, last), nn.ReLU(inplace=True),
        )  # fmt: skip

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W) RGB 0..1 → (N, w_i, H/s_i, W/s_i) for each of ``strides``, rounded up."""
        x = self.stem(2 * x - 1)  # (N, 64, H/2, W/2)
        features = [x]
        for block in self.entry:
            x = block(x)
            features.append(x)  # (N, 128, H/4, W/4), (N, 256, H/8, W/8), (N, 728, H/16, W/16)
        features[-1] = x = self.middle(x)
        return [*features, self.exit(x)]  # (N, 2048, H/32, W/32)
