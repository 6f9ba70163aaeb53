"""Scores a model file through the app's own letterbox and decoders by one protocol; changes none.

Masks: one confusion matrix over all images at the labels' own size, unlabelled pixels ignored; the
mean is over all the data's classes, and one that the model does not know has 0.
Boxes: COCO AP at score 0.01 and more, crowds ignored, classes that the model does not know left
out; on CamVid the bicyclists are ignored for pedestrians. Recall, precision and what was taken for
what count at the model's own threshold; only the last shows bicyclists boxed as pedestrians.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import click
from click.core import ParameterSource

from edge.run.adopt_cache import runnable
from edge.sources.images import IMAGE_SUFFIXES
from engines import open_engine
from engines.errors import ExportError, SettingsError
from engines.model_file import any_sha256
from export.data.camvid import Split, default_root
from export.data.class_map import class_map, parse_renames
from export.data.coco import coco_data
from export.data.folder import LAYOUT, folder_data
from export.data.labelled import LabelledData
from export.data.streets import camvid_data, synthetic_data
from export.outputs import check_output, write_output
from export.score.frame_scorer import FrameScorer
from export.score.gallery import Gallery
from export.score.predictor import MIN_SCORE, Predictor
from export.score.report import TEST_LOG, EvaluationReport, check_log, log_test, table

__all__ = ["MIN_SCORE", "Data", "evaluate", "evaluate_model"]

DATA = ("camvid", "coco-json", "folder", "synthetic")
"""What ``--data`` takes."""

Data = Literal["camvid", "coco-json", "folder", "synthetic"]


def evaluate_model(
    path: Path,
    *,
    data: Data = "camvid",
    root: Path | None = None,
    split: Split = "val",
    images: Path | None = None,
    renames: Mapping[str, str] | None = None,
    engine: str = "auto",
    precision: Literal["default", "f32"] = "f32",
    limit: int | None = None,
    test_log: Path = TEST_LOG,
    gallery: Gallery | None = None,
    progress: bool = False,
) -> EvaluationReport:
    """Score the model file at ``path``; ``limit`` takes the first images only.

    A scoring of CamVid's test split is appended to ``test_log``. ``renames`` maps names of the
    model's classes to the data's. A ``gallery`` is filled with pictures of the worst frames. A
    foreign ONNX file is adopted first, as 'edge run' does it.

    Raises:
        ExportError: the data is missing or broken or has no truth, the model knows none of its
            classes, or the log cannot be written.
        ModelError: the file is refused.
        EngineError: the engine cannot run it.
        SettingsError: the engine or a name in ``renames`` is unknown.
    """
    if limit is not None and limit < 1:
        raise ExportError(f"a limit of {limit} images, wanted 1 or more.")
    labelled = open_data(data, root=root, split=split, images=images)
    if labelled.split == "test":
        check_log(test_log)
    report = score(
        path, labelled, renames=renames or {}, engine=engine, precision=precision, limit=limit,
        gallery=gallery, progress=progress,
    )  # fmt: skip
    if report.miou is None and report.ap is None:
        raise ExportError(
            f"{report.source or labelled.name}: nothing to score: in {report.images} images got no "
            "labelled pixel and no box of a class that the model knows. Check the labels, or take "
            "more images."
        )
    if labelled.split == "test":
        log_test(report, test_log)
    return report


def open_data(data: Data, *, root: Path | None, split: Split, images: Path | None) -> LabelledData:
    """The labelled data that ``--data`` and its companions name.

    Raises:
        ExportError: it is missing or broken.
        SettingsError: ``root`` is wanted.
    """
    if data == "camvid":
        return camvid_data(root or default_root(), split)
    if data == "synthetic":
        return synthetic_data()
    if root is None:
        wanted = "the annotations' file" if data == "coco-json" else f"a folder with {LAYOUT}"
        raise SettingsError(f"--data {data}: wanted --root with {wanted}.")
    return coco_data(root, images) if data == "coco-json" else folder_data(root)


def score(
    path: Path,
    data: LabelledData,
    *,
    renames: Mapping[str, str],
    engine: str,
    precision: Literal["default", "f32"],
    limit: int | None = None,
    gallery: Gallery | None = None,
    progress: bool = False,
) -> EvaluationReport:
    """Score a model file on any labelled data; raises as ``evaluate_model`` does."""
    runs = runnable(path, None if data.frames is None else str(data.frames))
    opened = open_engine(runs, engine=engine, precision=precision)
    try:
        classes = class_map(opened.spec, data, renames, origin=str(path))
        predictor, scorer = Predictor(opened), FrameScorer(data, classes)
        count = min(limit or data.count, data.count)
        for i in _counted(range(count), progress):
            frame = data.load(i)
            predicted = predictor.predict(frame.image)
            predictor.check_finite()
            scorer.add(i, frame, predicted)
        latency = predictor.latency_ms()
        worst = scorer.worst()
        if gallery is not None:
            for kind, scores in worst.items():
                for of_frame in scores:
                    frame = data.load(of_frame.index)
                    predicted = predictor.predict(frame.image)
                    gallery.add(kind, of_frame, frame, predicted, data, classes)
        detection = opened.spec.detection
        return EvaluationReport(
            model=path.name,
            model_sha256=any_sha256(path),
            engine=opened.name,
            precision=opened.precision,
            data=data.name,
            split=data.split,
            source=data.source,
            images=count,
            input_wh=(opened.spec.input.width, opened.spec.input.height),
            infer_ms_median=latency["infer"]["p50"],
            latency_ms=latency,
            conf=detection.conf if detection and classes.has_boxes else None,
            renamed=dict(classes.renamed) or None,
            worst=worst,
            **scorer.scores(),
        )
    finally:
        opened.close()


def _is_of_data(path: Path, root: Path | None) -> bool:
    """Whether a report of that name would lie among the data, or replace a picture."""
    if path.suffix.lower() in IMAGE_SUFFIXES and path.exists():
        return True
    place, folder = path.resolve(), root.resolve() if root is not None else None
    if folder is None or folder not in place.parents:
        return False
    first, *more = place.relative_to(folder).parts
    return first in ("images", "labels") if more else first.startswith(("classes.txt", "boxes"))


def check_data(ctx: click.Context, data: Data, root: Path | None, images: Path | None) -> None:
    """Refuse options that the kind of data has no use for.

    Raises:
        SettingsError: names the option.
    """
    if data != "camvid" and ctx.get_parameter_source("split") is ParameterSource.COMMANDLINE:
        raise SettingsError(f"--split {ctx.params['split']}: {data} has no splits. Leave it out.")
    if data != "coco-json" and images is not None:
        raise SettingsError("--images goes with --data coco-json. Leave it out.")
    if data == "synthetic" and root is not None:
        raise SettingsError("--root: the synthetic street has no files. Leave it out.")


def _counted(items: Any, progress: bool) -> Any:
    if not progress:
        return items
    try:
        from tqdm import tqdm
    except ImportError:
        return items
    return tqdm(items, unit="image", disable=None)


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Choice(DATA),
    default="camvid",
    show_default=True,
    help="coco-json: boxes of any COCO file; folder: images with label maps, and boxes if wanted.",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    help=f"CamVid's folder; the annotations' file of coco-json; for folder: {LAYOUT}.",
)
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    help="Folder of coco-json's images; the annotations' own where it is left out.",
)
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test"]),
    default="test",
    show_default=True,
    help="CamVid's split.",
)
@click.option(
    "--map",
    "renames",
    multiple=True,
    metavar="MODEL_NAME=DATA_NAME",
    help="A class of the model that has another name in the data; once for each.",
)
@click.option("--engine", default="auto", show_default=True, help="Backend to run.")
@click.option(
    "--precision", type=click.Choice(["f32", "default"]), default="f32", show_default=True
)
@click.option("--limit", type=click.IntRange(min=1), help="Score the first N images or frames.")
@click.option(
    "--html",
    "html_path",
    type=click.Path(path_type=Path),
    help="Write a report with charts and the worst frames here, one file without links.",
)
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), help="Write the scores; - for stdout."
)
@click.option(
    "--test-log",
    type=click.Path(path_type=Path),
    default=TEST_LOG,
    help="Where each scoring of CamVid's test split is logged.",
)
@click.pass_context
def evaluate(
    ctx: click.Context,
    model: Path,
    data: Data,
    root: Path | None,
    images: Path | None,
    split: Split,
    renames: Sequence[str],
    engine: str,
    precision: Literal["default", "f32"],
    limit: int | None,
    html_path: Path | None,
    json_path: Path | None,
    test_log: Path,
) -> None:
    """Score MODEL through the app's own letterbox and decoders.

    MODEL is any file that 'edge run' takes. Its classes are matched with the data's by name.
    """
    check_data(ctx, data, root, images)
    taken = {given.resolve() for given in (model, root, test_log) if given is not None}
    for option, path in (("--html", html_path), ("--json", json_path)):
        if path is None:
            continue
        if path.resolve() in taken:
            raise SettingsError(f"{option} {path}: is used by this run already. Name another file.")
        if _is_of_data(path, root):
            raise SettingsError(f"{option} {path}: is a file of the data. Name another file.")
        taken.add(path.resolve())
        check_output(path, option)
    gallery = None
    if html_path is not None:
        from export.score.html import check_templates, html_report

        check_templates()
        gallery = Gallery()
    report = evaluate_model(
        model,
        data=data,
        root=root,
        split=split,
        images=images,
        renames=parse_renames(renames),
        engine=engine,
        precision=precision,
        limit=limit,
        test_log=test_log,
        gallery=gallery,
        progress=True,
    )
    click.echo(table(report), err=True)
    if json_path is not None:
        write_output(json_path, json.dumps(report.to_dict(), indent=2) + "\n", "--json")
    if html_path is not None and gallery is not None:
        write_output(html_path, html_report(report, gallery), "--html")
