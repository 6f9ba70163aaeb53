"""The street network: pyramid, boxes and mask over a backbone. No data, no losses.

A depthwise-separable backbone, ``plain`` or ``lite0``, feeds a feature pyramid; three YOLO grids
(strides 8, 16, 32) read boxes from it and a decoder with skips reads the mask. Fully convolutional:
any height and width that are multiples of 32. TensorRT, OpenVINO and ONNX Runtime run every
operator of it in FP16.

Shapes at the line ends are for an input of (N, 3, H, W).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.data.camvid import BOX_CLASSES, CLASSES
from export.zoo.layers import ConvBN, Separable, upsample
from export.zoo.mask_net import Outputs
from export.zoo.trunks import lite0, plain

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
    """Widths and depths. ``mask_stride`` is the mask's resolution in the exported file: 4 or 2.

    ``stem``, ``depths`` and ``expand`` are those of the plain backbone; lite0 has its own.
    ``bottom_up`` is 1 where the coarser grids also read from the finer ones (arXiv 1803.01534).
    """

    backbone: str = "plain"
    stem: int = plain.STEM
    widths: tuple[int, int, int, int] = plain.WIDTHS
    depths: tuple[int, int, int, int] = plain.DEPTHS
    expand: int = plain.EXPAND
    pyramid: int = 96
    mask: int = 64
    mask_stride: int = 4
    bottom_up: int = 0


SHAPES = {
    "plain": Shape(),
    "lite0": Shape(backbone="lite0", widths=lite0.WIDTHS, mask=48, bottom_up=1),
}
"""The network over each backbone, as it is trained."""


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
            bias[:, 5:] = torch.tensor(0.6 / (max(classes, 1) - 0.99999)).log()

    def forward(self, x: Tensor) -> Tensor:
        """(N, c, h, w) → (N, A·(5+C), h, w) logits."""
        out: Tensor = self.out(self.conv(x))
        return out


class BottomUp(nn.Module):
    """What a finer grid saw exactly, given to the next coarser one."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.down = Separable(c, c, stride=2)
        self.smooth = Separable(c, c)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """(N, c, h, w) and (N, c, 2h, 2w) → (N, c, h, w)."""
        out: Tensor = self.smooth(coarse + self.down(fine))
        return out


class StreetNet(nn.Module):
    """Boxes and mask from one pass over the image.

    Without classes of one of them, its layers are there, and what they say means nothing.
    """

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
        self.backbone = (
            lite0.Lite0()
            if shape.backbone == "lite0"
            else plain.Backbone(shape.stem, shape.widths, shape.depths, shape.expand)
        )
        self.context = ConvBN(w[3], w[3])
        self.lateral = nn.ModuleList([ConvBN(w[1], p), ConvBN(w[2], p), ConvBN(w[3], p)])
        self.smooth = nn.ModuleList([Separable(p, p), Separable(p, p)])
        self.bottom_up = nn.ModuleList(BottomUp(p) for _ in range(2 * shape.bottom_up))
        self.heads = nn.ModuleList(
            BoxHead(p, len(a), len(box_classes), s) for a, s in zip(anchors, STRIDES, strict=True)
        )
        self.mask_in = ConvBN(p, shape.mask)
        self.mask_skip = ConvBN(w[0], shape.mask, act=False)
        m = shape.mask
        self.mask_conv = nn.Sequential(Separable(m, m), Separable(m, m))
        self.mask_out = nn.Conv2d(shape.mask, max(len(mask_classes), 1), 1)

    def forward(self, x: Tensor) -> Outputs:
        """(N, 3, H, W) RGB 0..1 → raw outputs."""
        return self.with_features(x)[0]

    def with_features(self, x: Tensor) -> tuple[Outputs, Tensor]:
        """The raw outputs and the backbone's features at stride 16, which an AuxMask reads."""
        s4, s8, s16, s32 = self.backbone(x)  # each (N, w_i, H/s, W/s)
        # what the whole image shows, given to every cell of the coarsest grid
        s32 = s32 + self.context(s32.mean((2, 3), keepdim=True))  # (N, w3, H/32, W/32)
        p32 = self.lateral[2](s32)  # (N, p, H/32, W/32)
        p16 = self.smooth[1](self.lateral[1](s16) + upsample(p32))  # (N, p, H/16, W/16)
        p8 = self.smooth[0](self.lateral[0](s8) + upsample(p16))  # (N, p, H/8, W/8)
        m = F.relu(upsample(self.mask_in(p8)) + self.mask_skip(s4))  # (N, m, H/4, W/4)
        if self.bottom_up:
            p16 = self.bottom_up[0](p16, p8)
            p32 = self.bottom_up[1](p32, p16)
        boxes = (self.heads[0](p8), self.heads[1](p16), self.heads[2](p32))
        return Outputs(boxes, self.mask_out(self.mask_conv(m))), s16  # mask (N, K, H/4, W/4)


class AuxMask(nn.Sequential):
    """A mask from the features at stride 16, for training only: no part of what is exported.

    It gives the middle of the backbone a gradient of its own (PSPNet, arXiv 1612.01105).
    """

    def __init__(self, shape: Shape, classes: int) -> None:
        width = shape.widths[2]
        super().__init__(Separable(width, shape.mask), nn.Conv2d(shape.mask, classes, 1))
