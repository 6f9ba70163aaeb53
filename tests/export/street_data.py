"""Data sets of a few generated frames in CamVid's classes, for tests of data, training, export."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from edge.vision.types import Image
from export.data.camvid import CLASSES

CATEGORIES = ("car", "pedestrian", "bicyclist", "sign")


def make_camvid(root: Path, *, images: int = 4, wh: tuple[int, int] = (480, 360)) -> Path:
    """Road below, sky above and one bright car a frame, in split 'train' and 'val'."""
    w, h = wh
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        coco: dict[str, list[dict[str, object]]] = {
            "images": [],
            "annotations": [],
            "categories": [{"id": i + 1, "name": n} for i, n in enumerate(CATEGORIES)],
        }
        for i in range(images):
            image = rng.integers(0, 60, (h, w, 3)).astype(np.uint8)
            image[: h // 2] += 150
            labels = np.full((h, w), 3, np.uint8)
            labels[: h // 2] = 0
            x, y = int(rng.integers(20, w - 120)), int(rng.integers(h // 2, h - 60))
            image[y : y + 40, x : x + 80] = (20, 20, 230)
            labels[y : y + 40, x : x + 80] = 8
            cv2.imwrite(str(root / "images" / split / f"f{i}.jpg"), image)
            cv2.imwrite(str(root / "labels" / split / f"f{i}.png"), labels)
            coco["images"].append({"id": i, "file_name": f"f{i}.jpg", "width": w, "height": h})
            coco["annotations"].append(
                {"id": i, "image_id": i, "category_id": 1, "bbox": [x, y, 80, 40], "iscrowd": 0,
                 "area": 3200}
            )  # fmt: skip
        (root / f"boxes_{split}.json").write_text(json.dumps(coco))
    return root


def painted(**boxes: tuple[int, int, int, int]) -> Image:
    """Labels of 256x256, all road, with a rectangle xyxy of each class."""
    labels = np.full((256, 256), CLASSES.index("road"), np.uint8)
    for name, (x0, y0, x1, y1) in boxes.items():
        labels[y0:y1, x0:x1] = CLASSES.index(name)
    return labels


def make_cityscapes(root: Path, labels: Image, *persons: list[float], split: str = "val") -> Path:
    """A split of one grey frame, 0001, with these labels and boxes of persons."""
    for kind in ("images", "labels"):
        (root / kind / split).mkdir(parents=True)
    cv2.imwrite(str(root / "images" / split / "0001.jpg"), np.full((256, 256, 3), 75, np.uint8))
    cv2.imwrite(str(root / "labels" / split / "0001.png"), labels)
    (root / f"persons_{split}.json").write_text(json.dumps({"0001": persons}))
    return root
