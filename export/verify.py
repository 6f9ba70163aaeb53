"""``edge-export verify``: do two models say the same, whatever they are made of? It changes none.

Either may be a checkpoint, an ONNX file in FP32, FP16 (every tensor rounded to real half) or int8,
or a built engine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from engines.base import Engine
from engines.errors import ExportError, SettingsError
from engines.model_file import sha256_of
from export.camvid import CamVidSplit, Split, default_root, load_index
from export.frames import COUNT, read_frames
from export.outputs import check_output, write_output
from export.parity import Limits, Parity, compare
from export.report import TEST_LOG, EvaluationReport, log_test
from export.scorer import Score
from export.sides import open_sides
from export.verdict import lines


def verify_models(
    a: Path,
    b: Path,
    *,
    frames: str | None = None,
    count: int = COUNT,
    labelled: CamVidSplit | None = None,
    limits: Limits,
    test_log: Path = TEST_LOG,
) -> tuple[Parity, dict[str, Any]]:
    """Compare two models on ``count`` frames of a source, or on labelled images.

    Returns the comparison and a report of plain values, models included. A scoring of the test
    split is appended to ``test_log``, once a model.

    Raises:
        ModelError, EngineError: a model cannot be opened or run.
        ExportError: the two cannot be compared, or the data is broken.
        SourceError: the frames cannot be read.
    """
    engines = open_sides(a, b)
    try:
        if labelled is None:
            read = read_frames(frames, count=count)
            told = read.told
            parity = compare(*engines, read.images, limits=limits)
        else:
            told = f"{len(labelled.items)} labelled images of CamVid {labelled.name}"
            parity = compare(*engines, (), limits=limits, labelled=labelled)
    finally:
        for engine in engines:
            engine.close()
    models = {
        side: {
            "path": str(path),
            "sha256": sha256_of(path),
            "engine": engine.name,
            "precision": engine.precision,
        }
        for side, path, engine in zip("ab", (a, b), engines, strict=True)
    }
    if labelled is not None and labelled.name == "test":
        for side, engine, score in zip("ab", engines, (parity.reference, parity.candidate),
                                       strict=True):  # fmt: skip
            log_test(_evaluation(models[side], engine, score, parity.frames), test_log)
    return parity, {**models, "data": told, **parity.to_dict()}


def _evaluation(
    model: Mapping[str, str], engine: Engine, score: Score, images: int
) -> EvaluationReport:
    boxes = score.boxes
    return EvaluationReport(
        model=Path(model["path"]).name,
        model_sha256=model["sha256"],
        engine=engine.name,
        precision=engine.precision,
        data="camvid",
        split="test",
        images=images,
        input_wh=(engine.spec.input.width, engine.spec.input.height),
        infer_ms_median=None,
        miou=score.miou,
        iou=dict(score.iou),
        ap=boxes.ap if boxes else None,
        ap_of_class=dict(boxes.ap_of_class) if boxes else {},
        ap50=dict(boxes.ap50) if boxes else {},
        ap50_400px=dict(boxes.ap50_large) if boxes else {},
    )


def table(report: Mapping[str, Any], parity: Parity, limits: Limits) -> str:
    """The report as lines of text for the terminal."""
    rows = [
        f"{side}            {report[side]['path']} ({report[side]['sha256'][:12]}), "
        f"{report[side]['engine']} {report[side]['precision']}"
        for side in "ab"
    ]
    rows += [f"on           {report['data']}", *lines(parity, limits)]
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


@click.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option(
    "--frames",
    metavar="SOURCE",
    help="Compare on frames of this source, anything that 'edge run --source' takes; else on the "
    "synthetic street. What A says is then the truth of AP and mIoU.",
)
@click.option(
    "--count",
    type=click.IntRange(min=1),
    default=COUNT,
    show_default=True,
    help="Frames to compare on, spread over the source.",
)
@click.option("--data", type=click.Choice(["camvid"]), help="Compare on labelled images instead.")
@click.option("--root", type=click.Path(path_type=Path), help="CamVid's folder.")
@click.option(
    "--split", type=click.Choice(["train", "val", "test"]), default="val", show_default=True
)
@click.option("--limit", type=click.IntRange(min=1), help="Take the first N labelled images.")
@click.option(
    "--miou", type=float, default=0.005, show_default=True, help="Largest change of mIoU."
)
@click.option(
    "--ap50", type=float, default=0.005, show_default=True, help="Largest change of mean AP50."
)
@click.option("--mask", type=float, help="Smallest share of equal labels in every frame's mask.")
@click.option(
    "--unmatched",
    type=float,
    help="Largest share of boxes without a partner; not judged where it is left out.",
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the report here.")
@click.option(
    "--test-log",
    type=click.Path(path_type=Path),
    default=TEST_LOG,
    help="Where each scoring of the test split is logged.",
)
def verify(
    a: Path,
    b: Path,
    frames: str | None,
    count: int,
    data: str | None,
    root: Path | None,
    split: Split,
    limit: int | None,
    miou: float,
    ap50: float,
    mask: float | None,
    unmatched: float | None,
    json_path: Path | None,
    test_log: Path,
) -> None:
    """Compare model B with model A: checkpoints, ONNX in FP32, FP16 or int8, built engines.

    Exits with 4 where an output is not finite or ignores its input, where a limit is missed, and
    where the frames show too little to prove anything: fewer than ten boxes, one class of mask.
    """
    if data and frames:
        raise SettingsError("--frames and --data are two ways to say on what: give one of them.")
    if json_path is not None:
        check_output(json_path, "--json")
    labelled = load_index(root or default_root(), split) if data else None
    if labelled is not None:
        labelled = replace(labelled, items=labelled.items[:limit])
    limits = Limits(unmatched=unmatched, mask=mask, miou=miou, ap50=ap50)
    parity, report = verify_models(
        a, b, frames=frames, count=count, labelled=labelled, limits=limits, test_log=test_log
    )
    click.echo(table(report, parity, limits), err=True)
    if json_path is not None:
        write_output(json_path, json.dumps(report, indent=2) + "\n", "--json")
    if parity.failures:
        raise ExportError(f"{b}: does not say what {a} says: {'; '.join(parity.failures)}.")
    if parity.doubts:
        raise ExportError(
            f"{b}: not proven against {a}: {'; '.join(parity.doubts)}. Give frames that show what "
            "the models detect: --frames SOURCE."
        )
