"""``edge-export fp16``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from export.commands import options
from export.compare.differences import SAME
from export.fp16.convert import convert_file


@click.command()
@click.argument("model", type=options.PATH)
@options.output("File to write; NAME.fp16.onnx beside MODEL where it is left out.")
@options.fp16_proof(use="Frames to measure and prove on", iou=SAME.iou, box="every box")
def fp16(
    model: Path, output: Path | None, frames: str | None, keep: Sequence[str], iou: float
) -> None:
    """Convert an FP32 model file to a strongly typed FP16 one.

    The uint8 image, FP32 boxes and uint8 masks stay as they are. Nodes whose weights or values on
    real frames half cannot hold stay in FP32 and are named, here and in the file. The file is
    written only if it agrees with MODEL when every float16 tensor is rounded to real half.
    Refusals exit with 4 and write nothing.
    """
    limits = replace(SAME, iou=iou)
    convert_file(model, output, frames=frames, keep=keep, limits=limits, say=options.say)
