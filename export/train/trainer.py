"""One training in memory: recipe, network, its average, optimiser; runs epochs, writes no file.

The whole set lies in memory on the device and is augmented there. Every random number of an epoch
comes from a generator seeded with (seed, epoch), so a training that was killed and resumed gives
what an unbroken one gives.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from edge.progress import counted
from engines.errors import ExportError
from export.train.batch import Batch
from export.train.checkpoint import difference, network_from, network_state, terms_of
from export.train.dataset import TrainingSet, class_weights
from export.train.log import LOSSES
from export.train.loss import Gains, StreetLoss
from export.train.net.nets import network_of
from export.train.net.street import ANCHORS, AuxMask, StreetNet
from export.train.parts import frozen_parts, optimiser_of
from export.train.recipe import Recipe, learning_rate, plain
from export.train.views.views import Views
from export.zoo.boxes.box_net import BoxNet
from export.zoo.boxes.targets import Objects

KEEP_S = 180.0
"""So much of an epoch is lost at most; an epoch of Cityscapes takes a CPU ten minutes or more."""


class Kept(NamedTuple):
    """What a start from other weights gave: their share of the network, and what begins anew."""

    share: float
    new: tuple[str, ...]


class CutOff(NamedTuple):
    """Where an epoch stands: batches done, the generator after them, and their losses summed."""

    batches: int
    generator: Tensor
    sums: dict[str, Tensor]


class Trainer:
    """The state of one training.

    Raises:
        ExportError: the images of an epoch do not fill a batch, or a batch no mosaic.
    """

    def __init__(
        self, recipe: Recipe, sets: Sequence[TrainingSet], *, device: torch.device
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.sets, self.device = recipe, sets, device
        self.terms = recipe.terms
        images = len(self.order(torch.Generator()))
        if images < recipe.batch:
            raise ExportError(
                f"an epoch of {images} images does not fill a batch of {recipe.batch}. Ask for "
                f"more images or a smaller --batch."
            )
        classes = recipe.classes
        net = network_of(recipe)
        self.net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = deepcopy(self.net).eval()
        labels = 1 if isinstance(net, BoxNet) else net.mask_out.out_channels
        if isinstance(net, BoxNet) and any(data.known is not None for data in sets):
            raise ExportError(
                f"--net {recipe.net}: the data sets label different classes of boxes, which it "
                "would take for background. Choose classes that all have, with --box-classes."
            )
        self.aux = None
        if recipe.aux and isinstance(net, StreetNet):
            self.aux = AuxMask(net.shape, labels).to(device)
        self.frozen = frozen_parts(self.net, recipe.freeze)
        for part in self.frozen:
            self.net.get_submodule(part).requires_grad_(False)
        weights = class_weights(sets, labels).to(device)
        gains = Gains(
            mask=recipe.mask_gain, lovasz=recipe.lovasz, aux=recipe.aux,
            **({} if net.box_classes else {"detection": 0.0}),
        )  # fmt: skip
        self.loss = StreetLoss(ANCHORS, weights, gains, min_cells=recipe.min_cells)
        self.views = Views(recipe, sets, classes, device=device)
        if device.type == "cuda":
            torch.set_float32_matmul_precision("high")
            torch.backends.cudnn.benchmark = True  # the views are all of one size
        self._build_optimiser(frozenset())
        self.epoch = 0
        self.steps = 0
        self.cut_off: CutOff | None = None

    def _build_optimiser(self, new: frozenset[str]) -> None:
        """Learn what is not frozen; ``new`` tensors at the rate of the heads."""
        self.optimiser, self.rates = optimiser_of(self.net, self.aux, self.recipe, new)
        self.parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        # the average follows weights and statistics; counters are copied
        mine, theirs = self.average.state_dict(), self.net.state_dict()
        real = [n for n, v in mine.items() if v.dtype.is_floating_point]
        self._followed = [mine[n] for n in real], [theirs[n] for n in real]
        self._counted = [(v, theirs[n]) for n, v in mine.items() if n not in set(real)]

    def start_from(self, state: dict[str, Any], *, origin: Path) -> Kept:
        """Begin with the averaged weights of another training, as far as they fit.

        What reads out classes is kept only where the classes and anchors are the same: a tensor of
        the same shape would mean others.

        Raises:
            ExportError: nothing fits, it has the other backbone, or one that is to be frozen is not
                all there.
        """
        given = network_from(state, origin=origin)
        if given.shape.backbone != self.net.shape.backbone:
            raise ExportError(
                f"{origin}: its backbone is {given.shape.backbone}, wanted "
                f"{self.net.shape.backbone}. Train with --backbone {given.shape.backbone}, or "
                "start from another checkpoint."
            )
        mine, theirs = self.net.state_dict(), given.state_dict()
        differing: tuple[str, ...] = ()
        if (given.box_classes, given.anchors) != (self.net.box_classes, self.net.anchors):
            differing += tuple(f"heads.{i}.out." for i in range(len(self.net.anchors)))
            differing += ("class_out.",)
        if given.mask_classes != self.net.mask_classes:
            differing += ("mask_out.",)
        fits = {
            name: value
            for name, value in theirs.items()
            if name in mine and mine[name].shape == value.shape and not name.startswith(differing)
        }
        learnt = {name: p.numel() for name, p in self.net.named_parameters()}
        new = tuple(name for name in learnt if name not in fits)
        share = sum(n for name, n in learnt.items() if name in fits) / sum(learnt.values())
        if share == 0:
            raise ExportError(
                f"{origin}: no tensor of it fits the network that is trained here. Start from a "
                "checkpoint of this network."
            )
        self._begin_with(fits, origin)
        self._build_optimiser(frozenset(new))
        self.terms |= terms_of(state)
        return Kept(share, new)

    def begin_with_backbone(self, weights: dict[str, Tensor], *, origin: Path) -> Kept:
        """Give the backbone its first weights, as many as another network has of them.

        Raises:
            ExportError: one is missing of a part that is to be frozen.
        """
        fits = {f"backbone.{name}": value for name, value in weights.items()}
        self._begin_with(fits, origin)
        size = {f"backbone.{n}": v.numel() for n, v in self.net.backbone.state_dict().items()}
        new = tuple(name for name in size if name not in fits)
        self._build_optimiser(frozenset(new))
        return Kept(sum(size[name] for name in fits) / sum(size.values()), new)

    def _begin_with(self, fits: dict[str, Tensor], origin: Path) -> None:
        """Load what fits; what is to be frozen must be all there."""
        frozen = tuple(f"{part}." for part in self.frozen)
        missing = [n for n in self.net.state_dict() if n.startswith(frozen) and n not in fits]
        if missing:
            raise ExportError(
                f"{origin}: of its {self.recipe.freeze} {missing[0]} does not fit the network that "
                "is trained here. Start from weights of this network, or freeze less."
            )
        self.net.load_state_dict(fits, strict=False)
        self.average.load_state_dict(fits, strict=False)

    def order(self, generator: torch.Generator) -> Tensor:
        """Indices of one epoch, counted over all sets, on the host.

        Every photograph as often as its set is shown, and a share of synthetic frames; without
        photographs, every synthetic frame.
        """
        chosen, first, photographs = [], 0, sum(data.real * data.times for data in self.sets)
        for data in self.sets:
            drawn = len(data) - data.real
            if photographs:
                chosen.append((first + torch.arange(data.real)).repeat(data.times))
                drawn = min(int(photographs * self.recipe.synthetic_share), drawn)
            made = torch.randperm(len(data) - data.real, generator=generator)[:drawn]
            chosen.append(first + data.real + made)
            first += len(data)
        index = torch.cat(chosen)
        return index[torch.randperm(len(index), generator=generator)]

    def run_epoch(self, keep: Callable[[], None] | None = None) -> dict[str, float]:
        """One pass over the set, or the rest of it; returns the mean of every part of the loss.

        ``keep`` is called every KEEP_S: what ``state`` gives then is a training cut off there.

        Raises:
            FloatingPointError: a loss or its gradient is not finite; says in which step.
        """
        seed = self.recipe.seed * 1_000_003 + self.epoch
        generator = torch.Generator().manual_seed(seed)
        index = self.order(generator)
        if self.device.type != "cpu":  # random numbers are drawn where they are used
            generator = torch.Generator(self.device).manual_seed(seed)
        size = self.recipe.batch
        # a last batch of one image would break batch norm: dropped with the rest of the remainder
        batches = index[: len(index) // size * size].view(-1, size)
        done, sums = 0, dict[str, Tensor]()
        if self.cut_off is not None:
            done, sums = self.cut_off.batches, dict(self.cut_off.sums)
            generator.set_state(self.cut_off.generator)
        kept_s = time.monotonic()
        self.net.train()
        for part in self.frozen:
            self.net.get_submodule(part).eval()  # its batch-norm statistics stay, too
        words = f"epoch {self.epoch + 1}/{self.recipe.epochs},"
        left = counted(batches[done:], words, total=len(batches) - done, unit="batches")
        for i, chosen in enumerate(left, done):
            # dropout draws from the generator of all, which takes 64 bits
            torch.manual_seed((seed * 65_537 + i) % 2**63)
            rate = learning_rate(self.recipe, self.epoch + i / len(batches))
            for group, factor in zip(self.optimiser.param_groups, self.rates, strict=True):
                group["lr"] = rate * factor
            parts = self._step(chosen, generator, step=i + 1)
            for name, value in parts.items():
                sums[name] = value + sums.get(name, 0)
            if keep is not None and time.monotonic() - kept_s >= KEEP_S:
                self.cut_off = CutOff(i + 1, generator.get_state(), sums)
                keep()
                kept_s = time.monotonic()
        self.epoch, self.cut_off = self.epoch + 1, None
        return {name: float(value) / max(len(batches), 1) for name, value in sums.items()}

    def _step(self, chosen: Tensor, generator: torch.Generator, *, step: int) -> dict[str, Tensor]:
        """Learn from one batch. The host waits for the device once, to see that all is finite."""
        batch = self.views(chosen, generator)
        images = batch.images.contiguous(memory_format=torch.channels_last)
        total, parts = self._losses(images, batch)
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, 10.0)
        # before the step: a gradient that is not finite would ruin every weight, and with it
        # the checkpoint of this epoch, though the loss itself still looked well
        if not torch.isfinite(total.detach() + norm):
            raise FloatingPointError(
                f"the loss is {total.item():.3g} "
                f"({', '.join(f'{k} {v.item():.3g}' for k, v in parts.items())}) and its "
                f"gradient {norm.item():.3g} in epoch {self.epoch + 1}, step {step}"
            )
        self.optimiser.step()
        self._follow()
        return parts

    def _losses(self, images: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The total, and its parts (detached scalars) for the log."""
        with torch.autocast(self.device.type, torch.bfloat16):
            if isinstance(self.net, BoxNet):
                objects = Objects(batch.boxes, batch.class_ids, batch.crowd)
                parts = self.net.losses(images, objects)
                nothing = batch.boxes.new_zeros(())
                each = {name: parts.get(name, nothing).detach() for name in LOSSES}
                return torch.stack([*parts.values()]).sum(), each
            outputs, features = self.net.with_features(images)
            early = self.aux(features) if self.aux is not None else None
        return self.loss(outputs, batch, aux=early)

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the averaged weights a little; early on faster, as the first are worthless."""
        self.steps += 1
        keep = self.recipe.ema * (1 - math.exp(-self.steps / 300))
        # all tensors in one call: one by one they would cost a device more than they are worth
        torch._foreach_lerp_(*self._followed, 1 - keep)
        for mine, theirs in self._counted:
            mine.copy_(theirs)

    def state(self) -> dict[str, Any]:
        """Everything that a resumed training needs, and what an export needs."""
        return {
            **network_state(self.net),
            "ema": self.average.state_dict(),
            "net": self.net.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "epoch": self.epoch,
            "steps": self.steps,
            "recipe": plain(self.recipe),
            "terms": sorted(self.terms),
            "mask_weights": self.loss.class_weights.tolist()[: len(self.net.mask_classes)],
            **({"aux": self.aux.state_dict()} if self.aux is not None else {}),
            **({"cut_off": self.cut_off._asdict()} if self.cut_off is not None else {}),
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
        before = plain(Recipe())  # a training that is older than an option went without it
        differing = [k for k in mine if mine[k] != theirs.get(k, before[k])]
        if differing:
            raise ExportError(
                f"{origin}: belongs to a training with other {', '.join(differing)}. Use the same "
                "options to resume, or another --out folder to start afresh."
            )
        net = network_from(state, origin=origin)
        differs = difference(net, self.net)
        if differs:
            raise ExportError(
                f"{origin}: {differs}. Start from a checkpoint of this network, or from none in "
                "another --out folder."
            )
        self.average.load_state_dict(net.state_dict())
        self.terms |= terms_of(state)
        try:
            self.net.load_state_dict(state["net"])
            if self.aux is not None:
                self.aux.load_state_dict(state["aux"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.epoch, self.steps = int(state["epoch"]), int(state["steps"])
            self.cut_off = CutOff(**state["cut_off"]) if "cut_off" in state else None
        except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as exc:
            raise ExportError(
                f"{origin}: the state of its training is damaged ({type(exc).__name__}). Start "
                "from its weights with --init and another --out folder."
            ) from exc
