"""What decides the outcome of a training, and the learning rate it gives."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from export.data.by_name import NAMED
from export.data.camvid import BOX_CLASSES, CLASSES, Split
from export.data.class_set import Classes

OBJECTS = 4
"""Objects that ``paste`` may put into one image."""


@dataclass(frozen=True, slots=True)
class Option:
    """How the command asks for a field: its help and the values it takes.

    ``above`` leaves out ``least`` itself; ``shown`` is whether the help tells the default.
    """

    help: str | None = None
    least: int | None = None
    most: int | None = None
    above: bool = False
    words: tuple[str, ...] = ()
    metavar: str | None = None
    shown: bool = True


def option(default: Any, help: str | None = None, **taken: Any) -> Any:
    """A field of Recipe that is an option of ``edge-export train`` by the same name."""
    return field(default=default, metadata={"option": Option(help, **taken)})


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides the outcome of a training; kept in the checkpoint and in the model card."""

    net: str = option(
        "street", "street, the shipped one with boxes and mask, or one of those that 'edge-export "
        "zoo' lists, with a mask or boxes alone.",
    )  # fmt: skip
    backbone: str = option(
        "plain", "What the network looks with: plain learns from nothing, lite0 is "
        "EfficientNet-Lite0; --backbone-weights can begin with that, or with vgg16 or resnet18.",
        words=("plain", "lite0", "vgg16", "resnet18", "xception"),
    )  # fmt: skip
    backbone_sha256: str = ""
    """File of weights that the backbone starts from; empty: from scratch, or --init has it."""
    data: tuple[tuple[str, int], ...] = (("camvid", 1),)
    """The data sets, by name or folder, and how often an epoch shows the images of each."""
    box_names: tuple[str, ...] = BOX_CLASSES
    mask_names: tuple[str, ...] = CLASSES
    """All classes that the data sets have, of which those to learn are chosen."""
    splits: tuple[Split, ...] = ("train",)
    teacher_sha256: str = ""
    """Files of a teacher's boxes, which part clusters of cars; empty: those are crowds."""
    images: int = option(
        0, "Photographs to draw from the splits by the seed; 0 takes all.", least=0
    )
    box_classes: str = option(
        "", "Learn these of the boxes, some merged: vehicle=car,person=pedestrian+bicyclist.",
        metavar="A,B=C+D", shown=False,
    )  # fmt: skip
    mask_classes: str = option(
        "", "Learn these classes of the mask; other=* takes the rest, else it is unlabelled.",
        metavar="A,B=C+D", shown=False,
    )  # fmt: skip
    epochs: int = option(100, least=1)
    batch: int = option(4, least=2)
    lr: float = option(1.5e-3, least=0, most=1, above=True)
    lr_backbone: float = option(
        0.0, "Learning rate of the backbone; default: --lr.", least=0, most=1, above=True,
        shown=False,
    )  # fmt: skip
    lr_head: float = option(
        0.0, "Learning rate of the heads and of what --init did not give; default: --lr.",
        least=0, most=1, above=True, shown=False,
    )  # fmt: skip
    freeze: str = option(
        "", "Keep weights and batch-norm statistics as they came: of the backbone's first blocks "
        "(up to stride 4), of the whole backbone, or of all that the heads read from.",
        words=("early", "backbone", "features"), shown=False,
    )  # fmt: skip
    lovasz: float = option(0.0, "Weight of a Lovász-softmax term on the mask.", least=0)
    aux: float = option(
        0.0, "Weight of a second mask, read at stride 16 in training only.", least=0
    )
    mask_gain: float = option(
        1.0, "Weight of the mask's losses beside those of the boxes.", least=0, above=True
    )
    paste: float = option(
        0.0, f"Chance of each of {OBJECTS} rare objects (pole, sign, people) pasted into an image.",
        least=0, most=1,
    )  # fmt: skip
    mosaic: float = option(
        0.0, "Chance of a view to be put together from quarters of four.", least=0, most=1
    )
    gamma: float = option(
        0.0, "Raise the views to a random power of e^-G to e^G (0.7: a half to two); 0 is off.",
        least=0, most=3,
    )  # fmt: skip
    cameras: float = option(
        0.0, "Chance of a view to have each fault of other cameras: night, glare, blur, softness, "
        "noise, JPEG's blocks, an own bonnet, another height.", least=0, most=1,
    )  # fmt: skip
    min_cells: float = option(
        0.0, "Leave objects whose root of the area is below so many cells of a grid to finer "
        "grids.", least=0,
    )  # fmt: skip
    height: int = 320
    width: int = 448
    """Size of the augmented views."""
    warmup_epochs: int = option(
        3, "Epochs in which the learning rate climbs to --lr before it falls; 0 for none.", least=0
    )
    synthetic: int = option(
        400, "Frames of the synthetic street to render into the set; default: 400, and 0 for "
        "folders alone.", least=0, shown=False,
    )  # fmt: skip
    synthetic_share: float = option(
        0.25, "Synthetic frames in an epoch, drawn anew for each, as a share of the photographs.",
        least=0,
    )  # fmt: skip
    init_sha256: str = ""
    """Checkpoint whose averaged weights the training starts from; empty: from scratch."""
    seed: int = option(0, least=0, most=2**31 - 1)
    weight_decay: float = 0.02
    ema: float = 0.999

    @property
    def terms(self) -> frozenset[str]:
        """The data sets by name, each of which comes with terms of its own."""
        return frozenset(name for name, _ in self.data if name in NAMED)

    @property
    def classes(self) -> Classes:
        """The classes to learn."""
        return Classes.parse(
            self.box_classes, self.mask_classes,
            box_names=self.box_names, mask_names=self.mask_names,
        )  # fmt: skip


OPTIONS: dict[str, Option] = {
    f.name: f.metadata["option"] for f in fields(Recipe) if "option" in f.metadata
}


def plain(recipe: Recipe) -> dict[str, Any]:
    """The recipe in the kinds of values that a checkpoint holds."""
    values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(recipe).items()}
    return {**values, "data": [list(d) for d in recipe.data]}


def learning_rate(recipe: Recipe, progress: float) -> float:
    """Linear warm-up, then a half cosine down to 1 %; ``progress`` counts epochs.

    That of ``Recipe.lr``; the heads' goes in step with it.
    """
    if progress < recipe.warmup_epochs:
        return recipe.lr * (progress + 0.05) / (recipe.warmup_epochs + 0.05)
    rest = (progress - recipe.warmup_epochs) / max(recipe.epochs - recipe.warmup_epochs, 1)
    return recipe.lr * (0.01 + 0.99 * (1 + math.cos(math.pi * min(rest, 1.0))) / 2)
