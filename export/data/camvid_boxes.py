"""Boxes for a copy of CamVid out of its label maps, as COCO files.

One box is one 8-connected region of a class with 40 pixels or more. Where several objects touch
they come out as one: the maps do not separate them, and no region is marked as a crowd, so scores
are not quite those of the model card.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from os.path import isfile
from pathlib import Path
from typing import Any

import cv2

from edge.progress import counted
from export.data.camvid import BOX_CLASSES, CLASSES, Split, camvid_pairs, read_camvid_labels
from export.data.pairs import check_size, read_frame
from export.outputs import write_output

SPLITS: tuple[Split, ...] = ("train", "val", "test")
LEAST_PX = 40
"""Smaller regions are specks of the labelling rather than objects."""


def boxes_of(root: Path, split: Split) -> dict[str, Any]:
    """A COCO dictionary of the boxes of all label maps of a split.

    Raises:
        ExportError: a folder or a file cannot be read, an image or a label map stands alone, their
            sizes differ, or an index is no class of CamVid.
    """
    coco: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": i, "name": name} for i, name in enumerate(BOX_CLASSES, 1)],
    }
    pairs = camvid_pairs(root, split)
    for image_id, (picture, path) in enumerate(counted(pairs, split, total=len(pairs)), 1):
        label_map = read_camvid_labels(path)
        height, width = read_frame(picture).shape[:2]
        check_size(path, label_map, (width, height), stated_in=picture.name)
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
            made[file] = boxes_of(root, split)
    for file, coco in made.items():
        write_output(file, json.dumps(coco), "another ROOT")
        say(f"{file}: {len(coco['annotations'])} boxes in {len(coco['images'])} images")
