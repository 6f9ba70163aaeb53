"""The layers that more than one network is built of."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvBN(nn.Sequential):
    """Convolution without bias, batch norm, and ReLU unless ``act`` is off."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        k: int = 1,
        *,
        stride: int = 1,
        dilation: int = 1,
        act: bool = True,
    ) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(c_in, c_out, k, stride, dilation * (k // 2), dilation, bias=False),
            nn.BatchNorm2d(c_out),
        ]
        if act:
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers)


class Depthwise(nn.Conv2d):
    """One k×k filter a channel.

    Where a pointwise convolution with a norm follows and nothing non-linear lies between, a norm of
    its own would only cost training time.
    """

    def __init__(self, c: int, k: int = 3, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__(c, c, k, stride, dilation * (k // 2), dilation, groups=c, bias=False)
        self.dear = stride > 1 or dilation > 1 or k > 3

    def forward(self, x: Tensor) -> Tensor:
        """In bfloat16 a CPU takes 3 to 10 times as long for the gradient of all but plain 3×3."""
        if self.dear and self.training and x.device.type == "cpu":
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.float()).to(x.dtype)
        return super().forward(x)


class Separable(nn.Sequential):
    """Depthwise k×k, then pointwise 1×1: the light stand-in for a full convolution."""

    def __init__(
        self, c_in: int, c_out: int, k: int = 3, *, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__(Depthwise(c_in, k, stride=stride, dilation=dilation), ConvBN(c_in, c_out))


def upsample(x: Tensor, scale: float = 2.0) -> Tensor:
    """Bilinear, half-pixel centres: with the convolution after it, no checkerboard."""
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)
