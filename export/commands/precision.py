"""``edge-export fp16`` and ``edge-export int8``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from engines.errors import SettingsError
from export.commands import options
from export.commands.data_options import DataOptions, data_options
from export.compare.differences import SAME
from export.fp16 import convert as to_fp16
from export.int8 import convert as to_int8
from export.int8.gate import AGREEMENT, ON_LABELS, Allowed


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
    to_fp16.convert_file(model, output, frames=frames, keep=keep, limits=limits, say=options.say)


@click.command()
@click.argument("model", type=options.PATH)
@options.output("File to write; NAME.int8.onnx beside MODEL where it is left out.")
@options.frames("Frames to calibrate on, and to judge on without --data")
@data_options(
    default=None,
    split="val",
    use="Judge on labelled images: as 'edge-export evaluate' takes them.",
)
@click.option(
    "--miou",
    type=options.Finite(0, 1, min_open=True),
    help=f"The most of mIoU that may be lost: {ON_LABELS.miou:g} against labels, and "
    f"{AGREEMENT.miou:g} of FP32's own masks without.",
)
@click.option(
    "--ap50",
    type=options.Finite(0, 1, min_open=True),
    help=f"The same of each class's AP50: {ON_LABELS.ap50:g} and {AGREEMENT.ap50:g}.",
)
def int8(
    model: Path,
    output: Path | None,
    frames: str | None,
    miou: float | None,
    ap50: float | None,
    chosen: DataOptions,
) -> None:
    """Quantise an FP32 model file to INT8, and prove it.

    Makes two files: NAME.int8.onnx with symmetric int8 activations, which TensorRT, OpenVINO and
    ONNX Runtime run, and NAME.int8-cpu.onnx with uint8 ones, which CPUs compute faster.
    Calibrators, equalised channels and corrected biases are tried by what is lost of mIoU and AP50;
    layers stay float where nothing else will do, and are named. What loses too much is not written.
    Refusals exit with 4.
    """
    labelled = None
    if chosen.data is None:
        if option := chosen.needs_data():
            raise SettingsError(f"{option} goes with --data, which says on what to judge.")
    else:
        chosen.check()
        if chosen.split == "test":
            raise SettingsError(
                "--split test: here scores choose, which those of the test split may not. Choose "
                "on val, then score the files: edge-export evaluate."
            )
        labelled = chosen.open()
    usual = AGREEMENT if labelled is None else ON_LABELS
    allowed = Allowed(usual.miou if miou is None else miou, usual.ap50 if ap50 is None else ap50)
    proof = to_int8.Proof(frames, labelled, chosen.renames, allowed, chosen.judge)
    to_int8.convert_file(model, output, proof=proof, say=options.say)
