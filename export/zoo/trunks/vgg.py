"""VGG-16 as a backbone (configuration D of arXiv 1409.1556), by torchvision's names of its layers.

``norm`` gives each convolution a batch norm (torchvision's vgg16_bn), as SegNet and DeconvNet have.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from export.zoo.trunks.base import Trunk

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Of ImageNet's RGB 0..1, by which torchvision's and timm's weights were trained."""
_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Width and convolutions of each, with a pooling behind it."""


class Vgg16(Trunk):
    """Thirteen 3×3 convolutions in five stages, and a pooling of 2×2 behind each.

    Features are what each stage gives before its pooling, and the last pooling: strides 1 to 32.
    ``fully_convolutional`` gives what FCN reads instead, the five poolings, the last one seen by
    the fully connected layers as convolutions (arXiv 1411.4038): strides 2 to 32. No stride is
    above ``output_stride``: a pooling that would halve once more takes 3×3 at every pixel, and what
    follows is dilated (DeepLab, arXiv 1412.7062).
    """

    def __init__(
        self, *, output_stride: int = 32, norm: bool = False, fully_convolutional: bool = False
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        c, stride, dilation, strides = 3, 1, 1, [1]
        for width, depth in _STAGES:
            for _ in range(depth):
                conv = nn.Conv2d(c, width, 3, padding=dilation, dilation=dilation)
                nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
                layers += [conv, *([nn.BatchNorm2d(width)] if norm else []), nn.ReLU(inplace=True)]
                c = width
            if stride < output_stride:
                # an odd side keeps its last row, as in Caffe, where FCN comes from
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
                stride *= 2
            else:
                layers.append(nn.MaxPool2d(3, 1, 1))
                dilation *= 2
            strides.append(stride)
        self.features = nn.Sequential(*layers)
        self.strides, self.widths = tuple(strides), (*(width for width, _ in _STAGES), 512)
        first_two = [i for i, m in enumerate(layers) if isinstance(m, nn.MaxPool2d)][1]
        self.early = tuple(f"features.{i}" for i in range(first_two))
        self.classifier: nn.Module | None = None
        if fully_convolutional:
            self.strides, self.widths = self.strides[1:], (*self.widths[:4], 4096)
            self.classifier = nn.Sequential(
                nn.Conv2d(512, 4096, 7, padding=3), nn.ReLU(inplace=True), nn.Dropout(),
                nn.Conv2d(4096, 4096, 1), nn.ReLU(inplace=True), nn.Dropout(),
            )  # fmt: skip
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W) RGB 0..1 → (N, w_i, H/s_i, W/s_i) for each of ``strides``, rounded up."""
        x = x - self.mean
        before, pooled = [], []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                before.append(x)
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                pooled.append(x)
        if self.classifier is None:
            return [*before, x]
        return [*pooled[:-1], self.classifier(x)]
