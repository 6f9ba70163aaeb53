"""``edge-export check-tensorrt``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from engines.errors import ExportError
from engines.model_file import ModelFile, sha256_of
from export.commands import options
from export.outputs import check_reports, write_output
from export.tensorrt.check.check import check_file, report_lines
from export.tensorrt.check.judge import best_judge
from export.tensorrt.check.operators import RELEASES
from export.tensorrt.profiles import FORM, parse_profiles


@click.command("check-tensorrt")
@click.argument("model", type=options.PATH)
@click.option(
    "--trt",
    type=click.Choice(list(RELEASES)),
    help="Say too what this release of TensorRT lacks, by its table.",
)
@click.option(
    "--profile",
    "profiles",
    multiple=True,
    metavar="NAME=SHAPES",
    help=f"Sizes of an input whose shape is open: {FORM}; repeatable.",
)
@click.option(
    "--json",
    "json_path",
    type=options.PATH_OR_DASH,
    help="Write the report here, every node named; '-' is stdout.",
)
def check_tensorrt(
    model: Path, trt: str | None, profiles: Sequence[str], json_path: Path | None
) -> None:
    """Say whether TensorRT will take an ONNX file; no GPU is needed.

    Asked are native TensorRT where it opens, else TensorRT for RTX, else the table of operators for
    10.3 alone: the first line says who, and what that does not prove. Exits with 4 where the file
    is refused.
    """
    sizes = parse_profiles(profiles)
    if json_path is not None:
        check_reports({"--json": json_path}, (model, *ModelFile(model).weights))
    judge, reasons = best_judge()
    if judge is None and trt is None:
        trt = next(iter(RELEASES))
    report = check_file(model, judge=judge, release=trt, profiles=sizes)
    first, *rest = report_lines(report)
    for line in (first, *(f"note         {reason}" for reason in reasons), *rest):
        options.say(line)
    if json_path is not None:
        written = {"model": str(model), "sha256": sha256_of(model), **report.to_dict()}
        write_output(json_path, json.dumps(written, indent=2) + "\n", "--json")
    if not report.taken:
        count = len({f.node for f in report.errors})
        raise ExportError(
            f"{model}: {report.against} will not take it: {count} "
            f"{'place' if count == 1 else 'places'}, told above with the way out of each."
            + (" Check again when mended: the parser may stop at the first." if judge else "")
        )
