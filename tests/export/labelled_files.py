"""COCO files and label folders of a few generated frames, for tests of data and evaluation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from export.commands.data_options import Data, DataOptions
from export.data.camvid import Split
from export.score.evaluate import evaluate_model
from export.score.report import EvaluationReport
from tests.tiny_models import grey, paint

ROAD, CAR, IGNORED = 3, 8, 11
"""CamVid's."""


def coco_dict(boxes: Sequence[Mapping[str, Any]] = (), *, images: int = 2) -> dict[str, Any]:
    """``images`` entries 1.png, 2.png … of 96x64, categories 10 'auto' and 20 'walker'."""
    return {
        "images": [
            {"id": i, "file_name": f"{i}.png", "width": 96, "height": 64}
            for i in range(1, images + 1)
        ],
        "categories": [{"id": 10, "name": "auto"}, {"id": 20, "name": "walker"}],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": 10, "bbox": [40, 16, 8, 8], **box}
            for i, box in enumerate(boxes)
        ],
    }


def make_coco(folder: Path, coco: object, *, images: int = 2) -> Path:
    """``folder``/truth.json and its images: 1.png has a blue cell (car) at 40, 16, others none."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(1, images + 1):
        image = grey(75)
        if i == 1:
            paint(image, (40, 16, 48, 24), 0)
        assert cv2.imwrite(str(folder / f"{i}.png"), image)
    file = folder / "truth.json"
    file.write_text(coco if isinstance(coco, str) else json.dumps(coco))
    return file


def make_folder(
    root: Path,
    *,
    classes: Sequence[str] = ("sky", "road", "car"),
    labels: Sequence[NDArray[Any]] | None = None,
) -> Path:
    """Two 96x64 images, one with a car, and label maps: all road where none are given."""
    (root / "images").mkdir(parents=True)
    (root / "labels").mkdir()
    road = np.full((64, 96), list(classes).index("road") if "road" in classes else 0, np.uint8)
    for i in (1, 2):
        image = grey(75)
        if i == 1:
            paint(image, (40, 16, 48, 24), 0)
        assert cv2.imwrite(str(root / "images" / f"{i}.png"), image)
        truth = road if labels is None else labels[i - 1]
        assert cv2.imwrite(str(root / "labels" / f"{i}.png"), truth)
    (root / "classes.txt").write_text("\n".join(classes) + "\n")
    return root


def make_tiny_camvid(root: Path) -> Path:
    """val and test, each of two 96x64 frames.

    One with a car of 8x8 px, one with a pedestrian and a rider, both seen as pedestrians.
    """
    first = paint(grey(75), (40, 16, 48, 24), 0)
    second = paint(paint(grey(75), (8, 8, 16, 16), 1), (64, 32, 72, 40), 1)
    labels = np.full((64, 96), ROAD, np.uint8)
    labels[16:24, 40:48] = CAR
    labels[:, 64:] = IGNORED
    annotations: list[dict[str, Any]] = []
    for image_id, category, x, y in ((1, 1, 40, 16), (2, 2, 8, 8), (2, 3, 64, 32)):
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": category,
                "bbox": [x, y, 8, 8],
                "area": 64,
                "iscrowd": 0,
            }
        )
    names = ("car", "pedestrian", "bicyclist", "sign")
    coco = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 96, "height": 64} for i in (1, 2)],
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(names)],
        "annotations": annotations,
    }
    for split in ("val", "test"):
        _write_split(root, split, [first, second], [labels, np.full_like(labels, IGNORED)], coco)
    return root


def _write_split(
    root: Path,
    split: str,
    images: list[NDArray[np.uint8]],
    labels: list[NDArray[np.uint8]],
    coco: dict[str, Any],
) -> None:
    for kind, arrays in (("images", images), ("labels", labels)):
        folder = root / kind / split
        folder.mkdir(parents=True)
        for i, array in enumerate(arrays, start=1):
            assert cv2.imwrite(str(folder / f"{i}.png"), array)
    (root / f"boxes_{split}.json").write_text(json.dumps(coco))


def score_on(
    model: Path,
    data: Data = "camvid",
    *,
    root: Path | None = None,
    split: Split = "val",
    images: Path | None = None,
    limit: int | None = None,
    **how: Any,
) -> EvaluationReport:
    """``evaluate_model`` on what the options of the command name."""
    options = DataOptions(data, root, images, split, limit)
    return evaluate_model(model, options.open(), **how)
