"""Boxes for a copy of CamVid out of its label maps, as COCO files.

One box is one 8-connected region of a class with 40 pixels or more. Where several objects touch
they come out as one: the maps do not part them, and no region is marked as a crowd, so scores are
not quite those of the model card.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from os.path import isfile
from pathlib import Path
from typing import Any

import cv2

from engines.errors import ExportError
from export.data.camvid import BOX_CLASSES, CLASSES, IGNORE
from export.data.label_map import read_frame, read_label_map
from export.outputs import write_output

SPLITS = ("train", "val", "test")
LEAST_PX = 40
"""Smaller regions are specks of the labelling rather than objects."""


def boxes_of(images: Path, labels: Path) -> dict[str, Any]:
    """A COCO dictionary of the boxes of the label maps of all ``images``.

    Raises:
        ExportError: a folder or a file cannot be read, an image or a label map stands alone, their
            sizes differ, or an index is no class of CamVid.
    """
    coco: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": i, "name": name} for i, name in enumerate(BOX_CLASSES, 1)],
    }
    for image_id, (picture, path) in enumerate(_pairs(images, labels), 1):
        label_map = read_label_map(path)
        image = read_frame(picture)
        height, width = label_map.shape
        if image.shape[:2] != (height, width):
            raise ExportError(
                f"{path}: got {width}x{height}, wanted {image.shape[1]}x{image.shape[0]} as "
                f"{picture.name} has. Restore one of them."
            )
        if int(label_map.max()) > IGNORE:
            raise ExportError(
                f"{path}: class index {int(label_map.max())}, wanted 0 to {IGNORE}. docs/DATA.md "
                "says which copy of CamVid has these eleven classes."
            )
        coco["images"].append(
            {"id": image_id, "file_name": picture.name, "width": width, "height": height}
        )
        for category, box_class in enumerate(BOX_CLASSES, 1):
            inside = (label_map == CLASSES.index(box_class)).astype("uint8")
            stats = cv2.connectedComponentsWithStats(inside, connectivity=8)[2]  # (n, 5), 0 is rest
            for x, y, w, h, area in stats[1:].tolist():
                if area >= LEAST_PX:
                    coco["annotations"].append(
                        {
                            "id": len(coco["annotations"]) + 1, "image_id": image_id,
                            "category_id": category, "bbox": [x, y, w, h], "area": area,
                            "iscrowd": 0,
                        }
                    )  # fmt: skip
    return coco


def _pairs(images: Path, labels: Path) -> list[tuple[Path, Path]]:
    """Every image with its label map, in the order of their names."""
    maps = {path.stem: path for path in _listed(labels) if path.suffix == ".png"}
    pictures: dict[str, Path] = {}
    for path in _listed(images):
        if path.stem not in maps:
            raise ExportError(
                f"{path}: has no label map {labels / path.stem}.png. Add it or remove the image."
            )
        twin = pictures.setdefault(path.stem, path)
        if twin is not path:
            raise ExportError(f"{path}: shares a label map with {twin.name}. Remove one of them.")
    alone = maps.keys() - pictures.keys()
    if alone:
        raise ExportError(
            f"{maps[min(alone)]}: has no image in {images}. Add it or remove the label map."
        )
    if not pictures:
        raise ExportError(f"{images}: holds no images. docs/DATA.md shows where they belong.")
    return [(path, maps[stem]) for stem, path in pictures.items()]


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as exc:
        raise ExportError(
            f"{folder}: cannot be listed ({exc.strerror}). docs/DATA.md shows how CamVid is laid "
            "out."
        ) from exc


def write_boxes(root: Path, *, say: Callable[[str], None]) -> None:
    """Write the boxes of each split where ``root`` has none; all are made before one is written.

    Raises:
        ExportError: see ``boxes_of``, or a file cannot be written.
    """
    made: dict[Path, dict[str, Any]] = {}
    for split in SPLITS:
        file = root / f"boxes_{split}.json"
        if isfile(file):  # never raises, as Path's does
            say(f"{file}: is there and stays; delete it to have it made anew")
        else:
            made[file] = boxes_of(root / "images" / split, root / "labels" / split)
    for file, coco in made.items():
        write_output(file, json.dumps(coco), "another ROOT")
        say(f"{file}: {len(coco['annotations'])} boxes in {len(coco['images'])} images")
