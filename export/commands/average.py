"""``edge-export average``."""

from __future__ import annotations

from pathlib import Path

import click

from export.commands import options
from export.train.average import average_checkpoints


@click.command()
@click.argument("checkpoints", nargs=-1, required=True, type=options.PATH)
@click.option("-o", "--out", required=True, type=options.PATH)
def average(checkpoints: tuple[Path, ...], out: Path) -> None:
    """Average the weights of CHECKPOINTS that were trained on from the same one.

    Runs of 'edge-export train' with one --init and different --seed or augmentation. The file is
    for 'edge-export onnx', for 'verify' and for --init; it holds no training to resume.
    """
    for doubt in average_checkpoints(checkpoints, out):
        options.say(f"warning: {doubt}")
    options.say(f"{out}: the mean of {len(checkpoints)} checkpoints")
