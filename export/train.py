"""Training of the street network: one loop, resumable, on a CPU or a CUDA device.

The whole set lies in memory on the device and is augmented there. Every random number of an epoch
comes from a generator seeded with (seed, epoch), so a training that was killed and resumed gives
what an unbroken one gives.
"""

from __future__ import annotations

import math
import sys
import time
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor
from tqdm import tqdm

from engines.errors import ExportError, SettingsError
from engines.model_file import sha256_of
from export.augment import Augment
from export.camvid import CLASSES, Split, default_root
from export.checkpoint import load_checkpoint, network_from, network_state, save_checkpoint
from export.dataset import TrainingSet, load_training_set
from export.evaluate import evaluate_model
from export.loss import StreetLoss
from export.model import ANCHORS, StreetNet
from export.onnx_file import export_onnx
from export.training_log import TrainingLog


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
        weights = network_from(state, origin=origin).state_dict()
        self.net.load_state_dict(weights)
        self.average.load_state_dict(weights)

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
            ExportError: it belongs to another recipe.
        """
        mine = self.state()["recipe"]
        differing = [k for k in mine if mine[k] != state.get("recipe", {}).get(k)]
        if differing:
            raise ExportError(
                f"{origin}: belongs to a training with other {', '.join(differing)}. Use the same "
                "options to resume, or another --out folder to start afresh."
            )
        network_from(state, origin=origin)  # a readable error if the weights do not fit
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["ema"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.epoch, self.steps = state["epoch"], state["steps"]


def choose_device(name: str) -> torch.device:
    """'auto' takes CUDA where there is one.

    Raises:
        SettingsError: CUDA was asked for and there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise SettingsError("--device cuda: PyTorch sees no CUDA device here. Use --device cpu.")
    return torch.device(name)


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("runs/street"),
    show_default=True,
    help="Folder of checkpoint, log and plot; an unfinished training in it is resumed.",
)
@click.option("--root", type=click.Path(path_type=Path), help="CamVid's folder.")
@click.option("--splits", default="train", show_default=True, help="Comma-separated: train, val.")
@click.option("--epochs", type=click.IntRange(1), default=100, show_default=True)
@click.option("--batch", type=click.IntRange(2), default=4, show_default=True)
@click.option("--lr", type=click.FloatRange(0, 1, min_open=True), default=1.5e-3, show_default=True)
@click.option(
    "--warmup-epochs",
    type=click.IntRange(0),
    default=3,
    show_default=True,
    help="Epochs in which the learning rate climbs to --lr before it falls; 0 for none.",
)
@click.option(
    "--synthetic",
    type=click.IntRange(0),
    default=400,
    show_default=True,
    help="Frames of the synthetic street to render into the set.",
)
@click.option(
    "--init",
    type=click.Path(path_type=Path),
    help="Checkpoint to start from instead of random weights.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
)
@click.option(
    "--eval-every",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="Score val every so many epochs; 0 never.",
)
def train(
    out: Path, root: Path | None, splits: str, epochs: int, batch: int, lr: float,
    warmup_epochs: int, synthetic: int, init: Path | None, seed: int, device: str, eval_every: int,
) -> None:  # fmt: skip
    """Train the street network on CamVid and the synthetic street.

    Writes OUT/last.pt (resumed when the same command is started again), OUT/log.csv and
    OUT/plot.png.
    """
    names = tuple(s.strip() for s in splits.split(","))
    chosen = tuple(s for s in ("train", "val") if s in names)
    if not chosen or len(chosen) != len(names):
        raise SettingsError(
            f"--splits {splits}: wanted train, val or both (test is for scoring only)."
        )
    recipe = Recipe(
        splits=chosen, epochs=epochs, batch=batch, lr=lr, warmup_epochs=warmup_epochs,
        synthetic=synthetic, seed=seed,
    )  # fmt: skip
    run_training(
        recipe, out=out, root=root or default_root(), device=choose_device(device),
        eval_every=eval_every, init=init,
    )  # fmt: skip


def run_training(
    recipe: Recipe,
    *,
    out: Path,
    root: Path,
    device: torch.device,
    eval_every: int,
    init: Path | None = None,
) -> Path:
    """Train until ``recipe.epochs``, resuming what lies in ``out``; returns the checkpoint.

    Raises:
        ExportError: data, checkpoint or loss are wrong; the last good checkpoint is kept.
    """
    out.mkdir(parents=True, exist_ok=True)
    last = out / "last.pt"
    state = load_checkpoint(last) if last.exists() else None
    weights = None if init is None else load_checkpoint(init)
    if init is not None:
        recipe = replace(recipe, init_sha256=sha256_of(init))
    data = load_training_set(
        root, recipe.splits, synthetic=recipe.synthetic, seed=recipe.seed, device=device
    )
    trainer = Trainer(recipe, data, device=device)
    if init is not None and weights is not None:
        trainer.start_from(weights, origin=init)
    if state is not None:
        trainer.restore(state, origin=last)
        print(f"edge-export: resuming {last} after epoch {trainer.epoch}", file=sys.stderr)
    table = TrainingLog(out, resume_after=trainer.epoch)
    while trainer.epoch < recipe.epochs:
        start = time.perf_counter()
        try:
            parts = trainer.run_epoch(progress_bar=sys.stderr.isatty())
        except FloatingPointError as exc:
            raise _diverged(exc, last, trainer.epoch) from exc
        scores: dict[str, float] = {}
        due = eval_every and (trainer.epoch % eval_every == 0 or trainer.epoch == recipe.epochs)
        save_checkpoint(last, trainer.state())
        if due:
            scores = score_on_val(last, out / "candidate.onnx", root)
        table.add(trainer.epoch, time.perf_counter() - start, {**parts, **scores})
    table.plot()
    return last


def _diverged(exc: FloatingPointError, last: Path, epochs_done: int) -> ExportError:
    kept = f"{last} keeps epoch {epochs_done}" if epochs_done else "No epoch was finished"
    return ExportError(
        f"training stopped: {exc}. {kept}. Start afresh in another --out folder with a smaller "
        "--lr or more --warmup-epochs."
    )


def score_on_val(checkpoint: Path, candidate: Path, root: Path) -> dict[str, float]:
    """Score the averaged weights as the app would run them: exported, decoded, at f32.

    Val is a fair judge only of a training that left it out.
    """
    export_onnx(checkpoint, candidate)
    report = evaluate_model(candidate, root=root, split="val")
    ap50 = [v for v in (report.ap50 or {}).values() if v is not None]
    return {
        "val_miou": report.miou or 0.0,
        "val_ap": report.ap or 0.0,
        "val_ap50": sum(ap50) / max(len(ap50), 1),
    }
