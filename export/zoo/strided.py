"""A small encoder of strided convolutions and its mirror of transposed ones, without skips.

The network for pets' outlines of F. Chollet's "Deep Learning with Python" (2nd edition, 9.2):
strides instead of pooling, since where something is must not be lost.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from export.zoo.mask_net import MaskNet
from export.zoo.trunks.base import Trunk

WIDTHS = (64, 128, 256)


class Encoder(Trunk):
    """Two 3×3 convolutions a stride, the first of which halves; features at strides 2, 4, 8."""

    strides = (2, 4, 8)
    widths = WIDTHS
    early = ("stages.0", "stages.1")

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(c_in, c_out, 3, 2, 1), nn.ReLU(inplace=True),
                nn.Conv2d(c_out, c_out, 3, 1, 1), nn.ReLU(inplace=True),
            )
            for c_in, c_out in pairwise((3, *WIDTHS))
        )  # fmt: skip

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W) RGB 0..1 → (N, 64, H/2, W/2), (N, 128, H/4, W/4), (N, 256, H/8, W/8)."""
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class Strided(MaskNet):
    """The encoder, then two transposed convolutions a stride, the second of which doubles."""

    multiple = 8

    def __init__(self, backbone: str, classes: int) -> None:
        super().__init__()
        self.backbone = Encoder()
        layers: list[nn.Module] = []
        for c_in, c_out in pairwise((256, *reversed(WIDTHS))):
            layers += [
                nn.ConvTranspose2d(c_in, c_out, 3, 1, 1), nn.ReLU(inplace=True),
                nn.ConvTranspose2d(c_out, c_out, 3, 2, 1, output_padding=1), nn.ReLU(inplace=True),
            ]  # fmt: skip
        self.decoder = nn.Sequential(*layers)
        self.mask_out = nn.Conv2d(64, classes, 3, padding=1)
        for module in self.modules():  # as Keras begins: no norm makes up for small weights
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def logits(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) RGB 0..1 → (N, K, H, W)."""
        y = self.decoder(self.backbone(x)[-1])  # (N, 64, H, W)
        out: Tensor = self.mask_out(y)
        return out
