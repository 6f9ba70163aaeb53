"""Times of model files beside each other, in every engine of this CPU, in turn.

Run it from the project's folder: ``.venv/bin/python -m docs.experiments.file_times FILES...``
``ONEDNN_MAX_CPU_ISA=AVX2`` before it has OpenVINO play an older processor; then leave out
``--default``, as precisions that such a processor lacks end the process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import click

from docs.experiments.zoo_page import here, table
from edge.cli import invoke
from edge.machine.bench_parts import costs
from engines import open_engine
from engines.base import Engine, Precision

CPU = ("openvino", "onnxruntime")


def once(engine: Engine) -> Callable[[], object]:
    """A run on what lies in its input."""

    def run() -> object:
        engine.submit(0)
        return engine.wait(0)

    return run


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--default", is_flag=True, help="Also at OpenVINO's own precision (bf16 with AMX).")
@click.option("--calls", type=click.IntRange(1), default=12, show_default=True, help="A turn.")
def main(files: Sequence[Path], default: bool, calls: int) -> None:
    """Print the median ms of a run of each of FILES; five turns."""
    ways: list[tuple[str, Precision]] = [(name, "f32") for name in CPU]
    if default:
        ways.append(("openvino", "default"))
    with ExitStack() as stack:
        works = {}
        for way in ways:
            for file in files:
                engine = open_engine(file, engine=way[0], precision=way[1])
                works[f"{way} {file}"] = once(stack.enter_context(closing(engine)))
        took = costs(works, calls=calls)
    rows = [[str(f), *(f"{took[f'{way} {f}'].wall_ms:.1f}" for way in ways)] for f in files]
    click.echo(table(("file", *(f"{name} {precision}, ms" for name, precision in ways)), rows))
    click.echo(f"\n{here()}")


if __name__ == "__main__":
    invoke(main, "file_times")
