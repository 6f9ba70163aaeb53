"""What a network knows of its backbone."""

from __future__ import annotations

from torch import Tensor, nn


class Trunk(nn.Module):
    """(N, 3, H, W) RGB 0..1 → a list of (N, w_i, H/s_i, W/s_i), from fine to coarse.

    Odd sides are rounded up.
    """

    strides: tuple[int, ...]
    widths: tuple[int, ...]
    early: tuple[str, ...]
    """The parts up to stride 4."""
    mean: Tensor
