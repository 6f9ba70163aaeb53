"""DeepLab, v1 to v3+: dilated convolutions keep the features fine and still see far.

v1 one wide dilated layer (arXiv 1412.7062), v2 four side by side (1606.00915), v3 those and the
whole image (1706.05587), v3+ all separable and a decoder that reads fine features (1802.02611).
The fully connected CRF behind v1 and v2 is no part of the network. Any size of image.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from export.zoo.layers import ConvBN, Separable
from export.zoo.mask_net import MaskNet, enlarged
from export.zoo.trunks import trunk


class DeepLab(MaskNet):
    """v1 and v2: at stride 8, a wide layer for each of ``rates``, scored and summed.

    Twice as wide as the backbone, and 1024 at most, as on VGG-16 in the source.
    """

    def __init__(self, backbone: str, classes: int, *, rates: tuple[int, ...]) -> None:
        super().__init__()
        self.backbone = trunk(backbone, output_stride=8)
        c = self.backbone.widths[-1]
        wide = min(2 * c, 1024)
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(c, wide, 3, padding=rate, dilation=rate), nn.ReLU(inplace=True),
                nn.Dropout(), nn.Conv2d(wide, wide, 1), nn.ReLU(inplace=True), nn.Dropout(),
            )
            for rate in rates
        )  # fmt: skip
        # the sum of a 1x1 convolution of each is one of all of them side by side
        self.mask_out = nn.Conv2d(wide * len(rates), classes, 1)

    def logits(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) RGB 0..1 → (N, K, H, W)."""
        y = self.backbone(x)[-1]  # (N, c, H/8, W/8)
        y = torch.cat([branch(y) for branch in self.branches], 1)  # (N, wide · rates, H/8, W/8)
        return enlarged(self.mask_out(y), 8, x)  # (N, K, H, W)


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling of v3: 1×1, three dilated 3×3, and the mean of the image."""

    def __init__(self, c_in: int, c: int = 256, *, separable: bool) -> None:
        super().__init__()
        self.point = ConvBN(c_in, c)
        self.branches = nn.ModuleList(
            Separable(c_in, c, dilation=rate) if separable else ConvBN(c_in, c, 3, dilation=rate)
            for rate in (6, 12, 18)  # at stride 16
        )
        self.image = ConvBN(c_in, c)
        self.join = ConvBN(5 * c, c)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, h, w) → (N, c, h, w)."""
        n, _, h, w = (int(side) for side in x.shape)
        whole = self.image(x.mean((2, 3), keepdim=True))  # (N, c, 1, 1)
        whole = whole.expand(n, int(whole.shape[1]), h, w)
        near = [self.point(x), *(branch(x) for branch in self.branches)]
        out: Tensor = self.join(torch.cat([*near, whole], 1))
        return out


class DeepLabV3(MaskNet):
    """v3: the pyramid at stride 16, scored and enlarged once."""

    def __init__(self, backbone: str, classes: int) -> None:
        super().__init__()
        self.backbone = trunk(backbone, output_stride=16)
        self.aspp = ASPP(self.backbone.widths[-1], separable=False)
        self.mask_out = nn.Conv2d(256, classes, 1)

    def logits(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) RGB 0..1 → (N, K, H, W)."""
        y = self.aspp(self.backbone(x)[-1])  # (N, 256, H/16, W/16)
        return enlarged(self.mask_out(y), 16, x)  # (N, K, H, W)


class DeepLabV3Plus(MaskNet):
    """v3+: the pyramid enlarged ×4, beside features of stride 4, two separable convolutions."""

    def __init__(self, backbone: str, classes: int) -> None:
        super().__init__()
        self.backbone = trunk(backbone, output_stride=16)
        self.fine = self.backbone.strides.index(4)
        self.aspp = ASPP(self.backbone.widths[-1], separable=True)
        self.low = ConvBN(self.backbone.widths[self.fine], 48)
        self.decoder = nn.Sequential(Separable(256 + 48, 256), Separable(256, 256))
        self.mask_out = nn.Conv2d(256, classes, 1)

    def logits(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) RGB 0..1 → (N, K, H, W)."""
        features = self.backbone(x)
        low = self.low(features[self.fine])  # (N, 48, H/4, W/4)
        y = enlarged(self.aspp(features[-1]), 4, low)  # (N, 256, H/4, W/4)
        y = self.decoder(torch.cat([y, low], 1))  # (N, 256, H/4, W/4)
        return enlarged(self.mask_out(y), 4, x)  # (N, K, H, W)
