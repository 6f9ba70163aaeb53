"""``edge-export onnx``."""

from __future__ import annotations

from pathlib import Path

import click

from export.commands import options
from export.train.onnx_file import export_onnx


@click.command()
@click.argument("checkpoint", type=options.PATH)
@click.option("-o", "--out", type=options.PATH, default=Path("street.onnx"), show_default=True)
@click.option(
    "--size",
    default="384x640",
    show_default=True,
    metavar="HxW",
    help="Input size; multiples of 32, or of what a network of the zoo needs.",
)
@click.option(
    "--mask-stride",
    type=click.Choice(["2", "4"]),
    help="Mask at half or a quarter of the input; default: what the checkpoint says.",
)
@click.option(
    "--conf",
    type=options.Finite(0, 1),
    help="Score from which boxes are shown, as the file recommends it.  [default: 0.2]",
)
def onnx(
    checkpoint: Path, out: Path, size: str, mask_stride: str | None, conf: float | None
) -> None:
    """Export CHECKPOINT (a .pt file of 'edge-export train') to an ONNX file."""
    height, width = options.parse_size(size, example="384x640")
    stride = int(mask_stride) if mask_stride else None
    export_onnx(checkpoint, out, height=height, width=width, mask_stride=stride, conf=conf)
    options.say(f"{out}: {out.stat().st_size / 1e6:.1f} MB, input {height}x{width}")
