"""What decides the outcome of a training, and the learning rate it gives; it trains nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

from export.data.camvid import Split


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides the outcome of a training; kept in the checkpoint and in the model card."""

    splits: tuple[Split, ...] = ("train",)
    epochs: int = 100
    batch: int = 4
    lr: float = 1.5e-3
    weight_decay: float = 0.02
    warmup_epochs: int = 3
    ema: float = 0.999
    synthetic: int = 400
    """Frames of the synthetic street in the set."""
    synthetic_share: float = 0.25
    """Synthetic frames an epoch, as a share of the photographs."""
    seed: int = 0
    height: int = 320
    width: int = 448
    """Size of the augmented views."""
    init_sha256: str = ""
    """Checkpoint whose averaged weights the training starts from; empty: from scratch."""
    lr_head: float = 0.0
    """Learning rate of the heads and of what ``init`` did not give; 0: ``lr``."""
    freeze: str = ""
    """'backbone', or 'features', which is all but the heads: what stays as ``init`` gave it."""
    images: int = 0
    """Photographs, drawn from the splits by the seed; 0: all."""
    box_classes: str = ""
    """As export.data.class_set reads them; empty: CamVid's."""
    mask_classes: str = ""
    lovasz: float = 0.0
    """Weight of the Lovász-softmax term on the mask."""
    aux: float = 0.0
    """Weight of the mask read from stride 16 in training."""
    mask_gain: float = 1.0
    """Weight of all of the mask's terms beside those of the boxes."""
    paste: float = 0.0
    """Chance of each of a few rare objects to be pasted into a view."""
    mosaic: float = 0.0
    """Chance of a view to be put together from quarters of four."""
    gamma: float = 0.0
    """Views are raised to random powers of e^−gamma to e^gamma."""
    min_cells: float = 0.0
    """Root of an object's area, in cells of a grid, below which it is left to finer grids."""


def learning_rate(recipe: Recipe, progress: float) -> float:
    """Linear warm-up, then a half cosine down to 1 %; ``progress`` counts epochs.

    That of ``Recipe.lr``; the one of the heads goes in step with it.
    """
    if progress < recipe.warmup_epochs:
        return recipe.lr * (progress + 0.05) / (recipe.warmup_epochs + 0.05)
    rest = (progress - recipe.warmup_epochs) / max(recipe.epochs - recipe.warmup_epochs, 1)
    return recipe.lr * (0.01 + 0.99 * (1 + math.cos(math.pi * min(rest, 1.0))) / 2)
