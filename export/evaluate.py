"""Scores a model file through the app's own letterbox and decoders by one protocol; changes none.

Masks: one confusion matrix over all images at the labels' own size, unlabelled pixels ignored.
Boxes: COCO AP at score 0.01 and more, crowds ignored, and for pedestrians the bicyclists too.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np

from edge.perception import Perception
from edge.types import Detections, Image, Mask
from engines import open_engine
from engines.base import Engine
from engines.errors import ExportError
from engines.model_file import sha256_of
from export.camvid import BOX_CLASSES, CLASSES, IGNORE, Split, default_root, load_index
from export.report import TEST_LOG, EvaluationReport, log_test, table
from export.scores import (
    Confusion,
    box_scores,
    coco_results,
    matched,
    with_bicyclists_ignored,
)

MIN_SCORE = 0.01
"""Lowest score that counts for AP."""
SYNTHETIC_WH = (960, 540)
SYNTHETIC_FRAMES = 200
SYNTHETIC_SEED = 9_000_000
"""First of the seeds that are scored: training draws its streets from far smaller ones."""
FRAMES_A_STREET = 10
STREET_STEP_S = 3.0
ALIASES = {"person": "pedestrian", "truck": "car", "bus": "car"}
"""COCO's names for classes of CamVid, whose car takes in trucks and buses in the split of eleven
classes. COCO's bicycle is not CamVid's bicyclist."""

Data = Literal["camvid", "synthetic"]


def evaluate_model(
    path: Path,
    *,
    data: Data = "camvid",
    root: Path | None = None,
    split: Split = "val",
    engine: str = "auto",
    precision: Literal["default", "f32"] = "f32",
    limit: int | None = None,
    test_log: Path = TEST_LOG,
    progress: bool = False,
) -> EvaluationReport:
    """Score the model file at ``path``; ``limit`` takes the first images only.

    A scoring of the test split is appended to ``test_log``.

    Raises:
        ExportError: the data is missing or broken, the model knows none of its classes, or the log
            cannot be written.
        ModelError: the file is refused.
        EngineError: the engine cannot run it.
    """
    if limit is not None and limit < 1:
        raise ExportError(f"a limit of {limit} images, wanted 1 or more.")
    opened = open_engine(path, engine=engine, precision=precision)
    try:
        _check_classes(path, opened)
        if data == "synthetic":
            return _on_synthetic(path, opened, frames=limit or SYNTHETIC_FRAMES, progress=progress)
        report = _on_camvid(
            path, opened, root or default_root(), split, limit=limit, progress=progress
        )
    finally:
        opened.close()
    if split == "test":
        log_test(report, test_log)
    return report


def _check_classes(path: Path, engine: Engine) -> None:
    detection, masks = engine.spec.detection, engine.spec.masks
    known = detection.classes if detection else ()
    if {ALIASES.get(name, name) for name in known} & set(BOX_CLASSES):
        return
    if not any(_is_street(mask.classes) for mask in masks):
        names = [*known, *(name for mask in masks for name in mask.classes)]
        raise ExportError(
            f"{path}: its classes are {', '.join(names[:8])}{', …' * (len(names) > 8)}; wanted one "
            f"of the boxes {', '.join(BOX_CLASSES)} or a mask with two of {', '.join(CLASSES)}. "
            "There is nothing to score."
        )


class _Eye:
    """Runs one image after the other through the app's own path, and times the runs."""

    def __init__(self, engine: Engine, *, conf: float | None) -> None:
        self._perception = Perception(engine, conf=conf, classes=None)
        self.class_names = self._perception.class_names
        self.infer_ns: list[int] = []

    def see(self, image: Image) -> tuple[Detections, tuple[Mask, ...]]:
        self._perception.prepare(image, 0)
        start = time.perf_counter_ns()
        self._perception.submit(0)
        self._perception.wait(0)
        self.infer_ns.append(time.perf_counter_ns() - start)
        return self._perception.decode(0)

    def infer_ms(self) -> float | None:
        return float(np.median(self.infer_ns)) / 1e6 if self.infer_ns else None


def _on_camvid(
    path: Path, engine: Engine, root: Path, split: Split, *, limit: int | None, progress: bool
) -> EvaluationReport:
    index = load_index(root, split)
    items = index.items[:limit]
    eye = _Eye(engine, conf=MIN_SCORE)
    names = [ALIASES.get(name, name) for name in eye.class_names]
    coco = with_bicyclists_ignored(index.coco)
    kept = {item.image_id for item in items}
    for part, key in (("images", "id"), ("annotations", "image_id")):
        coco[part] = [entry for entry in coco[part] if entry[key] in kept]
    categories = {c["name"]: c["id"] for c in coco["categories"]}
    category_of_class = {i: categories[n] for i, n in enumerate(names) if n in categories}
    confusion = Confusion(CLASSES, ignore=IGNORE)
    results: list[dict[str, Any]] = []
    for item in _counted(items, progress):
        detections, masks = eye.see(item.image())
        results += coco_results(
            detections, image_id=item.image_id, category_of_class=category_of_class
        )
        street = _street_mask(masks)
        if street is not None:
            confusion.add(item.labels(), _frame_labels(street))
    has_mask = bool(confusion.matrix.any())
    boxes = box_scores(coco, results, scored=names) if category_of_class else None
    return EvaluationReport(
        **_common(path, engine, len(items), eye),
        data="camvid",
        split=split,
        miou=confusion.miou() if has_mask else None,
        iou=confusion.iou() if has_mask else {},
        ap=boxes.ap if boxes else None,
        ap_of_class=dict(boxes.ap_of_class) if boxes else {},
        ap50=dict(boxes.ap50) if boxes else {},
        ap50_400px=dict(boxes.ap50_large) if boxes else {},
    )


def _on_synthetic(path: Path, engine: Engine, *, frames: int, progress: bool) -> EvaluationReport:
    eye = _Eye(engine, conf=None)
    names = [ALIASES.get(name, name) for name in eye.class_names]
    confusion = Confusion(CLASSES, ignore=IGNORE)
    hits: dict[str, int] = {}
    present: dict[str, int] = {}
    claimed: dict[str, int] = {}
    for image, truth in _counted(_streets(frames), progress, total=frames):
        detections, masks = eye.see(image)
        true_names = np.array(truth.class_names, dtype=object)[truth.class_ids]
        found_names = np.array(names, dtype=object)[detections.class_ids]
        for name in set(truth.class_names) & set(names):
            wanted = truth.boxes[true_names == name]
            found = detections.xyxy[found_names == name]
            hits[name] = hits.get(name, 0) + int(matched(wanted, found, iou=0.5).sum())
            present[name] = present.get(name, 0) + len(wanted)
            claimed[name] = claimed.get(name, 0) + len(found)
        street = _street_mask(masks)
        if street is not None:
            confusion.add(truth.labels, _frame_labels(street))
    has_mask = bool(confusion.matrix.any())
    return EvaluationReport(
        **_common(path, engine, frames, eye),
        data="synthetic",
        split=None,
        miou=confusion.miou() if has_mask else None,
        iou=confusion.iou() if has_mask else {},
        recall50={n: hits[n] / present[n] if present[n] else None for n in sorted(hits)},
        precision50={n: hits[n] / claimed[n] if claimed[n] else None for n in sorted(hits)},
    )


def _streets(frames: int) -> Iterator[tuple[Image, Any]]:
    """Frames of streets that training has not seen, with their truth."""
    from edge.scene import StreetScene

    for i in range(frames):
        street, step = divmod(i, FRAMES_A_STREET)
        if step == 0:
            scene = StreetScene(*SYNTHETIC_WH, seed=SYNTHETIC_SEED + street)
        yield scene.render(step * STREET_STEP_S), scene.truth(step * STREET_STEP_S)


def _common(path: Path, engine: Engine, images: int, eye: _Eye) -> dict[str, Any]:
    return {
        "model": path.name,
        "model_sha256": sha256_of(path),
        "engine": engine.name,
        "precision": engine.precision,
        "images": images,
        "input_wh": (engine.spec.input.width, engine.spec.input.height),
        "infer_ms_median": eye.infer_ms(),
    }


def _street_mask(masks: Sequence[Mask]) -> Mask | None:
    """The first mask that knows more than one of CamVid's classes."""
    return next((m for m in masks if _is_street(m.classes)), None)


def _is_street(classes: Sequence[str]) -> bool:
    return len(set(classes) & set(CLASSES)) > 1


def _frame_labels(mask: Mask) -> Image:
    """The mask at the frame's size in CamVid's indices; classes that CamVid lacks become 11."""
    table = np.full(256, len(CLASSES), np.uint8)
    for i, name in enumerate(mask.classes):
        if name in CLASSES:
            table[i] = CLASSES.index(name)
    return table[mask.letterbox.mask_to_frame(mask.labels)]


def _counted(items: Any, progress: bool, *, total: int | None = None) -> Any:
    if not progress:
        return items
    try:
        from tqdm import tqdm
    except ImportError:
        return items
    return tqdm(items, total=total, unit="image", disable=None)


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--data", type=click.Choice(["camvid", "synthetic"]), default="camvid")
@click.option("--root", type=click.Path(path_type=Path), help="CamVid's folder.")
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="test")
@click.option("--engine", default="auto", show_default=True, help="Backend to run.")
@click.option("--precision", type=click.Choice(["f32", "default"]), default="f32")
@click.option("--limit", type=click.IntRange(min=1), help="Score the first N images or frames.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the scores here.")
@click.option(
    "--test-log",
    type=click.Path(path_type=Path),
    default=TEST_LOG,
    help="Where each scoring of the test split is logged.",
)
def evaluate(
    model: Path,
    data: Data,
    root: Path | None,
    split: Split,
    engine: str,
    precision: Literal["default", "f32"],
    limit: int | None,
    json_path: Path | None,
    test_log: Path,
) -> None:
    """Score MODEL through the app's own letterbox and decoders."""
    report = evaluate_model(
        model,
        data=data,
        root=root,
        split=split,
        engine=engine,
        precision=precision,
        limit=limit,
        test_log=test_log,
        progress=True,
    )
    click.echo(table(report), err=True)
    if json_path is not None:
        try:
            json_path.write_text(json.dumps(report.to_dict(), indent=2) + "\n")
        except OSError as exc:
            raise ExportError(
                f"{json_path}: cannot be written ({exc.strerror}). Name a writable file with "
                "--json; the scores are the ones above."
            ) from exc
