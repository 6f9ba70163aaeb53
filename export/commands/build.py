"""``edge-export build``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from engines.tensorrt.library import FLAVOURS, Flavour
from export.commands import options
from export.tensorrt.build.build import Request, build_file
from export.tensorrt.build.builder import BuildOptions, Verbosity
from export.tensorrt.build.prove import GATE

_DEFAULT = BuildOptions()


@click.command()
@click.argument("model", type=options.PATH)
@options.output(
    "Engine to write; else NAME-HASH.engine in engines/built/, where the app looks for it."
)
@click.option(
    "--for",
    "flavour",
    type=click.Choice(list(FLAVOURS)),
    default="tensorrt",
    show_default=True,
    help="Native TensorRT, on and for this machine's GPU; or TensorRT for RTX, on any x86-64 "
    "machine, for GeForce RTX and RTX workstation cards.",
)
@click.option(
    "--sm",
    metavar="89,120",
    help="Architectures to build for with --for rtx; else this machine's and all from Ampere on. "
    "Turing, 75, adds 65 MB.",
)
@click.option(
    "--reference",
    type=options.PATH,
    help="The FP32 file to prove against, where MODEL is FP16 already.",
)
@options.fp16_proof(
    use="Frames to convert and prove on", iou=GATE.iou, box="every box of the engine"
)
@click.option(
    "--workspace",
    type=click.IntRange(1, 1 << 20),
    default=_DEFAULT.workspace_mb,
    show_default=True,
    metavar="MB",
    help="Device memory that a layer may use to work in.",
)
@click.option(
    "--optimization-level",
    type=click.IntRange(0, 5),
    default=_DEFAULT.optimization_level,
    show_default=True,
    help="How long TensorRT looks for faster kernels.",
)
@click.option(
    "--timing-cache/--no-timing-cache",
    default=True,
    show_default=True,
    help="Use and keep how fast kernels were in earlier builds, by TensorRT and device.",
)
@click.option(
    "--profiling-verbosity",
    type=click.Choice(["none", "layer_names_only", "detailed"]),
    default=_DEFAULT.profiling_verbosity,
    show_default=True,
    help="What the engine can tell of its layers; 'edge-export inspect' wants 'detailed'.",
)
@click.option(
    "--dla-core",
    type=click.IntRange(min=0),
    help="Run on this DLA core of a Jetson Orin, what it cannot on the GPU. Untested on hardware.",
)
def build(
    model: Path,
    output: Path | None,
    flavour: Flavour,
    sm: str | None,
    reference: Path | None,
    frames: str | None,
    keep: Sequence[str],
    iou: float,
    workspace: int,
    optimization_level: int,
    timing_cache: bool,
    profiling_verbosity: Verbosity,
    dla_core: int | None,
) -> None:
    """Build a TensorRT engine from an FP32 model file, and prove it against that file.

    Checks the graph, converts it to FP16 (as 'edge-export fp16' does), builds on this machine's
    GPU, runs the engine on frames and publishes it only if it agrees with FP32. An engine that was
    there stays until then. With --for rtx no GPU is needed; without one the engine runs only after
    'edge-export verify' of it where there is one. Refusals exit with 4, a device without memory
    with 6, Ctrl-C with 130.
    """
    wanted = BuildOptions(workspace, optimization_level, profiling_verbosity, dla_core)
    request = Request(
        reference, frames, keep, replace(GATE, iou=iou), wanted, timing_cache, flavour, sm
    )
    build_file(model, output, request=request, say=options.say)
