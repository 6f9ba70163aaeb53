"""``edge-export check-tensorrt``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from engines.errors import ExportError
from engines.model_file import sha256_of
from export.commands import options
from export.outputs import write_output
from export.tensorrt.check.check import check_file, report_lines
from export.tensorrt.check.operators import RELEASES
from export.tensorrt.check.shapes import FORM, parse_profiles


@click.command("check-tensorrt")
@click.argument("model", type=options.PATH)
@click.option(
    "--trt",
    type=click.Choice(list(RELEASES)),
    default=next(iter(RELEASES)),
    show_default=True,
    help="Release of TensorRT to check against.",
)
@click.option(
    "--profile",
    "profiles",
    multiple=True,
    metavar="NAME=SHAPES",
    help=f"Sizes of an input whose shape is open: {FORM}; repeatable.",
)
@click.option("--dla", is_flag=True, help="Say by layer what a Jetson's DLA could run.")
@click.option(
    "--json",
    "json_path",
    type=options.PATH_OR_DASH,
    help="Write the report here, every node named; '-' is stdout.",
)
def check_tensorrt(
    model: Path, trt: str, profiles: Sequence[str], dla: bool, json_path: Path | None
) -> None:
    """Say whether TensorRT will take an ONNX file, on a machine that has no TensorRT.

    Operators, types, restrictions and opset; uint8 at the edge alone; types that a strongly typed
    network needs; shapes; 64-bit constants. Exits with 4 where TensorRT would refuse the file. What
    the tables do not know is a warning. No check stands for a build: only that proves an engine.
    """
    report = check_file(model, trt, profiles=parse_profiles(profiles), dla=dla)
    for line in report_lines(report):
        options.say(line)
    if json_path is not None:
        written = {"model": str(model), "sha256": sha256_of(model), **report.to_dict()}
        write_output(json_path, json.dumps(written, indent=2) + "\n", "--json")
    if not report.taken:
        count = len(report.errors)
        raise ExportError(
            f"{model}: TensorRT {trt} will not take it: {count} "
            f"{'error' if count == 1 else 'errors'}, told above with the way out of each."
        )
