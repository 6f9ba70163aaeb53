"""A training: data in, a checkpoint, a log and a plot out; resumes what was cut off."""

from __future__ import annotations

import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import torch

from edge.say import say
from engines.errors import ExportError, SettingsError
from engines.files import locked
from engines.model_file import sha256_of
from export.data import cityscapes
from export.data.by_name import NAMED, val_data
from export.data.camvid import load_index
from export.data.labelled import LabelledData
from export.score.evaluate import evaluate_model
from export.score.scores import mean
from export.train.checkpoint import load_checkpoint, save_checkpoint
from export.train.dataset import load_training_sets
from export.train.log import TrainingLog
from export.train.net.nets import network_of
from export.train.onnx_file import export_onnx
from export.train.pretrained import WANTED, imagenet_weights
from export.train.recipe import Recipe
from export.train.trainer import Kept, Trainer

MOST_TOLD = 8
"""Layers in a message: of another shape, all of a network can begin anew."""


def run_training(
    recipe: Recipe,
    *,
    out: Path,
    root: Path,
    device: torch.device,
    eval_every: int,
    init: Path | None = None,
    backbone_weights: Path | None = None,
    teacher: Path | None = None,
) -> Path:
    """Train until ``recipe.epochs``, resuming what lies in ``out``; returns the checkpoint.

    Raises:
        SettingsError: a backbone is to be frozen that nothing was learnt with, weights are given
            that it cannot begin with, or another training writes to ``out``.
        ExportError: data, checkpoint or loss are wrong; the last good checkpoint is kept.
    """
    if backbone_weights is not None and recipe.backbone not in WANTED:
        raise SettingsError(
            f"--backbone-weights: are of {', '.join(title for title, *_ in WANTED.values())}, and "
            f"--backbone is {recipe.backbone}. Add --backbone lite0, or leave them out."
        )
    if backbone_weights is not None and init is not None:
        raise SettingsError(
            f"--backbone-weights: the backbone of --init {init} has learnt more than they know. "
            "Leave one of the two out."
        )
    of_backbone = recipe.freeze in ("backbone", "early")
    if recipe.freeze and init is None and not (of_backbone and backbone_weights is not None):
        other = ", or give it --backbone-weights" if of_backbone else ""
        raise SettingsError(
            f"--freeze {recipe.freeze}: without --init it would stay random. Name a checkpoint "
            f"with --init{other}."
        )
    if teacher is not None and not {*NAMED} & {*dict(recipe.data)}:
        raise SettingsError(
            f"--teacher {teacher}: parts cars of {' and '.join(NAMED)}, and --data has neither. "
            "Leave it out."
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ExportError(
            f"{out}: cannot be made ({exc.strerror}). Name another folder with --out."
        ) from exc
    with locked(out, wait=False) as alone:  # the kernel unlocks it when a process dies
        if alone is False:
            raise SettingsError(
                f"--out {out}: another training writes to it. Wait for it, or name another folder."
            )
        return _train_in(
            recipe, out, root, device=device, eval_every=eval_every, init=init,
            backbone_weights=backbone_weights, teacher=teacher,
        )  # fmt: skip


def _train_in(
    recipe: Recipe,
    out: Path,
    root: Path,
    *,
    device: torch.device,
    eval_every: int,
    init: Path | None,
    backbone_weights: Path | None,
    teacher: Path | None,
) -> Path:
    """Train in a folder that no other training writes to."""
    last = out / "last.pt"
    state = load_checkpoint(last) if last.exists() else None
    weights = None if init is None else load_checkpoint(init)
    if init is not None:
        recipe = replace(recipe, init_sha256=sha256_of(init))
    trunk = None
    if backbone_weights is not None:
        with torch.device("meta"):
            empty = network_of(recipe).backbone
        trunk = imagenet_weights(backbone_weights, recipe.backbone, empty)
        recipe = replace(recipe, backbone_sha256=sha256_of(backbone_weights))
    if teacher is not None:
        hashes = [sha256_of(file) for file in sorted(teacher.glob("*.json"))]
        recipe = replace(recipe, teacher_sha256=sha256("".join(hashes).encode()).hexdigest())
    roots = {"camvid": root, "cityscapes": cityscapes.default_root()}
    for split in recipe.splits if "camvid" in dict(recipe.data) else ():
        load_index(root, split)  # say now what is missing, not after the first epochs
    first = recipe.data[0][0]
    val = val_data(first, roots, recipe.classes) if eval_every else None
    if eval_every and val is None:
        say(f"edge-export: {Path(first, 'val')}: there is none, so nothing is scored")
    sets = load_training_sets(roots, recipe, device=device, teacher=teacher)
    trainer = Trainer(recipe, sets, device=device)
    if trunk is not None and state is None and backbone_weights is not None:
        begun = trainer.begin_with_backbone(trunk, origin=backbone_weights)
        _tell(
            begun, f"the backbone begins with {begun.share:.1%} of its weights, {backbone_weights}"
        )
    if init is not None and weights is not None:
        begun = trainer.start_from(weights, origin=init)
        _tell(begun, f"kept {begun.share:.1%} of the weights of {init}")
    if state is not None:
        trainer.restore(state, origin=last)
        within = f" and {trainer.cut_off.batches} batches" if trainer.cut_off else ""
        say(f"edge-export: resuming {last} after epoch {trainer.epoch}{within}")
    table = TrainingLog(out, resume_after=trainer.epoch)

    def note(seconds: float, parts: dict[str, float]) -> None:
        scores: dict[str, float] = {}
        start = time.perf_counter()
        if val is not None and (trainer.epoch % eval_every == 0 or trainer.epoch == recipe.epochs):
            scores = score_on_val(last, out / "candidate.onnx", val)
        seconds += time.perf_counter() - start
        table.add(trainer.epoch, seconds, {**parts, **scores})

    losses = state.get("losses") if state is not None else None

    def keep() -> None:
        save_checkpoint(last, {**trainer.state(), "losses": losses})

    if table.last < trainer.epoch and isinstance(losses, dict):
        note(0.0, losses)  # it was cut off between its checkpoint and its row
    while trainer.epoch < recipe.epochs:
        start = time.perf_counter()
        try:
            losses = trainer.run_epoch(keep)
        except FloatingPointError as exc:
            done = trainer.epoch
            kept = f"{last} keeps epoch {done}" if done else "No epoch was finished"
            raise ExportError(
                f"training stopped: {exc}. {kept}. Start afresh in another --out folder with a "
                "smaller --lr or more --warmup-epochs."
            ) from exc
        keep()
        note(time.perf_counter() - start, losses)
    table.plot()
    return last


def _tell(kept: Kept, words: str) -> None:
    """Say what a training begins with, and the layers that begin anew."""
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in kept.new))
    more = f" and {len(layers) - MOST_TOLD} others" if len(layers) > MOST_TOLD else ""
    anew = f"; begun anew: {', '.join(layers[:MOST_TOLD])}{more}" if layers else ""
    say(f"edge-export: {words}{anew}")


def score_on_val(checkpoint: Path, candidate: Path, val: LabelledData) -> dict[str, float]:
    """Score the averaged weights as the app would run them: exported, decoded, at f32.

    Val is a fair judge only of a training that left it out.
    """
    export_onnx(checkpoint, candidate)
    report = evaluate_model(candidate, val)
    scores = {
        "val_miou": report.miou, "val_ap": report.ap,
        "val_ap50": mean((report.ap50 or {}).values()),
    }  # fmt: skip
    return {name: score for name, score in scores.items() if score is not None}
