"""One evaluation as one HTML page: charts and pictures inside, no link to the outside.

It computes no score; what is shown is in the report and in the gallery.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edge.vision.palette import colour_of
from engines.errors import ExportError
from engines.redact import plain_lines
from export.score.gallery import FALSE, MISSING, MISTAKEN, PLAIN, RIGHT, UNCOUNTED, Gallery, css
from export.score.report import EvaluationReport, Table, boxes_left_out
from export.score.scores import mean

TEMPLATES = Path(__file__).with_name("templates")
PAGE = "evaluation.html.j2"
CLASSES_SHOWN = 24
"""Rows of a confusion matrix: more cannot be read. The JSON has them all."""
CURVES_SHOWN = 8
CURVE_WH = (440, 270)
LINES = ("#2f81f7", "#e0533d", "#2da44e", "#a56bdb", "#d4a017", "#17a2b8", "#d65fa4", "#8a8f98")
"""Colours of curves, to tell apart on white and on black. A class takes the free one that is
nearest to its colour in the masks."""
STEPS = ("#8a8f98", "#2f81f7", "#17a2b8")
"""Colours of letterbox, inference and decode."""
VERDICTS = {
    "found": css(RIGHT),
    "missed": css(MISSING),
    "nothing there, or found twice": css(FALSE),
    "of another class": css(MISTAKEN),
    "not counted": css(UNCOUNTED),
}
DATA = {
    "camvid": "CamVid", "cityscapes": "Cityscapes at 512x256", "synthetic": "the synthetic street"
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cell:
    """One count: its share of the row, and what it means in words."""

    count: int
    share: float
    right: bool
    title: str


@dataclass(frozen=True, slots=True)
class Matrix:
    """The part of a confusion that is worth showing; ``left_out`` counts classes beyond it.

    The first ``classes`` of the columns are classes, what follows is 'missed' or the like.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    classes: int
    left_out: int


@dataclass(frozen=True, slots=True)
class Curve:
    """Precision over recall of one class: points of an SVG polyline."""

    name: str
    colour: str
    points: str
    ap50: float


def check_templates() -> None:
    """Refuse to begin where the page could not be made at the end.

    Raises:
        ExportError: jinja2 is not installed.
    """
    try:
        import jinja2  # noqa: F401
    except ImportError as exc:
        raise ExportError(
            "--html needs jinja2, which is not installed here. Install it from the project's "
            "folder: pip install -e '.[export]'"
        ) from exc


def html_report(report: EvaluationReport, gallery: Gallery, *, made: datetime | None = None) -> str:
    """The page; ``made`` is the date on it, now where it is None.

    Raises:
        ExportError: jinja2 is not installed.
    """
    check_templates()
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,  # names come from model files and data of anybody
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: plain_lines(value) if type(value) is str else value,
    )
    environment.filters |= {"score": _score, "ms": _ms, "big": "{:,}".format}
    curves = _curves(report)
    where = DATA.get(report.data, report.source or report.data)
    when = made or datetime.now(timezone.utc)
    return environment.get_template(PAGE).render(
        report=report,
        where=f"{where} {report.split}" if report.split else where,
        made=when.strftime("%Y-%m-%d %H:%M UTC"),
        tiles=_tiles(report),
        iou=_bars(report.iou),
        boxes=_box_rows(report, {curve.name: curve.colour for curve in curves}),
        areas=report.ap_of_area or {},
        curves=curves,
        curve_wh=CURVE_WH,
        steps=_steps(report.latency_ms or {}),
        mask_matrix=_matrix(report.confusion_mask, "px"),
        box_matrix=_matrix(report.confusion_boxes, "boxes"),
        left_out=boxes_left_out(report.left_out) if report.left_out else None,
        lacking={k: v for k, v in (report.lacking or {}).items() if v},
        gallery=gallery.entries,
        legends={"mask": gallery.legend("mask"), "boxes": VERDICTS},
    )


def _tiles(report: EvaluationReport) -> list[tuple[str, str, str]]:
    """(value, unit or name, what it is) of the figures at the top."""
    tiles = []
    if report.miou is not None:
        count = sum(v is not None for v in report.iou.values())
        tiles.append((_score(report.miou), "mIoU", f"mask, mean of {_classes(count)}"))
    ap50 = mean((report.ap50 or {}).values())
    if ap50 is not None:
        count = sum(v is not None for v in (report.ap50 or {}).values())
        tiles.append((_score(ap50), "AP50", f"boxes, mean of {_classes(count)}"))
    if report.ap is not None:
        tiles.append((_score(report.ap), "AP", "boxes, IoU 0.50 to 0.95"))
    if (times := (report.latency_ms or {}).get("infer")) is not None:
        tiles.append((_ms(times["p50"]), "ms", f"inference, p50; p90 is {_ms(times['p90'])} ms"))
    return tiles


def _bars(scores: Mapping[str, float | None]) -> list[tuple[str, float | None, str]]:
    """(name, score, colour), with a score first, in the order of the data."""
    named = [(n, v, css(colour_of(n) if n != "background" else PLAIN)) for n, v in scores.items()]
    many = len(named) > CLASSES_SHOWN
    return [bar for bar in named if bar[1] is not None or not many]


def _box_rows(report: EvaluationReport, colours: Mapping[str, str]) -> list[dict[str, Any]]:
    """A row for each class of boxes that has a score, or for all of a few.

    ``colours`` are those of the curves: a class without one has none here either.
    """
    truth = _true_boxes(report)
    return [
        {
            "name": name,
            "colour": colours.get(name),
            "ap50": value,
            "ap": (report.ap_of_class or {}).get(name),
            "ap75": (report.ap75 or {}).get(name),
            "ap50_400px": (report.ap50_400px or {}).get(name),
            "ap75_400px": (report.ap75_400px or {}).get(name),
            "recall": (report.recall50 or {}).get(name),
            "precision": (report.precision50 or {}).get(name),
            "recall75": (report.recall75 or {}).get(name),
            "false": (report.false_a_frame or {}).get(name),
            "single": (report.single_a_frame or {}).get(name),
            "truth": truth.get(name, 0),
        }
        for name, value, _ in _bars(report.ap50 or {})
    ]


def _true_boxes(report: EvaluationReport) -> dict[str, int]:
    table = report.confusion_boxes
    if table is None:
        return {}
    return dict(zip(table.rows[:-1], map(sum, table.counts[:-1]), strict=True))


def _curves(report: EvaluationReport) -> list[Curve]:
    """The curves of the classes with the most true boxes, or of all of a few."""
    truth = _true_boxes(report)
    ap50 = {n: v for n, v in (report.ap50 or {}).items() if v is not None}
    known = [n for n in ap50 if n in (report.curves or {})]
    known.sort(key=lambda n: -truth.get(n, 0))
    width, height = CURVE_WH
    made = []
    free = list(LINES)
    for name in known[:CURVES_SHOWN]:
        colour = min(free, key=lambda line: _apart(line, css(colour_of(name))))
        free.remove(colour)
        precisions = (report.curves or {})[name]
        step = width / (len(precisions) - 1)
        points = " ".join(
            f"{i * step:.1f},{height * (1 - p):.1f}" for i, p in enumerate(precisions)
        )
        made.append(Curve(name, colour, points, ap50[name]))
    return made


def _apart(a: str, b: str) -> int:
    """Squared distance of two CSS colours."""
    pairs = zip(bytes.fromhex(a[1:]), bytes.fromhex(b[1:]), strict=True)
    return sum((x - y) ** 2 for x, y in pairs)


def _steps(latency: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """The steps with their share of the sum of medians, for the bar."""
    total = sum(times["p50"] for times in latency.values()) or 1.0
    made, left = [], 0.0
    for (name, times), colour in zip(latency.items(), STEPS, strict=True):
        share = times["p50"] / total
        made.append({"name": name, **times, "left": left, "share": share, "colour": colour})
        left += share
    return made


def _matrix(table: Table | None, unit: str) -> Matrix | None:
    """The rows and columns in which something was counted, the fullest where there are many."""
    if table is None:
        return None
    sums = [sum(column) for column in zip(*table.counts, strict=True)]
    last = len(table.columns) - 1
    classes = min(len(table.rows), last)  # without 'missed' and the like
    weight = {i: sum(table.counts[i]) + sums[i] for i in range(classes)}
    counted = sorted((i for i in weight if weight[i]), key=lambda i: -weight[i])
    kept = sorted(counted[:CLASSES_SHOWN])
    rows = [*kept, *range(last, len(table.rows))]
    columns = [*kept, *([last] if sums[last] or unit == "boxes" else [])]
    made = []
    for i in rows:
        total = sum(table.counts[i])
        cells = []
        for j in columns:
            count = table.counts[i][j]
            share = count / total if total else 0.0
            title = f"{table.rows[i]} → {table.columns[j]}: {count:,} {unit} ({share:.1%})"
            cells.append(Cell(count, share, i == j and i < classes, title))
        made.append((table.rows[i], tuple(cells)))
    names = tuple(table.columns[j] for j in columns)
    return Matrix(names, tuple(made), len(kept), len(counted) - len(kept))


def _classes(count: int) -> str:
    return f"{count} class" if count == 1 else f"{count} classes"


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _ms(value: float) -> str:
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
