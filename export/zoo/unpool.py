"""Max-unpooling of 2×2 windows by operators that TensorRT has: it knows no MaxUnpool."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def where_largest(x: Tensor) -> Tensor:
    """Which pixel of each 2×2 window of (N, C, H, W) is its largest: (N, C, H/2, W/2), 0 to 3.

    Counted by rows; of equal ones the first, as max-pooling remembers them.
    """
    n, c, h, w = (int(side) for side in x.shape)
    window = F.pixel_unshuffle(x, 2).reshape(n, c, 4, h // 2, w // 2)  # space to depth
    return window.argmax(2)


def unpool(x: Tensor, where: Tensor) -> Tensor:
    """Each value of (N, C, h, w) at its pixel of 2×2, and zeros around: (N, C, 2h, 2w)."""
    n, c, h, w = (int(side) for side in x.shape)
    places = torch.arange(4, device=x.device).view(1, 1, 4, 1, 1)
    hot = (where.unsqueeze(2) == places).to(x.dtype)  # (N, C, 4, h, w), one of four is 1
    mask = F.pixel_shuffle(hot.reshape(n, 4 * c, h, w), 2)  # (N, C, 2h, 2w), depth to space
    values = F.interpolate(x, scale_factor=2.0, mode="nearest")
    return torch.where(mask > 0, values, torch.zeros((), dtype=x.dtype, device=x.device))
