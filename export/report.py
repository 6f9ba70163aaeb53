"""The report of one evaluation: as values, as text, and as a line in the log of the test split."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from engines.errors import ExportError
from export.scores import mean

TEST_LOG = Path(__file__).with_name("test_scores.jsonl")
"""Every scoring of the test split, one line each, kept with the project."""


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """What was scored, on what, how, and the scores; None where the model has no such output.

    ``ap50_400px`` counts boxes of 400 px² and more. ``recall50`` and ``precision50``, on the
    synthetic street, are at the model's own score threshold and IoU 0.5.
    """

    model: str
    model_sha256: str
    engine: str
    precision: str
    data: str
    split: str | None
    images: int
    input_wh: tuple[int, int]
    infer_ms_median: float | None
    miou: float | None
    iou: dict[str, float | None]
    ap: float | None = None
    ap_of_class: dict[str, float | None] | None = None
    ap50: dict[str, float | None] | None = None
    ap50_400px: dict[str, float | None] | None = None
    recall50: dict[str, float | None] | None = None
    precision50: dict[str, float | None] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what does not apply is left out."""
        scores = asdict(self)
        optional = ("ap_of_class", "ap50", "ap50_400px", "recall50", "precision50")
        return {k: v for k, v in scores.items() if v is not None or k not in optional}


def log_test(report: EvaluationReport, path: Path) -> None:
    """Append one line: choices are made on val, and this shows how often test was looked at."""
    line = {"date": datetime.now(timezone.utc).isoformat(timespec="seconds"), **report.to_dict()}
    try:
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as exc:
        raise ExportError(
            f"{path}: this scoring of the test split cannot be logged ({exc.strerror}). Name a "
            "writable file with --test-log."
        ) from exc


def table(report: EvaluationReport) -> str:
    """The report as lines of text for the terminal."""

    def text(value: float | None) -> str:
        return "    -" if value is None else f"{value:.3f}"

    where = f"{report.data} {report.split}" if report.split else report.data
    width, height = report.input_wh
    lines = [
        f"{report.model} ({report.model_sha256[:12]}) on {where}, {report.images} images, "
        f"{width}x{height}, {report.engine} {report.precision}"
    ]
    if report.infer_ms_median is not None:
        lines.append(f"infer      {report.infer_ms_median:.2f} ms median")
    lines.append(f"mIoU       {text(report.miou)}")
    lines += [f"  {name:<11}{text(value)}" for name, value in report.iou.items()]
    if report.ap50:
        lines.append(f"AP         {text(report.ap)}   class: AP, AP50, AP50 of 400 px² and more")
        lines += [
            f"  {name:<11}{text((report.ap_of_class or {}).get(name))}  {text(value)}  "
            f"{text((report.ap50_400px or {}).get(name))}"
            for name, value in report.ap50.items()
        ]
    if report.recall50:
        lines.append(
            f"recall     {text(mean(report.recall50.values()))}   class: recall, precision"
        )
        lines += [
            f"  {name:<11}{text(value)}  {text((report.precision50 or {}).get(name))}"
            for name, value in report.recall50.items()
        ]
    return "\n".join(lines)
