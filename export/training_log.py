"""The log of a training: one CSV row an epoch, one line on stderr, a plot of the curves."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

COLUMNS = (
    "epoch",
    "seconds",
    "box",
    "objectness",
    "classes",
    "mask",
    "val_miou",
    "val_ap",
    "val_ap50",
)


class TrainingLog:
    """Appends to OUT/log.csv; rows after ``resume_after``, of a killed run, are dropped."""

    def __init__(self, out: Path, *, resume_after: int) -> None:
        self.path = out / "log.csv"
        self.picture = out / "plot.png"
        rows = self._read() if self.path.exists() and resume_after else []
        kept = [r for r in rows if int(r["epoch"]) <= resume_after]
        with self.path.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(kept)

    def _read(self) -> list[dict[str, str]]:
        with self.path.open(newline="") as file:
            return list(csv.DictReader(file))

    def add(self, epoch: int, seconds: float, values: dict[str, float]) -> None:
        """Append one epoch and print it."""
        row: dict[str, object] = {"epoch": epoch, "seconds": f"{seconds:.1f}"}
        row |= {k: f"{v:.5f}" for k, v in values.items()}
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, COLUMNS).writerow(row)
        shown = "  ".join(f"{k} {v}" for k, v in row.items())
        print(shown, file=sys.stderr, flush=True)

    def plot(self) -> None:
        """Draw losses and scores over epochs into OUT/plot.png."""
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        rows = self._read()
        epochs = [int(r["epoch"]) for r in rows]
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4), layout="constrained")
        for name in ("box", "objectness", "classes", "mask"):
            left.plot(epochs, [float(r[name]) for r in rows], label=name)
        left.set(xlabel="epoch", ylabel="loss", yscale="log", title="training losses")
        left.legend()
        for name in ("val_miou", "val_ap", "val_ap50"):
            points = [(int(r["epoch"]), float(r[name])) for r in rows if r.get(name)]
            right.plot([p[0] for p in points], [p[1] for p in points], marker="o", label=name)
        right.set(xlabel="epoch", ylim=(0, 1), title="scores on val")
        right.legend()
        figure.savefig(self.picture, dpi=110)
        pyplot.close(figure)
