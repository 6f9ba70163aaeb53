"""Boxes out of CamVid's label maps, for a copy of the data set that comes without: COCO files.

Run it as ``python -m export.camvid_boxes ROOT``. One box is one 8-connected region of a class with
40 pixels or more. Where several objects touch they come out as one: the maps do not part them, and
no region is marked as a crowd, so scores are not quite those of the model card.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
import cv2

from engines.errors import ExportError, OutriderError
from export.camvid import BOX_CLASSES, CLASSES
from export.label_map import read_label_map
from export.outputs import write_output

SPLITS = ("train", "val", "test")
LEAST_PX = 40
"""Smaller regions are specks of the labelling rather than objects."""


def boxes_of(labels: Path, images: Path) -> dict[str, Any]:
    """A COCO dictionary of the boxes of all label maps in ``labels``.

    Raises:
        ExportError: a map cannot be read, or has no image of its name in ``images``.
    """
    pictures = {path.stem: path.name for path in images.iterdir()}
    coco: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": i, "name": name} for i, name in enumerate(BOX_CLASSES, 1)],
    }
    for image_id, path in enumerate(sorted(labels.glob("*.png")), 1):
        if path.stem not in pictures:
            raise ExportError(f"{path}: has no image in {images}. Add it or remove the label map.")
        label_map = read_label_map(path)
        height, width = label_map.shape
        name = pictures[path.stem]
        coco["images"].append({"id": image_id, "file_name": name, "width": width, "height": height})
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


@click.command()
@click.argument("root", type=click.Path(path_type=Path))
def main(root: Path) -> None:
    """Write boxes_train.json, boxes_val.json and boxes_test.json where ROOT has none."""
    for split in SPLITS:
        labels, images = root / "labels" / split, root / "images" / split
        if not labels.is_dir() or not images.is_dir():
            raise ExportError(
                f"{root}: no CamVid split {split!r} here, wanted images/{split}/ and "
                f"labels/{split}/. docs/DATA.md shows how they are laid out."
            )
        file = root / f"boxes_{split}.json"
        if file.exists():
            click.echo(f"{file}: is there already and stays as it is", err=True)
            continue
        coco = boxes_of(labels, images)
        write_output(file, json.dumps(coco), "another ROOT")
        click.echo(f"{file}: {len(coco['annotations'])} boxes in {len(coco['images'])} images")


if __name__ == "__main__":
    try:
        main()
    except OutriderError as exc:
        print(f"export.camvid_boxes: {exc}", file=sys.stderr)
        sys.exit(exc.exit_code)
