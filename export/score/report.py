"""The report of one evaluation: as values and as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from engines.errors import ExportError
from export.score.scores import mean

FEW = 20
"""Classes up to which a dash is shown for one without a score; COCO has 80."""


@dataclass(frozen=True, slots=True)
class Table:
    """Counts by row, the truth, and column, what the model said."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class FrameScore:
    """One frame: mean IoU over the classes that its truth shows, and wrong boxes.

    ``missed`` true boxes are of classes that the model knows; ``false`` ones lie where nothing is
    or are of the wrong class.
    """

    index: int
    name: str
    miou: float | None
    missed: int
    false: int


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """What was scored, on what, how, and the scores; None where the model has no such output.

    ``source`` is the name of the data's file or folder where that is the user's own.

    ``ap50_400px`` and ``ap75_400px`` count boxes of 400 px² and more, ``ap_of_area`` COCO's small,
    medium and large ones. ``recall50``, ``precision50``, ``recall75``, the confusion of boxes, and
    the false boxes and those of a single frame, by class a frame, are at the model's own score
    threshold ``conf`` and IoU 0.5, ``recall75`` at 0.75. ``latency_ms`` is p50 and p90 of each
    step. The confusions count pixels and boxes: truth by row. ``worst`` names the frames with the
    lowest mIoU, and with the most missed and false boxes. ``renamed`` maps names of the model to
    names of the data; ``lacking`` are classes of the data that the model does not know,
    ``left_out`` says of each box of the data that could not be used why.
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
    ap75: dict[str, float | None] | None = None
    ap50_400px: dict[str, float | None] | None = None
    ap75_400px: dict[str, float | None] | None = None
    recall50: dict[str, float | None] | None = None
    precision50: dict[str, float | None] | None = None
    recall75: dict[str, float | None] | None = None
    false_a_frame: dict[str, float | None] | None = None
    single_a_frame: dict[str, float | None] | None = None
    source: str | None = None
    ap_of_area: dict[str, float | None] | None = None
    conf: float | None = None
    tiles: str | None = None
    latency_ms: dict[str, dict[str, float]] | None = None
    renamed: dict[str, str] | None = None
    lacking: dict[str, tuple[str, ...]] | None = None
    confusion_mask: Table | None = None
    confusion_boxes: Table | None = None
    worst: dict[str, tuple[FrameScore, ...]] | None = None
    left_out: tuple[str, ...] | None = None
    curves: dict[str, tuple[float, ...]] | None = None
    """Precision at IoU 0.5 for recall 0, 0.01 … 1, by class; not part of the JSON."""

    def check(self) -> None:
        """Refuse a report without any score.

        Raises:
            ExportError: the data has no truth for this model.
        """
        if self.miou is None and self.ap is None:
            raise ExportError(
                f"{self.source or self.data}: nothing to score: in {self.images} images got no "
                "labelled pixel and no box of a class that the model knows. Check the labels, or "
                "take more images."
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what does not apply is left out."""
        scores = asdict(self)
        del scores["curves"]
        needed = [f.name for f in fields(self) if f.default is MISSING or f.name == "ap"]
        return {k: v for k, v in scores.items() if v is not None or k in needed}


def table(report: EvaluationReport) -> str:
    """The report as lines of text for the terminal."""

    def text(value: float | None) -> str:
        return "    -" if value is None else f"{value:.3f}"

    where = " ".join(filter(None, (report.data, report.source, report.split)))
    width, height = report.input_wh
    lines = [
        f"{report.model} ({report.model_sha256[:12]}) on {where}, {report.images} images, "
        f"{width}x{height}, {report.engine} {report.precision}"
        f"{f', tiles {report.tiles} and the whole' if report.tiles else ''}"
    ]
    if report.infer_ms_median is not None:
        lines.append(f"infer      {report.infer_ms_median:.2f} ms median")
    if report.latency_ms:
        times = (f"{k} {v['p50']:.2f} / {v['p90']:.2f}" for k, v in report.latency_ms.items())
        lines.append(f"p50 / p90  {', '.join(times)} ms")
    if report.renamed:
        taken = ", ".join(f"{mine} as {theirs}" for mine, theirs in report.renamed.items())
        lines.append(f"taken      {taken}")
    if report.left_out:
        lines.append(f"left out   {boxes_left_out(report.left_out)}")
    for kind, names in (report.lacking or {}).items():
        if names:
            lines.append(f"unknown    to the model among the {kind}: {', '.join(names)}")
    scored = (report.iou, report.ap50 or {}, report.recall50 or {})
    wide = max([11, *(len(n) + 1 for scores in scored for n, _ in _shown(scores))])
    lines.append(f"mIoU       {text(report.miou)}")
    lines += [f"  {name:<{wide}}{text(value)}" for name, value in _shown(report.iou)]
    if report.ap50:
        lines.append(
            f"AP         {text(report.ap)}   class: AP, AP50, AP75; of 400 px² and more AP50, AP75"
        )
        columns = (
            report.ap_of_class, report.ap50, report.ap75, report.ap50_400px, report.ap75_400px
        )  # fmt: skip
        lines += [
            f"  {name:<{wide}}{'  '.join(text((column or {}).get(name)) for column in columns)}"
            for name, _ in _shown(report.ap50)
        ]
    if report.recall50:
        at = f"; at score {report.conf:g}" if report.conf is not None else ""
        alone = report.single_a_frame is not None
        lines.append(
            f"recall     {text(mean(report.recall50.values()))}   class: recall, precision, recall "
            f"at IoU 0.75, false a frame{', of a single frame' * alone}{at}"
        )
        columns = (
            report.recall50, report.precision50, report.recall75, report.false_a_frame,
            *((report.single_a_frame,) if alone else ()),
        )  # fmt: skip
        lines += [
            f"  {name:<{wide}}{'  '.join(text((column or {}).get(name)) for column in columns)}"
            for name, _ in _shown(report.recall50)
        ]
    return "\n".join(lines)


def boxes_left_out(why: tuple[str, ...]) -> str:
    """How many boxes of the data could not be used, and why the first."""
    more = f", and {len(why) - 1} more" if len(why) > 1 else ""
    return f"{len(why)} of the data's boxes, as unusable: {why[0]}{more}"


def _shown(scores: Mapping[str, float | None]) -> Iterator[tuple[str, float | None]]:
    """All of a few classes; of many only those that have a score."""
    few = len(scores) <= FEW
    return ((name, value) for name, value in scores.items() if few or value is not None)
