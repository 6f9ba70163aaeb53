"""``edge-export train``: data in, a checkpoint, a log and a plot out; resumes what was cut off."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch

from engines.errors import ExportError, SettingsError
from engines.model_file import sha256_of
from export.data.camvid import Split, default_root, load_index
from export.data.class_set import Classes
from export.data.labelled import camvid_data
from export.score.evaluate import score
from export.score.numbers import Finite
from export.score.scores import mean
from export.train.checkpoint import load_checkpoint, save_checkpoint
from export.train.dataset import Wanted, load_training_set
from export.train.log import TrainingLog
from export.train.onnx_file import export_onnx
from export.train.paste import OBJECTS
from export.train.recipe import Recipe
from export.train.trainer import Kept, Trainer

SPLITS: tuple[Split, ...] = ("train", "val")
"""What may be trained on."""
MIN_SIDE = 64
"""Smallest side of a view: two cells of the coarsest grid."""


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
@click.option(
    "--splits",
    default="train",
    show_default=True,
    help="Comma-separated: train, val; or none, for synthetic frames alone.",
)
@click.option(
    "--images",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Photographs to draw from the splits by the seed; 0 takes all.",
)
@click.option(
    "--box-classes",
    default="",
    metavar="A,B=C+D",
    help="Learn these of CamVid's boxes, some merged: vehicle=car,person=pedestrian+bicyclist.",
)
@click.option(
    "--mask-classes",
    default="",
    metavar="A,B=C+D",
    help="Learn these of CamVid's mask classes; other=* takes the rest, else it is unlabelled.",
)
@click.option("--epochs", type=click.IntRange(1), default=100, show_default=True)
@click.option("--batch", type=click.IntRange(2), default=4, show_default=True)
@click.option("--lr", type=Finite(0, 1, min_open=True), default=1.5e-3, show_default=True)
@click.option(
    "--lr-head",
    type=Finite(0, 1, min_open=True),
    help="Learning rate of the heads and of what --init did not give; default: --lr.",
)
@click.option(
    "--freeze",
    type=click.Choice(["backbone", "features"]),
    help="Keep weights and batch-norm statistics as --init gave them: of the backbone, or of all "
    "that the heads read from.",
)
@click.option(
    "--lovasz",
    type=Finite(0),
    default=0.0,
    show_default=True,
    help="Weight of a Lovász-softmax term on the mask.",
)
@click.option(
    "--aux",
    type=Finite(0),
    default=0.0,
    show_default=True,
    help="Weight of a second mask, read at stride 16 in training only.",
)
@click.option(
    "--mask-gain",
    type=Finite(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Weight of the mask's losses beside those of the boxes.",
)
@click.option(
    "--paste",
    type=Finite(0, 1),
    default=0.0,
    show_default=True,
    help=f"Chance of each of {OBJECTS} rare objects (pole, sign, people) pasted into an image.",
)
@click.option(
    "--mosaic",
    type=Finite(0, 1),
    default=0.0,
    show_default=True,
    help="Chance of a view to be put together from quarters of four.",
)
@click.option(
    "--gamma",
    type=Finite(0, 3),
    default=0.0,
    show_default=True,
    help="Raise the views to a random power of e^-G to e^G (0.7: a half to two); 0 is off.",
)
@click.option(
    "--min-cells",
    type=Finite(0),
    default=0.0,
    show_default=True,
    help="Leave objects whose root of the area is below so many cells of a grid to finer grids.",
)
@click.option(
    "--size",
    default="320x448",
    show_default=True,
    metavar="HxW",
    help="Size of the augmented views; multiples of 32.",
)
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
    "--synthetic-share",
    type=Finite(0),
    default=0.25,
    show_default=True,
    help="Synthetic frames in an epoch, drawn anew for each, as a share of the photographs.",
)
@click.option(
    "--init",
    type=click.Path(path_type=Path),
    help="Checkpoint to start from; of other classes or another shape, what fits is kept.",
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True)
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
    *, out: Path, root: Path | None, init: Path | None, device: str, eval_every: int,
    **options: Any,
) -> None:  # fmt: skip
    """Train the street network on CamVid and the synthetic street.

    Writes OUT/last.pt (resumed when the same command is started again), OUT/log.csv and
    OUT/plot.png. With --init it begins with weights learnt before, if need be for other classes;
    --freeze and --lr-head say how much of them may change.
    """
    run_training(
        recipe_of(options), out=out, root=root or default_root(), device=choose_device(device),
        eval_every=eval_every, init=init,
    )  # fmt: skip


def recipe_of(options: dict[str, Any]) -> Recipe:
    """The recipe that the options of the command describe.

    Raises:
        SettingsError: splits, size or classes are wrong.
    """
    splits, size = str(options.pop("splits")), str(options.pop("size"))
    names = () if splits.strip() == "none" else tuple(s.strip() for s in splits.split(","))
    chosen: tuple[Split, ...] = tuple(s for s in SPLITS if s in names)
    if len(chosen) != len(names):
        raise SettingsError(
            f"--splits {splits}: wanted train, val or both (test is for scoring only), or none."
        )
    try:
        height, width = (int(n) for n in size.lower().split("x"))
    except ValueError:
        raise SettingsError(f"--size {size}: wanted HxW, such as 320x448.") from None
    if min(height, width) < MIN_SIDE or height % 32 or width % 32:
        raise SettingsError(
            f"--size {size}: wanted multiples of 32, {MIN_SIDE} or more, such as 320x448."
        )
    classes = Classes.parse(options.pop("box_classes"), options.pop("mask_classes"))
    return Recipe(
        splits=chosen, height=height, width=width, box_classes=classes.boxes.text,
        mask_classes=classes.mask.text, lr_head=options.pop("lr_head") or 0.0,
        freeze=options.pop("freeze") or "", **options,
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
        SettingsError: a backbone is to be frozen that nothing was learnt with.
        ExportError: data, checkpoint or loss are wrong; the last good checkpoint is kept.
    """
    if recipe.freeze and init is None:
        raise SettingsError(
            f"--freeze {recipe.freeze}: without --init it would stay random. Name a checkpoint "
            "with --init."
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ExportError(
            f"{out}: cannot be made ({exc.strerror}). Name another folder with --out."
        ) from exc
    last = out / "last.pt"
    state = load_checkpoint(last) if last.exists() else None
    weights = None if init is None else load_checkpoint(init)
    if init is not None:
        recipe = replace(recipe, init_sha256=sha256_of(init))
    scored: tuple[Split, ...] = ("val",) if eval_every else ()
    for split in (*recipe.splits, *scored):
        load_index(root, split)  # what is missing is told now, not after the first epochs
    classes = Classes.parse(recipe.box_classes, recipe.mask_classes)
    wanted = Wanted(recipe.splits, recipe.synthetic, recipe.seed, recipe.images, classes)
    data = load_training_set(root, wanted, device=device)
    trainer = Trainer(recipe, data, device=device)
    if init is not None and weights is not None:
        _tell(trainer.start_from(weights, origin=init), init)
    if state is not None:
        trainer.restore(state, origin=last)
        print(f"edge-export: resuming {last} after epoch {trainer.epoch}", file=sys.stderr)
    table = TrainingLog(out, resume_after=trainer.epoch)

    def note(seconds: float, parts: dict[str, float]) -> None:
        scores: dict[str, float] = {}
        start = time.perf_counter()
        if eval_every and (trainer.epoch % eval_every == 0 or trainer.epoch == recipe.epochs):
            scores = score_on_val(last, out / "candidate.onnx", root, classes)
        seconds += time.perf_counter() - start
        table.add(trainer.epoch, seconds, {**parts, **scores})

    losses = state.get("losses") if state is not None else None
    if table.last < trainer.epoch and isinstance(losses, dict):
        note(0.0, losses)  # it was cut off between its checkpoint and its row
    while trainer.epoch < recipe.epochs:
        start = time.perf_counter()
        try:
            parts = trainer.run_epoch(progress_bar=sys.stderr.isatty())
        except FloatingPointError as exc:
            raise _diverged(exc, last, trainer.epoch) from exc
        save_checkpoint(last, {**trainer.state(), "losses": parts})
        note(time.perf_counter() - start, parts)
    table.plot()
    return last


def _diverged(exc: FloatingPointError, last: Path, epochs_done: int) -> ExportError:
    kept = f"{last} keeps epoch {epochs_done}" if epochs_done else "No epoch was finished"
    return ExportError(
        f"training stopped: {exc}. {kept}. Start afresh in another --out folder with a smaller "
        "--lr or more --warmup-epochs."
    )


def _tell(kept: Kept, init: Path) -> None:
    anew = f"; begun anew: {', '.join(kept.new)}" if kept.new else ""
    print(f"edge-export: kept {kept.share:.1%} of the weights of {init}{anew}", file=sys.stderr)


def score_on_val(
    checkpoint: Path, candidate: Path, root: Path, classes: Classes
) -> dict[str, float]:
    """Score the averaged weights as the app would run them: exported, decoded, at f32.

    Val is a fair judge only of a training that left it out.
    """
    export_onnx(checkpoint, candidate)
    data = camvid_data(root, "val", classes)
    report = score(candidate, data, renames={}, engine="auto", precision="f32")
    return {
        "val_miou": report.miou or 0.0,
        "val_ap": report.ap or 0.0,
        "val_ap50": mean((report.ap50 or {}).values()) or 0.0,
    }
