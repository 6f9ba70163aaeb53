"""ResNet-18 as a backbone (arXiv 1512.03385), by torchvision's and timm's names of its layers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.zoo.trunks.base import Trunk
from export.zoo.trunks.vgg import MEAN


class BasicBlock(nn.Module):
    """Two 3×3 convolutions, added to what came in."""

    def __init__(self, c_in: int, c_out: int, *, stride: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, dilation, dilation, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.downsample = (
            nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))
            if c_in != c_out
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, h, w) → (N, c_out, h/stride, w/stride)."""
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.downsample(x))


class ResNet18(Trunk):
    """Four layers of two blocks; features at strides 2 (the stem) to 32.

    No stride is above ``output_stride``: the layers that would halve once more are dilated.
    """

    early = ("conv1", "bn1", "layer1")
    widths = (64, 64, 128, 256, 512)

    def __init__(self, *, output_stride: int = 32) -> None:
        super().__init__()
        self.strides = tuple(min(s, output_stride) for s in (2, 4, 8, 16, 32))
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        dilation = 1
        for i, s in enumerate((4, 8, 16, 32)):
            c_in, c_out = self.widths[i : i + 2]
            stride = 2 if 4 < s <= output_stride else 1
            dilation *= 2 if s > output_stride else 1
            first = BasicBlock(c_in, c_out, stride=stride, dilation=dilation)
            second = BasicBlock(c_out, c_out, stride=1, dilation=dilation)
            self.add_module(f"layer{i + 1}", nn.Sequential(first, second))
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W) RGB 0..1 → (N, w_i, H/s_i, W/s_i) for each of ``strides``, rounded up."""
        x = F.relu(self.bn1(self.conv1(x - self.mean)))  # (N, 64, H/2, W/2)
        features = [x]
        x = F.max_pool2d(x, 3, 2, 1)  # (N, 64, H/4, W/4)
        for i in range(1, 5):
            x = self.get_submodule(f"layer{i}")(x)
            features.append(x)
        return features
