"""``edge-export inspect``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from edge.say import answer
from engines.redact import plain
from engines.tensorrt.identity import sidecar_path
from export.commands import options
from export.outputs import check_reports, write_output
from export.tensorrt.inspect_engine import (
    inspect_engine,
    layer_lines,
    network_lines,
    sidecar_lines,
)


@click.command()
@click.argument("engine", type=options.PATH)
@click.option(
    "--json", "json_path", type=options.PATH_OR_DASH, help="Write all of it here; '-' is stdout."
)
def inspect(engine: Path, json_path: Path | None) -> None:
    """Say what a built engine is: identity, spec, proof, and its layers with their precisions.

    The layers are TensorRT's to tell, so they are shown where the engine was built for, and left
    out, saying why, elsewhere. Exits with 4 where the sidecar or the plan is missing or damaged.
    """
    if json_path is not None:
        check_reports({"--json": json_path}, (engine, sidecar_path(engine)))
    sidecar, layers, why = inspect_engine(engine)
    if str(json_path) != "-":
        shown = [f"layers       not shown: {why}"] if layers is None else layer_lines(layers)
        for line in (*sidecar_lines(engine, sidecar), *network_lines(sidecar), *shown):
            answer(plain(line))
    if json_path is not None:
        found = None if layers is None else [asdict(layer) for layer in layers]
        held = {"engine": str(engine), **asdict(sidecar), "layers": found, "layers_not_shown": why}
        write_output(json_path, json.dumps(held, indent=2) + "\n", "--json")
