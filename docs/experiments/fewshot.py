"""Few-shot trainings compared: a table and a plot of finished runs; it trains and scores nothing.

Run it from the project's folder on folders that ``edge-export train`` wrote:
``.venv/bin/python -m docs.experiments.fewshot --plot FILE.png RUN...``. Runs of one way and length
make one row of the summary.
"""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from edge.cli import invoke
from engines.errors import ExportError
from engines.model_file import write_atomically
from export.train.recipe import OPTIONS, Recipe

WAYS = ("from scratch", "heads only", "frozen backbone", "fine-tuned")
SCORES = ("val_miou", "val_ap", "val_ap50")


@dataclass(frozen=True, slots=True)
class Run:
    """One finished training: its recipe, and by epoch the scores on val where it was scored."""

    name: str
    recipe: dict[str, Any]
    scores: dict[int, dict[str, float]]

    @property
    def way(self) -> str:
        """How the weights began, and how much of them could change."""
        if not self.recipe["init_sha256"]:
            return WAYS[0]
        return {"features": WAYS[1], "backbone": WAYS[2]}.get(self.recipe["freeze"], WAYS[3])

    @property
    def last(self) -> dict[str, float]:
        """The scores of the last epoch."""
        return self.scores[max(self.scores)]

    def command(self, *, init: str) -> str:
        """The options that make this run, ``init`` standing for the checkpoint it began with."""
        before = asdict(Recipe())
        parts = ["edge-export train"]
        splits = ",".join(self.recipe["splits"]) or "none"
        if splits != "train":
            parts.append(f"--splits {splits}")
        for key in OPTIONS:
            if self.recipe[key] != before[key]:
                value = f"{self.recipe[key]:g}" if key.startswith("lr") else str(self.recipe[key])
                quoted = f"'{value}'" if set(value) & set("*=;") else value
                parts.append(f"--{key.replace('_', '-')} {quoted}")
        size = f"{self.recipe['height']}x{self.recipe['width']}"
        if size != f"{before['height']}x{before['width']}":
            parts.append(f"--size {size}")
        if self.recipe["init_sha256"]:
            parts.append(f"--init {init}")
        return " ".join([*parts, f"--out {self.name}"])


def read_run(folder: Path) -> Run:
    """Read the recipe from the checkpoint and the scores from the log.

    Raises:
        ExportError: the folder holds no training, or one that is not finished or was not scored.
    """
    from export.train.checkpoint import load_checkpoint

    state = load_checkpoint(folder / "last.pt")
    recipe = {**asdict(Recipe()), **state.get("recipe", {})}
    log = folder / "log.csv"
    scores: dict[int, dict[str, float]] = {}
    try:
        with log.open(newline="") as file:
            for row in csv.DictReader(file):
                if row.get("val_miou"):
                    scores[int(row["epoch"])] = {name: float(row[name]) for name in SCORES}
    except (OSError, KeyError, TypeError, ValueError) as exc:
        raise ExportError(
            f"{log}: cannot be read ({exc}). Name folders of 'edge-export train'."
        ) from exc
    if recipe["epochs"] not in scores:
        raise ExportError(
            f"{folder}: not scored after its last epoch {recipe['epochs']}. Finish it with the "
            "same command, with --eval-every above 0."
        )
    return Run(str(folder), recipe, scores)


def in_order(runs: Sequence[Run]) -> list[Run]:
    """By way, length and seed, as the table and the plot show them."""
    return sorted(runs, key=lambda r: (WAYS.index(r.way), r.recipe["epochs"], r.recipe["seed"]))


def table(runs: Sequence[Run], *, init: str) -> str:
    """Markdown: mean and spread by way and length, then every run with its command."""
    lines = ["| way | epochs | runs | mIoU on val | AP50 on val |", "|---|---|---|---|---|"]
    for way, epochs in dict.fromkeys((r.way, r.recipe["epochs"]) for r in in_order(runs)):
        mine = [r for r in runs if (r.way, r.recipe["epochs"]) == (way, epochs)]
        cells = [_spread([r.last[k] for r in mine]) for k in ("val_miou", "val_ap50")]
        lines.append(f"| {way} | {epochs} | {len(mine)} | {cells[0]} | {cells[1]} |")
    lines += ["", "| way | seed | mIoU | AP | AP50 | command |", "|---|---|---|---|---|---|"]
    for run in in_order(runs):
        cells = [f"{run.last[k]:.3f}" for k in SCORES]
        command = run.command(init=init)
        lines.append(f"| {run.way} | {run.recipe['seed']} | {' | '.join(cells)} | `{command}` |")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    """Mean ± sample standard deviation."""
    mean = statistics.fmean(values)
    return f"{mean:.3f} ± {statistics.stdev(values):.3f}" if len(values) > 1 else f"{mean:.3f}"


def plot(runs: Sequence[Run], path: Path) -> None:
    """Scores on val over epochs: a line each run, a colour each way.

    Raises:
        ModelError: the picture cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for axis, (key, title) in zip(
        axes, (("val_miou", "mask: mIoU on val"), ("val_ap50", "boxes: AP50 on val")), strict=True
    ):
        named = set()
        for run in in_order(runs):
            epochs = sorted(run.scores)
            axis.plot(
                epochs, [run.scores[e][key] for e in epochs], color=f"C{WAYS.index(run.way)}",
                marker=".", label=None if run.way in named else run.way,
            )  # fmt: skip
            named.add(run.way)
        axis.set(xlabel="epoch", title=title, ylim=(0, None), xscale="log")
        shown = sorted({epoch for run in runs for epoch in run.scores})
        axis.set_xticks(shown, labels=[str(epoch) for epoch in shown], minor=False)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].legend()
    png = io.BytesIO()
    figure.savefig(png, dpi=90)
    pyplot.close(figure)
    write_atomically(png.getvalue(), path)


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--plot", "picture", type=click.Path(path_type=Path), help="Draw the scores here.")
@click.option("--init", default="INIT", help="What to call the checkpoint that runs began with.")
def main(folders: Sequence[Path], picture: Path | None, init: str) -> None:
    """Print a Markdown table of the trainings in FOLDERS."""
    runs = [read_run(folder) for folder in folders]
    click.echo(table(runs, init=init))
    if picture is not None:
        plot(runs, picture)


if __name__ == "__main__":
    invoke(main, "fewshot")
