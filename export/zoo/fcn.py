"""FCN-32s, FCN-16s and FCN-8s: classes scored per cell, finer scores added (arXiv 1411.4038).

On VGG-16 the scores are read from its fully connected layers, turned into convolutions, and from
pool4 and pool3; on other backbones from the same strides. Any size of image.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from export.zoo.mask_net import MaskNet, cut, enlarged
from export.zoo.trunks import trunk


class Twice(nn.ConvTranspose2d):
    """Upsampling ×2 that is learnt, beginning as bilinear interpolation.

    The border is repeated once around: with zeros there the scores would fade towards it. The
    source pads its images by 100 pixels against that.
    """

    def __init__(self, c: int) -> None:
        super().__init__(c, c, 4, stride=2, padding=3, bias=False)
        row = torch.tensor([0.25, 0.75, 0.75, 0.25])
        with torch.no_grad():
            self.weight.zero_()
            self.weight[range(c), range(c)] = row[:, None] * row

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(N, c, h, w) → (N, c, 2h, 2w)."""
        x = torch.cat([x[:, :, :1], x, x[:, :, -1:]], 2)  # exported, F.pad is six operators
        x = torch.cat([x[..., :1], x, x[..., -1:]], 3)  # (N, c, h + 2, w + 2)
        return super().forward(x, output_size)


class FCN(MaskNet):
    """Scores at stride 32, added to those of finer strides down to ``finest``, then enlarged.

    The source keeps its last transposed convolution at bilinear weights: plain interpolation.
    """

    def __init__(self, backbone: str, classes: int, *, finest: int) -> None:
        super().__init__()
        self.finest = finest
        self.backbone = trunk(backbone, fully_convolutional=True)
        self.at = {s: i for i, s in enumerate(self.backbone.strides)}
        width = {s: self.backbone.widths[i] for s, i in self.at.items()}
        coarser = [s for s in (32, 16, 8) if s > finest]
        self.score = nn.ModuleList(nn.Conv2d(width[s], classes, 1) for s in coarser)
        self.twice = nn.ModuleList(Twice(classes) for _ in coarser)
        self.mask_out = nn.Conv2d(width[finest], classes, 1)
        for skip in [*self.score, self.mask_out][1:]:  # begins as the network without it
            nn.init.zeros_(skip.weight)

    def logits(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) RGB 0..1 → (N, K, H, W)."""
        features = self.backbone(x)
        scores = [*self.score, self.mask_out]
        y = scores[0](features[self.at[32]])  # (N, K, H/32, W/32)
        for stride, score, twice in zip((16, 8), scores[1:], self.twice, strict=False):
            skip = score(features[self.at[stride]])  # (N, K, H/16, W/16), then H/8, W/8
            y = cut(twice(y), int(skip.shape[2]), int(skip.shape[3])) + skip
        return enlarged(y, self.finest, x)  # (N, K, H, W)
