"""Views of the synthetic street that show one object each, and how well a model locates it.

Run it from the project's folder: ``.venv/bin/python -m docs.experiments.single_objects FOLDER``
writes a folder for ``edge-export train --net localise --data FOLDER``, and with ``--model`` it
scores a model file on FOLDER/val: mean IoU of its best box with the object, and the share of views
whose class is right.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from edge.cli import invoke
from edge.street import StreetScene
from edge.vision.types import Image
from engines import open_engine
from engines.errors import ExportError
from export.data.camvid import BOX_CLASSES
from export.data.folder import folder_data
from export.score.predictor import Predictor
from export.score.scores import iou_matrix

SCENE_WH = (1280, 720)
VIEW_WH = (320, 192)
"""The shape of the app's input, at half its size."""
LEAST_PX = 40.0
"""Longer side of an object in the scene: smaller ones are a few pixels enlarged."""
TRIES = 40
"""Windows tried about an object before it is left."""


def views(seed: int) -> Iterator[tuple[Image, NDArray[np.float32], str]]:
    """Without end: a view, the box (4,) of its only object in px, and its class.

    One view of each object of a scene at most, and a new scene for each frame.
    """
    rng = np.random.default_rng(seed)
    while True:
        scene = StreetScene(*SCENE_WH, seed=int(rng.integers(2**31)))
        t = float(rng.uniform(0, 60))
        truth, image = scene.truth(t), scene.render(t)
        for i in rng.permutation(len(truth.boxes)):
            window = alone(truth.boxes, int(i), rng)
            if window is None:
                continue
            x, y, w, h = window
            view = cv2.resize(image[y : y + h, x : x + w], VIEW_WH, interpolation=cv2.INTER_AREA)
            scale = VIEW_WH[0] / w
            box = (truth.boxes[i] - np.array([x, y, x, y], np.float32)) * scale
            yield (
                view.astype(np.uint8, copy=False),
                box.astype(np.float32),
                truth.class_names[truth.class_ids[i]],
            )


def alone(
    boxes: NDArray[np.float32], i: int, rng: np.random.Generator
) -> tuple[int, int, int, int] | None:
    """A window x, y, width, height that holds all of box ``i`` and nothing of the others.

    None where there is none, or the box is small.
    """
    box, others = boxes[i], np.delete(boxes, i, axis=0)
    size = box[2:] - box[:2]
    if size.max() < LEAST_PX:
        return None
    for _ in range(TRIES):
        w = int(max(size[0], size[1] * VIEW_WH[0] / VIEW_WH[1]) * rng.uniform(1.1, 4.0))
        h = w * VIEW_WH[1] // VIEW_WH[0]
        if w > SCENE_WH[0] or h > SCENE_WH[1]:
            continue
        first = np.maximum(np.ceil(box[2:] - (w, h)), 0)
        last = np.minimum(np.floor(box[:2]), np.array(SCENE_WH) - (w, h))
        if (first > last).any():
            continue
        x, y = (int(rng.integers(a, b + 1)) for a, b in zip(first, last, strict=True))
        seen = (others[:, :2] < (x + w, y + h)) & (others[:, 2:] > (x, y))
        if not seen.all(axis=1).any():
            return x, y, w, h
    return None


def write(folder: Path, count: int, seed: int) -> None:
    """A folder as ``edge-export train --data`` takes it.

    Raises:
        ExportError: it cannot be written, or is there already.
    """
    coco: dict[str, list[dict[str, object]]] = {
        "images": [], "annotations": [],
        "categories": [{"id": i, "name": n} for i, n in enumerate(BOX_CLASSES, start=1)],
    }  # fmt: skip
    try:
        (folder / "images").mkdir(parents=True)
        for i, (view, box, name) in zip(range(count), views(seed), strict=False):
            cv2.imwrite(str(folder / "images" / f"{i:05}.png"), view)
            w, h = VIEW_WH
            file = f"{i:05}.png"
            coco["images"].append({"id": i, "file_name": file, "width": w, "height": h})
            x0, y0, x1, y1 = (float(v) for v in box)
            coco["annotations"].append(
                {"id": i, "image_id": i, "category_id": BOX_CLASSES.index(name) + 1,
                 "bbox": [x0, y0, x1 - x0, y1 - y0], "iscrowd": 0}
            )  # fmt: skip
        (folder / "boxes.json").write_text(json.dumps(coco))
    except OSError as exc:
        raise ExportError(f"{folder}: cannot be made ({exc.strerror}). Name another.") from exc


def score(model: Path, folder: Path) -> tuple[float, float]:
    """Mean IoU of the best box with the object, 0 without a box, and how often its class is right.

    Raises:
        ExportError: the folder is no data of one object an image.
        ModelError, EngineError: the model is refused.
    """
    data = folder_data(folder)
    engine = open_engine(model, precision="f32")
    try:
        predictor, ious, right = Predictor(engine), [], []
        for frame in map(data.load, range(data.count)):
            if len(frame.annotations) != 1:
                raise ExportError(
                    f"{folder}: {frame.name} has {len(frame.annotations)} objects, wanted one. "
                    "Score a folder that this command wrote."
                )
            x, y, w, h = frame.annotations[0]["bbox"]
            found = predictor.predict(frame.image).all
            truth = np.array([[x, y, x + w, y + h]], np.float32)
            ious.append(float(iou_matrix(found.xyxy[:1], truth).sum()))
            name = data.box_classes[frame.annotations[0]["category_id"] - 1]
            best = [predictor.class_names[i] for i in found.class_ids[:1]]
            right.append(best == [name])
        return float(np.mean(ious)), float(np.mean(right))
    finally:
        engine.close()


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--views", "count", type=click.IntRange(1), default=600, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--model", type=click.Path(path_type=Path), help="Score it on FOLDER/val.")
def main(folder: Path, count: int, seed: int, model: Path | None) -> None:
    """Write views of one object to FOLDER, a sixth as many to FOLDER/val, or score a model."""
    if model is not None:
        iou, right = score(model, folder / "val")
        click.echo(f"{model.name}: mean IoU {iou:.3f}, class right {right:.3f}")
        return
    write(folder, count, seed)
    write(folder / "val", max(count // 6, 1), seed + 1)


if __name__ == "__main__":
    invoke(main, "single_objects")
