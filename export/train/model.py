"""The street network, whole, in this one file: backbone, pyramid, boxes, mask. No data, no losses.

One depthwise-separable backbone feeds a feature pyramid; three YOLO grids (strides 8, 16, 32) read
boxes from it and a decoder with skips reads the mask. Fully convolutional: any height and width
that are multiples of 32. TensorRT, OpenVINO and ONNX Runtime run every operator of it in FP16.

Shapes at the line ends are for an input of (N, 3, H, W).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.data.camvid import BOX_CLASSES, CLASSES

STRIDES = (8, 16, 32)

# Widths and heights in input pixels, three for each stride; k-means on the boxes of CamVid train at
# the scale of a 384x640 input (docs/experiments/anchors.py prints this table).
ANCHORS: tuple[tuple[tuple[float, float], ...], ...] = (
    ((5.0, 18.0), (10.0, 12.0), (10.0, 28.0)),
    ((18.0, 18.0), (13.0, 45.0), (32.0, 33.0)),
    ((21.0, 64.0), (47.0, 76.0), (110.0, 130.0)),
)


@dataclass(frozen=True, slots=True)
class Shape:
    """Widths and depths. ``mask_stride`` is the mask's resolution in the exported file: 4 or 2."""

    stem: int = 32
    widths: tuple[int, int, int, int] = (48, 96, 192, 256)
    depths: tuple[int, int, int, int] = (1, 3, 5, 3)
    expand: int = 2
    pyramid: int = 96
    mask: int = 64
    mask_stride: int = 4


class Outputs(NamedTuple):
    """Raw outputs: per stride (N, A·(5+C), H/s, W/s) box logits; mask logits (N, K, H/4, W/4)."""

    boxes: tuple[Tensor, Tensor, Tensor]
    mask: Tensor


class ConvBN(nn.Sequential):
    """Convolution without bias, batch norm, and ReLU unless ``act`` is off."""

    def __init__(
        self, c_in: int, c_out: int, k: int = 1, *, stride: int = 1, act: bool = True
    ) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(c_in, c_out, k, stride, k // 2, bias=False),
            nn.BatchNorm2d(c_out),
        ]
        if act:
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers)


class Depthwise(nn.Conv2d):
    """One k×k filter a channel, without a norm behind it.

    A pointwise convolution with a norm always follows; with nothing non-linear between them a
    second norm only costs training time.
    """

    def __init__(self, c: int, k: int = 3, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__(c, c, k, stride, dilation * (k // 2), dilation, groups=c, bias=False)
        self.uneven = stride > 1 or dilation > 1

    def forward(self, x: Tensor) -> Tensor:
        """In bfloat16 the backward pass of strides and dilations takes a CPU ten times as long."""
        if self.uneven and self.training and x.device.type == "cpu":
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.float()).to(x.dtype)
        return super().forward(x)


class Separable(nn.Sequential):
    """Depthwise k×k, then pointwise 1×1: the light stand-in for a full convolution."""

    def __init__(self, c_in: int, c_out: int, k: int = 3, *, stride: int = 1) -> None:
        super().__init__(Depthwise(c_in, k, stride=stride), ConvBN(c_in, c_out))


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

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv = Separable(c_in, c_out, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, h, w) → (N, c_out, h/2, w/2)."""
        out: Tensor = self.conv(x)
        return out


class Backbone(nn.Module):
    """Four stages at strides 4, 8, 16, 32; the last two look wide by dilation."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        w, d, e = shape.widths, shape.depths, shape.expand
        self.stem = ConvBN(3, shape.stem, 3, stride=2)
        # dilations grow along a stage so that neighbouring blocks see different neighbourhoods
        reach = ((1, 1, 1), (1, 1, 1, 1), (1, 2, 1, 4, 1, 2, 1), (1, 2, 3, 1))
        stages, c = [], shape.stem
        for width, depth, dilations in zip(w, d, reach, strict=True):
            blocks = [Block(width, expand=e, dilation=dilations[i]) for i in range(depth)]
            stages.append(nn.Sequential(Down(c, width), *blocks))
            c = width
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the stem's features and those of the four stages."""
        x = stem = self.stem(x)  # (N, stem, H/2, W/2)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)  # (N, w_i, H/2^(i+2), W/2^(i+2))
        return stem, features


def upsample(x: Tensor, scale: float = 2.0) -> Tensor:
    """Bilinear, half-pixel centres: with the convolution after it, no checkerboard."""
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)


class BoxHead(nn.Module):
    """One separable convolution, then the raw predictions of every anchor of a cell."""

    def __init__(self, c: int, anchors: int, classes: int, stride: int) -> None:
        super().__init__()
        self.conv = Separable(c, c)
        self.out = nn.Conv2d(c, anchors * (5 + classes), 1)
        # Start from the prior that a cell rarely holds an object (8 in a 640x640 image) and that
        # classes are even: else the first epochs only unlearn false objects (arXiv 1708.02002).
        assert self.out.bias is not None
        with torch.no_grad():
            bias = self.out.bias.view(anchors, 5 + classes)
            bias[:, 4] = torch.tensor(8 / (640 / stride) ** 2).log()
            bias[:, 5:] = torch.tensor(0.6 / (classes - 0.99999)).log()

    def forward(self, x: Tensor) -> Tensor:
        """(N, c, h, w) → (N, A·(5+C), h, w) logits."""
        out: Tensor = self.out(self.conv(x))
        return out


class StreetNet(nn.Module):
    """Boxes and mask from one pass over the image."""

    def __init__(
        self,
        shape: Shape | None = None,
        *,
        box_classes: tuple[str, ...] = BOX_CLASSES,
        mask_classes: tuple[str, ...] = CLASSES,
        anchors: tuple[tuple[tuple[float, float], ...], ...] = ANCHORS,
    ) -> None:
        super().__init__()
        self.shape = shape = shape or Shape()
        self.box_classes, self.mask_classes, self.anchors = box_classes, mask_classes, anchors
        w, p = shape.widths, shape.pyramid
        self.backbone = Backbone(shape)
        self.context = ConvBN(w[3], w[3])
        self.lateral = nn.ModuleList([ConvBN(w[1], p), ConvBN(w[2], p), ConvBN(w[3], p)])
        self.smooth = nn.ModuleList([Separable(p, p), Separable(p, p)])
        self.heads = nn.ModuleList(
            BoxHead(p, len(a), len(box_classes), s) for a, s in zip(anchors, STRIDES, strict=True)
        )
        self.mask_in = ConvBN(p, shape.mask)
        self.mask_skip = ConvBN(w[0], shape.mask, act=False)
        m = shape.mask
        self.mask_conv = nn.Sequential(Separable(m, m), Separable(m, m))
        self.mask_out = nn.Conv2d(shape.mask, len(mask_classes), 1)

    def forward(self, x: Tensor) -> Outputs:
        """(N, 3, H, W) RGB 0..1 → raw outputs."""
        return self.with_features(x)[0]

    def with_features(self, x: Tensor) -> tuple[Outputs, Tensor]:
        """The raw outputs and the backbone's features at stride 16, which an AuxMask reads."""
        _, (s4, s8, s16, s32) = self.backbone(x)
        # what the whole image shows, given to every cell of the coarsest grid
        s32 = s32 + self.context(s32.mean((2, 3), keepdim=True))  # (N, w3, H/32, W/32)
        p32 = self.lateral[2](s32)  # (N, p, H/32, W/32)
        p16 = self.smooth[1](self.lateral[1](s16) + upsample(p32))  # (N, p, H/16, W/16)
        p8 = self.smooth[0](self.lateral[0](s8) + upsample(p16))  # (N, p, H/8, W/8)
        boxes = (self.heads[0](p8), self.heads[1](p16), self.heads[2](p32))
        m = F.relu(upsample(self.mask_in(p8)) + self.mask_skip(s4))  # (N, m, H/4, W/4)
        return Outputs(boxes, self.mask_out(self.mask_conv(m))), s16  # mask (N, K, H/4, W/4)


class AuxMask(nn.Sequential):
    """A mask from the features at stride 16, for training only: no part of what is exported.

    It gives the middle of the backbone a gradient of its own (PSPNet, arXiv 1612.01105).
    """

    def __init__(self, shape: Shape, classes: int) -> None:
        width = shape.widths[2]
        super().__init__(Separable(width, shape.mask), nn.Conv2d(shape.mask, classes, 1))
