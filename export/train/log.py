"""The log of a training: one CSV row an epoch, one line on stderr, a plot of the curves."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

from edge.say import say
from engines.errors import ExportError
from engines.model_file import write_atomically

LOSSES = ("box", "objectness", "classes", "mask")
SCORES = ("val_miou", "val_ap", "val_ap50")
COLUMNS = ("epoch", "seconds", *LOSSES, *SCORES)


class TrainingLog:
    """Appends to OUT/log.csv; of a run that is resumed it keeps the rows up to ``resume_after``.

    ``last`` is the epoch of the last row that was kept; 0 without one. Rows that were cut off while
    they were written are dropped: a log never stops a resumed training.

    Raises:
        ModelError: the log cannot be written.
    """

    def __init__(self, out: Path, *, resume_after: int) -> None:
        self.path, self.picture = out / "log.csv", out / "plot.png"
        rows = self._read() if self.path.exists() and resume_after else []
        kept = [r for r in rows if int(r["epoch"]) <= resume_after]
        self.last = max((int(r["epoch"]) for r in kept), default=0)
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        writer.writerows(kept)
        write_atomically(text.getvalue().encode(), self.path)

    def _read(self) -> list[dict[str, str]]:
        try:
            with self.path.open(newline="", errors="replace") as file:
                return [r for r in csv.DictReader(file) if _whole(r)]
        except OSError as exc:
            raise ExportError(f"{self.path}: cannot be read ({exc.strerror}).") from exc

    def add(self, epoch: int, seconds: float, values: dict[str, float]) -> None:
        """Print one epoch and append it.

        Raises:
            ExportError: the log cannot be written.
        """
        row: dict[str, object] = {"epoch": epoch, "seconds": f"{seconds:.1f}"}
        row |= {k: f"{v:.5f}" for k, v in values.items()}
        say("  ".join(f"{k} {v}" for k, v in row.items()))
        try:
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, COLUMNS).writerow(row)
        except OSError as exc:
            raise ExportError(
                f"{self.path}: cannot be written ({exc.strerror}). The checkpoint of epoch {epoch} "
                "is kept; free some space and start the same command again to resume."
            ) from exc

    def plot(self) -> None:
        """Draw losses and scores over epochs into OUT/plot.png.

        Raises:
            ExportError: the log cannot be read.
            ModelError: the picture cannot be written.
        """
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        rows = self._read()
        epochs = [int(r["epoch"]) for r in rows]
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4), layout="constrained")
        for name in LOSSES:
            # 0 has no place on a logarithmic axis
            left.plot(epochs, [float(r[name]) or math.nan for r in rows], label=name)
        left.set(xlabel="epoch", ylabel="loss", yscale="log", title="training losses")
        left.legend()
        for name in SCORES:
            points = [(int(r["epoch"]), float(r[name])) for r in rows if r.get(name)]
            right.plot([p[0] for p in points], [p[1] for p in points], marker="o", label=name)
        right.set(xlabel="epoch", ylim=(0, 1), title="scores on val")
        right.legend()
        png = io.BytesIO()
        figure.savefig(png, dpi=110)
        pyplot.close(figure)
        write_atomically(png.getvalue(), self.picture)


def _whole(row: dict[str, str]) -> bool:
    """Whether a row has all that every epoch writes."""
    try:
        int(row["epoch"])
        return row.keys() == set(COLUMNS) and all(float(row[name]) >= 0 for name in LOSSES)
    except (KeyError, TypeError, ValueError):
        return False
