"""COCO files and label folders of a few generated frames, for tests of data and evaluation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.tiny_models import grey, paint

ROAD = 3


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
