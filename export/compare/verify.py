"""``edge-export verify``: do two models say the same, whatever they are made of? It changes none.

Either may be a checkpoint, an ONNX file in FP32, FP16 (every tensor rounded to real half) or int8,
or a built engine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from engines.base import Engine
from engines.errors import ExportError, SettingsError
from engines.model_file import any_sha256
from export.compare.agreement import Score
from export.compare.differences import Limits
from export.compare.models import open_models
from export.compare.parity import Parity, compare
from export.data.camvid import Split
from export.data.class_map import parse_renames
from export.data.folder import LAYOUT
from export.data.frames import COUNT, read_frames
from export.data.labelled import LabelledData
from export.outputs import check_output, write_output
from export.score.evaluate import DATA, Data, check_data, open_data
from export.score.numbers import Finite
from export.score.report import TEST_LOG, EvaluationReport, check_log, log_test

SHARE = Finite(0, 1)


def verify_models(
    a: Path,
    b: Path,
    *,
    frames: str | None = None,
    count: int = COUNT,
    labelled: LabelledData | None = None,
    renames: Mapping[str, str] | None = None,
    limits: Limits,
    test_log: Path = TEST_LOG,
) -> tuple[Parity, dict[str, Any]]:
    """Compare two models on ``count`` frames of a source, or on labelled images.

    ``renames`` maps names of the models' classes to names of the labelled data's.

    Returns the comparison and a report of plain values, models included. A scoring of the test
    split is appended to ``test_log``, once a model.

    Raises:
        ModelError, EngineError: a model cannot be opened or run.
        ExportError: the two cannot be compared, the data is broken, or a scoring cannot be logged.
        SourceError: the frames cannot be read.
    """
    test = labelled is not None and labelled.split == "test"
    if test:
        check_log(test_log)
    engines = open_models(a, b)
    try:
        if labelled is None:
            read = read_frames(frames, count=count)
            told = read.told
            parity = compare(*engines, read.images, limits=limits)
        else:
            told = " ".join(
                filter(None, (f"{labelled.count} labelled images of {labelled.name}",
                              labelled.source, labelled.split))
            )  # fmt: skip
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
    if test:
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
@click.option(
    "--data",
    type=click.Choice(DATA),
    help="Compare on labelled images instead: as 'edge-export evaluate' takes them.",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    help=f"CamVid's folder; the annotations' file of coco-json; for folder: {LAYOUT}.",
)
@click.option("--images", type=click.Path(path_type=Path), help="Folder of coco-json's images.")
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test"]),
    default="val",
    show_default=True,
    help="CamVid's split.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Take the first N labelled images.")
@click.option(
    "--map",
    "renames",
    multiple=True,
    metavar="MODEL_NAME=DATA_NAME",
    help="A class of the models that has another name in the data; once for each.",
)
@click.option(
    "--miou", type=SHARE, default=0.005, show_default=True, help="Largest change of mIoU."
)
@click.option(
    "--ap50", type=SHARE, default=0.005, show_default=True, help="Largest change of mean AP50."
)
@click.option("--mask", type=SHARE, help="Smallest share of equal labels in every frame's mask.")
@click.option(
    "--unmatched",
    type=SHARE,
    help="Largest share of boxes without a partner; not judged where it is left out.",
)
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), help="Write the report; - for stdout."
)
@click.option(
    "--test-log",
    type=click.Path(path_type=Path),
    default=TEST_LOG,
    help="Where each scoring of the test split is logged.",
)
@click.pass_context
def verify(
    ctx: click.Context,
    a: Path,
    b: Path,
    frames: str | None,
    count: int,
    data: Data | None,
    root: Path | None,
    images: Path | None,
    split: Split,
    limit: int | None,
    renames: Sequence[str],
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
    _check_options(ctx, data)
    if json_path is not None:
        check_output(json_path, "--json")
    labelled = None
    if data is not None:
        labelled = open_data(data, root=root, split=split, images=images)
        labelled = replace(labelled, count=min(limit or labelled.count, labelled.count))
    limits = Limits(unmatched=unmatched, mask=mask, miou=miou, ap50=ap50)
    parity, report = verify_models(
        a, b, frames=frames, count=count, labelled=labelled, renames=parse_renames(renames),
        limits=limits, test_log=test_log,
    )  # fmt: skip
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


def _check_options(ctx: click.Context, data: Data | None) -> None:
    """Refuse what would be ignored: whoever says it believes that it was done.

    Raises:
        SettingsError: names the option.
    """
    said = [
        name
        for name in ("frames", "count", "root", "images", "split", "limit", "renames")
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    for name in said:
        if (name in ("frames", "count")) is (data is not None):
            shown = "map" if name == "renames" else name
            raise SettingsError(
                f"--{shown} goes {'without' if data else 'with'} --data: --frames and --count say "
                "on what to compare, or --data and its companions do."
            )
    if data is not None:
        check_data(ctx, data, ctx.params["root"], ctx.params["images"])
