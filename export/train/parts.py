"""Which parts of a network stay as they came, and how fast each of the others learns."""

from __future__ import annotations

from torch import nn
from torch.optim import AdamW

from export.train.net.nets import Network
from export.train.recipe import Recipe

HEADS = ("heads.", "mask_conv.", "mask_out.", "class_out.", "box_out.")
"""What reads boxes and mask from the features: learns at ``lr_head``."""


def frozen_parts(net: Network, freeze: str) -> tuple[str, ...]:
    """The parts of the network that ``Recipe.freeze`` keeps as they came."""
    if freeze == "early":
        return tuple(f"backbone.{part}" for part in net.backbone.early)
    if freeze != "features":
        return (freeze,) if freeze else ()
    return tuple(name for name, _ in net.named_children() if f"{name}." not in HEADS)


def optimiser_of(
    net: Network, aux: nn.Module | None, recipe: Recipe, new: frozenset[str]
) -> tuple[AdamW, list[float]]:
    """AdamW over what is not frozen, and each group's rate as a share of ``Recipe.lr``.

    Heads, the auxiliary mask and ``new`` tensors learn at ``lr_head``, the rest of the backbone at
    ``lr_backbone``; norms and biases do not decay.
    """
    head = recipe.lr_head / recipe.lr if recipe.lr_head else 1.0
    trunk = recipe.lr_backbone / recipe.lr if recipe.lr_backbone else 1.0

    def rate_of(name: str) -> float:
        if name in new or name.startswith(HEADS):
            return head
        return trunk if name.startswith("backbone.") else 1.0

    named = [(p, rate_of(n)) for n, p in net.named_parameters() if p.requires_grad]
    if aux is not None:
        named += [(p, head) for p in aux.parameters()]
    groups, rates = [], []
    for rate in dict.fromkeys([1.0, head, trunk]):
        for decay, flat in ((recipe.weight_decay, False), (0.0, True)):
            chosen = [p for p, r in named if r == rate and (p.ndim <= 1) == flat]
            if chosen:
                groups.append({"params": chosen, "weight_decay": decay})
                rates.append(rate)
    return AdamW(groups, lr=recipe.lr, fused=True), rates
