"""What training and export know of a network of the zoo: a mask, no boxes. It builds none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from export.zoo.trunks.base import Trunk


class Outputs(NamedTuple):
    """Raw outputs: per stride (N, A·(5+C), H/s, W/s) box logits; mask logits (N, K, H/4, W/4).

    Networks of the zoo have no boxes, and a stride of the mask of their own.
    """

    boxes: tuple[Tensor, ...]
    mask: Tensor


@dataclass(frozen=True, slots=True)
class Plan:
    """What it takes to build a network of the zoo again, beside its classes and weights."""

    net: str
    backbone: str


class MaskNet(nn.Module):
    """The base of the zoo's networks with a mask.

    ``mask_out`` is a convolution whose bias reaches the logits as it is. ``backbone`` is what
    weights learnt elsewhere fit.
    """

    backbone: Trunk
    mask_out: nn.Conv2d
    stride = 1
    """The logits come at this stride."""
    multiple = 1
    """Height and width of an image must be multiples of it."""
    shape: Plan
    mask_classes: tuple[str, ...]
    box_classes: tuple[str, ...] = ()
    anchors: tuple[tuple[tuple[float, float], ...], ...] = ()

    def logits(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) RGB 0..1 → (N, K, H/stride, W/stride)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Outputs:
        """(N, 3, H, W) RGB 0..1 → raw outputs.

        Raises:
            ValueError: the size of the image does not fit.
        """
        for side, n in zip(("height", "width"), x.shape[2:], strict=True):
            if n % self.multiple:
                raise ValueError(f"{side} {n}, wanted {sizes_that_fit(int(n), self.multiple)}")
        return Outputs((), self.logits(x))

    def with_features(self, x: Tensor) -> tuple[Outputs, None]:
        """As ``forward``; there are no features for an auxiliary mask."""
        return self(x), None


def sizes_that_fit(n: int, multiple: int) -> str:
    """In words, which sides fit, with those next to ``n``."""
    below = n // multiple * multiple
    near = f"{below} or {below + multiple}" if below else f"{multiple}"
    return f"a multiple of {multiple}, such as {near}"


def enlarged(x: Tensor, scale: int, like: Tensor) -> Tensor:
    """Bilinear, cut to the height and width of ``like``: strides round odd sides up."""
    h, w = int(like.shape[2]), int(like.shape[3])
    y = F.interpolate(x, scale_factor=float(scale), mode="bilinear", align_corners=False)
    return cut(y, h, w)


def cut(x: Tensor, h: int, w: int) -> Tensor:
    """The upper left (N, C, h, w) of a map; without an operator where that is all of it."""
    return x if (int(x.shape[2]), int(x.shape[3])) == (h, w) else x[:, :, :h, :w]
