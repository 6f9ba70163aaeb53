"""Do two models say the same, whatever they are made of? It changes none.

Either may be a checkpoint, an ONNX file in FP32, FP16 (every tensor rounded to real half) or int8,
or a built engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engines.base import Engine
from engines.model_file import any_sha256
from export.compare.agreement import Score
from export.compare.differences import Limits
from export.compare.models import open_models
from export.compare.parity import Parity, compare
from export.data.frames import COUNT, read_frames
from export.data.labelled import LabelledData
from export.score.log import ScoringLog
from export.score.report import EvaluationReport


def verify_models(
    a: Path,
    b: Path,
    *,
    frames: str | None = None,
    count: int = COUNT,
    labelled: LabelledData | None = None,
    renames: Mapping[str, str] | None = None,
    limits: Limits,
    log: ScoringLog | None = None,
) -> tuple[Parity, dict[str, Any]]:
    """Compare two models on ``count`` frames of a source, or on labelled images.

    ``renames`` maps names of the models' classes to names of the labelled data's.

    Returns the comparison and a report of plain values, models included. A scoring of the test
    split is appended to ``log``, once a model.

    Raises:
        ModelError, EngineError: a model cannot be opened or run.
        ExportError: the two cannot be compared, the data is broken, or a scoring cannot be logged.
        SourceError: the frames cannot be read.
    """
    if log is not None and labelled is not None:
        log.check(labelled.split)
    engines = open_models(a, b)
    try:
        if labelled is None:
            read = read_frames(frames, count=count)
            source = read.described
            parity = compare(*engines, read.images, limits=limits)
        else:
            names = filter(None, (labelled.name, labelled.source, labelled.split))
            source = f"{labelled.count} labelled images of {' '.join(names)}"
            parity = compare(*engines, (), limits=limits, labelled=labelled, renames=renames or {})
    finally:
        for engine in engines:
            engine.close()
    models = {
        side: {
            "path": str(path),
            "sha256": any_sha256(path),
            "engine": engine.name,
            "precision": engine.precision,
        }
        for side, path, engine in zip("ab", (a, b), engines, strict=True)
    }
    if log is not None and labelled is not None:
        for side, engine, score in zip(
            "ab", engines, (parity.reference, parity.candidate), strict=True
        ):
            log.append(_evaluation(models[side], engine, score, labelled))
    return parity, {**models, "data": source, **parity.to_dict()}


def _evaluation(
    model: Mapping[str, str], engine: Engine, score: Score, data: LabelledData
) -> EvaluationReport:
    boxes = score.boxes
    return EvaluationReport(
        model=Path(model["path"]).name,
        model_sha256=model["sha256"],
        engine=engine.name,
        precision=engine.precision,
        data=data.name,
        split=data.split,
        images=data.count,
        input_wh=(engine.spec.input.width, engine.spec.input.height),
        infer_ms_median=None,
        miou=score.miou,
        iou=dict(score.iou),
        ap=boxes.ap if boxes else None,
        ap_of_class=dict(boxes.ap_of_class) if boxes else {},
        ap50=dict(boxes.ap50) if boxes else {},
        ap75=dict(boxes.ap75) if boxes else {},
        ap50_400px=dict(boxes.ap50_large) if boxes else {},
        ap75_400px=dict(boxes.ap75_large) if boxes else {},
    )


def table(report: Mapping[str, Any], parity: Parity, limits: Limits) -> str:
    """The report as lines of text for the terminal."""
    rows = [
        f"{side}            {report[side]['path']} ({report[side]['sha256'][:12]}), "
        f"{report[side]['engine']} {report[side]['precision']}"
        for side in "ab"
    ]
    rows += [f"on           {report['data']}", *parity.lines(limits)]
    one, two = parity.reference.boxes, parity.candidate.boxes
    if one is not None and two is not None:
        rows += _by_class("AP50", one.ap50, two.ap50)
    rows += _by_class("IoU", parity.reference.iou, parity.candidate.iou)
    rows += [f"FAILED       {text}" for text in parity.failures]
    rows += [f"not proven   {text}" for text in parity.doubts]
    if not parity.failures and not parity.doubts:
        rows.append("the same within the limits")
    return "\n".join(rows)


def _by_class(
    what: str, one: Mapping[str, float | None], two: Mapping[str, float | None]
) -> list[str]:
    rows = []
    for name, before in one.items():
        after = two.get(name)
        if before is not None and after is not None:
            rows.append(f"  {what:<5} {name:<20} {before:.4f}  {after:.4f}  {after - before:+.4f}")
    return rows
