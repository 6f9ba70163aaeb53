"""``edge-export evaluate``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edge.proven.adopt_cache import runnable
from edge.say import say
from edge.settings.grid import TILES
from engines.base import Precision
from export.commands.data_options import DataOptions, data_options
from export.commands.options import PATH
from export.outputs import write_output
from export.score.evaluate import evaluate_model
from export.score.gallery import Gallery
from export.score.html import check_templates, html_report
from export.score.report import table


@click.command()
@click.argument("model", type=PATH)
@data_options(
    default="camvid",
    split="test",
    use="coco-json: boxes of any COCO file; folder: images with label maps, boxes or both; film: "
    "frames without labels, which --judge tells.",
)
@click.option("--engine", default="auto", show_default=True, help="Backend to run.")
@click.option(
    "--precision", type=click.Choice(["f32", "default"]), default="f32", show_default=True
)
@TILES
@click.option(
    "--html",
    "html_path",
    type=PATH,
    help="Write a report with charts and the worst frames here, one file without links.",
)
@click.option("--json", "json_path", type=PATH, help="Write the scores; - for stdout.")
def evaluate(
    model: Path,
    engine: str,
    precision: Precision,
    tiles: str,
    html_path: Path | None,
    json_path: Path | None,
    chosen: DataOptions,
) -> None:
    """Score MODEL through the app's own letterbox and decoders.

    MODEL is any file that 'edge run' takes. Its classes are matched with the data's by name.
    """
    chosen.check()
    chosen.check_outputs({"--html": html_path, "--json": json_path}, models=[model])
    if html_path is not None:
        check_templates()
    gallery = None if html_path is None else Gallery()
    data = chosen.open()
    chosen.log.check(data.split)
    report = evaluate_model(
        model, data, renames=chosen.renames, engine=engine, precision=precision, tiles=tiles,
        adopt=runnable, gallery=gallery, progress=True,
    )  # fmt: skip
    report.check()
    chosen.log.append(report)
    say(table(report))
    if json_path is not None:
        write_output(json_path, json.dumps(report.to_dict(), indent=2) + "\n", "--json")
    if html_path is not None and gallery is not None:
        write_output(html_path, html_report(report, gallery), "--html")
