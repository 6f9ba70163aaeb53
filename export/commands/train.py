"""``edge-export train``, whose options are the fields of ``Recipe``, and ``zoo``, its networks."""

from __future__ import annotations

import math
import re
from dataclasses import fields
from os.path import isdir, realpath
from pathlib import Path
from typing import Any

import click
import torch

from engines.errors import SettingsError
from export.commands import options
from export.data.by_name import NAMED, class_names
from export.data.camvid import Split, default_root
from export.data.class_set import Classes
from export.data.folder import LAYOUT
from export.train.net.nets import network_of, stride_of
from export.train.recipe import OPTIONS, Option, Recipe
from export.train.train import run_training
from export.zoo import BOX_NETS, NETS, STREET
from export.zoo.measure import multiply_adds, parameters, receptive_field

SPLITS: tuple[Split, ...] = ("train", "val")
"""What may be trained on."""
MOST_TIMES = 100
MIN_SIDE = 64
"""Smallest side of a view: two cells of the coarsest grid."""
ZOO_HEIGHT, ZOO_WIDTH = 384, 640
"""What the app shows a network, for which 'zoo' counts."""

_SPECIAL = {
    "backbone_sha256": click.option(
        "--backbone-weights",
        type=options.PATH,
        help="ImageNet weights of that backbone: efficientnet-lite0-57934424.pth, or the state of "
        "torchvision's or timm's vgg16 (vgg16_bn for segnet, deconvnet) or resnet18.",
    ),
    "teacher_sha256": click.option(
        "--teacher",
        type=options.PATH,
        help="Folder of a teacher's boxes (camvid_train.json, …) that part clusters of cars.",
    ),
    "data": click.option(
        "--data",
        default="camvid",
        show_default=True,
        help="Comma-separated: camvid, cityscapes (its train split), folders of your own "
        f"({LAYOUT}); camvid*4 shows it four times in an epoch.",
    ),
    "splits": click.option(
        "--splits",
        default="train",
        show_default=True,
        help="Comma-separated: train, val; or none, for synthetic frames alone.",
    ),
    "height": click.option(
        "--size",
        default="320x448",
        show_default=True,
        metavar="HxW",
        help="Size of the augmented views; multiples of 32 (of the zoo: as the network needs).",
    ),
    "init_sha256": click.option(
        "--init",
        type=options.PATH,
        help="Checkpoint to start from; of other classes or another shape, what fits is kept.",
    ),
}
"""Options that are asked for in another form than the field of the recipe has."""


def _of_recipe(command: options.Command) -> options.Command:
    """The options of all fields of the recipe, in their order."""
    for field in reversed(fields(Recipe)):
        if field.name in _SPECIAL:
            command = _SPECIAL[field.name](command)
        elif "option" in field.metadata:
            command = _option(field.name, field.default, field.metadata["option"])(command)
    return command


def _option(name: str, default: Any, asked: Option) -> Any:
    kind: click.ParamType[Any] = click.STRING
    if asked.words:
        kind = click.Choice(asked.words)
    elif isinstance(default, int):
        kind = click.IntRange(asked.least, asked.most)
    elif isinstance(default, float):
        kind = options.Finite(asked.least, asked.most, min_open=asked.above)
    return click.option(
        f"--{name.replace('_', '-')}",
        type=kind,
        default=default if asked.shown else None,
        show_default=asked.shown,
        metavar=asked.metavar,
        help=asked.help,
    )


@click.command()
@click.option(
    "--out",
    type=options.PATH,
    default=Path("runs/street"),
    show_default=True,
    help="Folder of checkpoint, log and plot; an unfinished training in it is resumed.",
)
@click.option("--root", type=options.PATH, help="CamVid's folder.")
@_of_recipe
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
)
@click.option(
    "--eval-every",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="Score the val split of the first data set (FOLDER/val of a folder) every so many "
    "epochs; 0 never.",
)
def train(
    *, out: Path, root: Path | None, init: Path | None, backbone_weights: Path | None,
    teacher: Path | None, device: str, eval_every: int, **recipe: Any,
) -> None:  # fmt: skip
    """Train a network on CamVid, Cityscapes, your own images and the synthetic street.

    Writes OUT/last.pt (resumed when the same command is started again), OUT/log.csv and
    OUT/plot.png. With --init it begins with weights learnt before, if need be for other classes;
    --freeze and --lr-head say how much of them may change.
    """
    run_training(
        recipe_of(**recipe), out=out, root=root or default_root(), device=choose_device(device),
        eval_every=eval_every, init=init, backbone_weights=backbone_weights, teacher=teacher,
    )  # fmt: skip


def recipe_of(*, splits: str, size: str, data: str, **given: Any) -> Recipe:
    """The recipe that the options of the command describe.

    Raises:
        SettingsError: splits, size, classes or network are wrong.
    """
    names = () if splits.strip() == "none" else tuple(s.strip() for s in splits.split(","))
    chosen: tuple[Split, ...] = tuple(s for s in SPLITS if s in names)
    if len(chosen) != len(names):
        raise SettingsError(
            f"--splits {splits}: wanted train, val or both (test is for scoring only), or none."
        )
    height, width = options.parse_size(size, example="320x448")
    multiple = 32 if given["net"] == STREET else 1  # the zoo's own are looked at below
    if min(height, width) < MIN_SIDE or height % multiple or width % multiple:
        raise SettingsError(
            f"--size {size}: wanted multiples of {multiple}, {MIN_SIDE} or more, such as 320x448."
        )
    given = {name: value for name, value in given.items() if value is not None}
    sets = data_of(data)
    box_names, mask_names = class_names(name for name, _ in sets)
    classes = Classes.parse(
        given.get("box_classes", ""), given.get("mask_classes", ""),
        box_names=box_names, mask_names=mask_names,
    )  # fmt: skip
    given |= {"box_classes": classes.boxes.text, "mask_classes": classes.mask.text}
    if not any(name in NAMED for name, _ in sets):
        given = {"synthetic": 0, **given}
    recipe = Recipe(
        splits=chosen, data=sets, box_names=box_names, mask_names=mask_names, height=height,
        width=width, **given,
    )  # fmt: skip
    with torch.device("meta"):  # says now what does not go together, and costs nothing
        network_of(recipe)
    return recipe


def data_of(text: str) -> tuple[tuple[str, int], ...]:
    """What ``--data`` names: data sets, and how often an epoch shows each.

    Raises:
        SettingsError: it names what is neither a set nor a folder, or one twice, or no number of
            times.
    """
    made: dict[str, tuple[str, int]] = {}
    for entry in (entry.strip() for entry in text.split(",")):
        name, sign, times = entry.partition("*")
        number = int(times) if re.fullmatch("[0-9]{1,3}", times) else 0 if sign else 1
        known = name in NAMED or (name and isdir(name))  # this never raises
        place = name if name in NAMED else realpath(name)
        if not known or place in made or not 1 <= number <= MOST_TIMES:
            raise SettingsError(
                f"--data {text}: {entry!r}, wanted {', '.join(NAMED)} or a folder with {LAYOUT}, "
                f"each once, with *N for N times an epoch (1 to {MOST_TIMES})."
            )
        made[place] = name, number
    return tuple(made.values())


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
    "--backbone",
    type=click.Choice(OPTIONS["backbone"].words),
    default="plain",
    show_default=True,
    help="What the networks look with.",
)
def zoo(backbone: str) -> None:
    """List the networks that 'edge-export train --net' knows, over one backbone.

    Parameters; multiply-adds of convolutions and matrices at 384x640; pixels, in height, that one
    of the mask depends on, or of the map that boxes are read from; and the stride of that.
    """
    options.say(f"{'net':<17}{'parameters':>11}{'multiply-adds':>15}{'sees':>7}{'stride':>8}")
    for name in (STREET, *NETS, *BOX_NETS):
        try:
            with torch.device("meta"):  # no memory for weights
                net = network_of(Recipe(net=name, backbone=backbone)).eval()
        except SettingsError:
            options.say(f"{name:<17}{f'not over {backbone}':>26}")
            continue
        seen = receptive_field(net)
        options.say(
            f"{name:<17}{parameters(net) / 1e6:>9.2f} M"
            f"{multiply_adds(net, ZOO_HEIGHT, ZOO_WIDTH) / 1e9:>13.2f} G"
            f"{'all' if math.isinf(seen) else f'{seen:.0f}':>7}{stride_of(net):>8}"
        )
