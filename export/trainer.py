"""One training in memory: recipe, network, its average, optimiser; runs epochs, writes no file.

The whole set lies in memory on the device and is augmented there. Every random number of an epoch
comes from a generator seeded with (seed, epoch), so a training that was killed and resumed gives
what an unbroken one gives.
"""

from __future__ import annotations

import math
import sys
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from engines.errors import ExportError
from export.augment import Augment
from export.camvid import CLASSES, Split
from export.checkpoint import network_from, network_state
from export.dataset import TrainingSet
from export.loss import StreetLoss
from export.model import ANCHORS, StreetNet


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


def learning_rate(recipe: Recipe, progress: float) -> float:
    """Linear warm-up, then a half cosine down to 1 %; ``progress`` counts epochs."""
    if progress < recipe.warmup_epochs:
        return recipe.lr * (progress + 0.05) / (recipe.warmup_epochs + 0.05)
    rest = (progress - recipe.warmup_epochs) / max(recipe.epochs - recipe.warmup_epochs, 1)
    return recipe.lr * (0.01 + 0.99 * (1 + math.cos(math.pi * min(rest, 1.0))) / 2)


class Trainer:
    """The state of one training: network, its average, optimiser, epoch."""

    def __init__(self, recipe: Recipe, data: TrainingSet, *, device: torch.device) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.data, self.device = recipe, data, device
        self.net = StreetNet().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = deepcopy(self.net).eval()
        self.loss = StreetLoss(ANCHORS, data.class_weights(len(CLASSES)).to(device))
        self.augment = Augment(size_hw=(recipe.height, recipe.width))
        decay = [p for p in self.net.parameters() if p.ndim > 1]
        plain = [p for p in self.net.parameters() if p.ndim <= 1]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": decay, "weight_decay": recipe.weight_decay},
                {"params": plain, "weight_decay": 0.0},
            ],
            lr=recipe.lr,
        )
        self.epoch = 0
        self.steps = 0

    def start_from(self, state: dict[str, Any], *, origin: Path) -> None:
        """Begin with the averaged weights of another training.

        Raises:
            ExportError: they do not fit.
        """
        weights = self._same_network(state, origin=origin).state_dict()
        self.net.load_state_dict(weights)
        self.average.load_state_dict(weights)

    def _same_network(self, state: dict[str, Any], *, origin: Path) -> StreetNet:
        """The network of a checkpoint, refused where it is not the one that is trained here."""
        net = network_from(state, origin=origin)
        mine, theirs = network_state(self.net), network_state(net)
        for key, wanted in mine.items():
            if theirs[key] != wanted:
                raise ExportError(
                    f"{origin}: its network has {key} {theirs[key]}, wanted {wanted}. Start from a "
                    "checkpoint of this network, or from none in another --out folder."
                )
        return net

    def order(self, generator: torch.Generator) -> Tensor:
        """Indices of one epoch: every photograph once and a share of synthetic frames."""
        real, total = self.data.real, len(self.data)
        index = torch.arange(real)
        share = min(int(real * self.recipe.synthetic_share), total - real)
        if share > 0:
            drawn = real + torch.randperm(total - real, generator=generator)[:share]
            index = torch.cat([index, drawn])
        return index[torch.randperm(len(index), generator=generator)]

    def run_epoch(self, *, progress_bar: bool) -> dict[str, float]:
        """One pass; returns the mean of every part of the loss.

        Raises:
            FloatingPointError: a loss or its gradient is not finite; says in which step.
        """
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + self.epoch)
        index = self.order(generator)
        size = self.recipe.batch
        # a last batch of one image would break batch norm: dropped with the rest of the remainder
        batches = index[: len(index) // size * size].view(-1, size)
        sums: dict[str, Tensor] = {}
        self.net.train()
        bar = tqdm(
            batches, desc=f"epoch {self.epoch + 1}/{self.recipe.epochs}", leave=False,
            disable=not progress_bar, file=sys.stderr,
        )  # fmt: skip
        for i, chosen in enumerate(bar):
            rate = learning_rate(self.recipe, self.epoch + i / len(batches))
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            batch = self.augment(self.data.batch(chosen.to(self.device)), generator=generator)
            images = batch.images.contiguous(memory_format=torch.channels_last)
            with torch.autocast(self.device.type, torch.bfloat16):
                outputs = self.net(images)
            total, parts = self.loss(outputs, batch)
            self.optimiser.zero_grad(set_to_none=True)
            total.backward()  # type: ignore[no-untyped-call]
            norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), 10.0)
            # before the step: a gradient that is not finite would ruin every weight, and with it
            # the checkpoint of this epoch, though the loss itself still looked well
            if not torch.isfinite(total + norm):
                raise FloatingPointError(
                    f"the loss is {total.item():.3g} "
                    f"({', '.join(f'{k} {v.item():.3g}' for k, v in parts.items())}) and its "
                    f"gradient {norm.item():.3g} in epoch {self.epoch + 1}, step {i + 1}"
                )
            self.optimiser.step()
            self._follow()
            for name, value in parts.items():
                sums[name] = sums.get(name, torch.zeros((), device=self.device)) + value
        self.epoch += 1
        return {name: float(value) / max(len(batches), 1) for name, value in sums.items()}

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the averaged weights a little; early on faster, as the first are worthless."""
        self.steps += 1
        keep = self.recipe.ema * (1 - math.exp(-self.steps / 300))
        mine, theirs = self.average.state_dict(), self.net.state_dict()
        for name, value in mine.items():
            if value.dtype.is_floating_point:
                value.lerp_(theirs[name].to(value.dtype), 1 - keep)
            else:
                value.copy_(theirs[name])

    def state(self) -> dict[str, Any]:
        """Everything that a resumed training needs, and what an export needs."""
        recipe = asdict(self.recipe)
        recipe["splits"] = list(self.recipe.splits)
        return {
            **network_state(self.net),
            "ema": self.average.state_dict(),
            "net": self.net.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "epoch": self.epoch,
            "steps": self.steps,
            "recipe": recipe,
            "mask_weights": self.loss.class_weights.tolist(),
        }

    def restore(self, state: dict[str, Any], *, origin: Path) -> None:
        """Go on where ``state`` left off.

        Raises:
            ExportError: it belongs to another recipe or network, or lacks something.
        """
        mine, theirs = self.state()["recipe"], state.get("recipe")
        if not isinstance(theirs, dict):
            raise ExportError(
                f"{origin}: holds weights but no training that could be resumed. Start from it "
                "with --init and another --out folder."
            )
        differing = [k for k in mine if mine[k] != theirs.get(k)]
        if differing:
            raise ExportError(
                f"{origin}: belongs to a training with other {', '.join(differing)}. Use the same "
                "options to resume, or another --out folder to start afresh."
            )
        self.average.load_state_dict(self._same_network(state, origin=origin).state_dict())
        try:
            self.net.load_state_dict(state["net"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.epoch, self.steps = int(state["epoch"]), int(state["steps"])
        except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as exc:
            raise ExportError(
                f"{origin}: the state of its training is damaged ({type(exc).__name__}). Start "
                "from its weights with --init and another --out folder."
            ) from exc
