"""Any COCO detection file with its folder of images, read and checked as data to score against.

It names the first mistake it finds and mends none.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from edge.vision.types import Image
from engines.errors import ExportError
from export.data.label_map import read_frame
from export.data.labelled import LabelledData, LabelledFrame

ROUNDING_PX = 1.0
"""How far a box may leave its image: tools that count the last pixel, or round, go one beyond."""


def coco_data(file: Path, images: Path | None = None) -> LabelledData:
    """Boxes of ``file``; ``images`` is the folder of the images, else the one that ``file`` is in.

    Raises:
        ExportError: the file is no COCO file, contradicts itself, or an image is missing.
    """
    folder = file.parent if images is None else images
    names, entries, boxes = read_coco(file)
    for entry in entries:
        if not os.path.isfile(folder / entry["file_name"]):  # unlike Path.is_file it never raises
            raise ExportError(
                f"{file}: lists {entry['file_name']}, which is not in {folder}. Name the folder of "
                "the images with --images."
            )
    if not any(boxes.values()):
        raise ExportError(f"{file}: has no annotations; there is nothing to score.")

    def load(i: int) -> LabelledFrame:
        entry = entries[i]
        path = folder / entry["file_name"]
        image = read_frame(path)
        check_size(path, image, (entry["width"], entry["height"]), origin=str(file))
        return LabelledFrame(entry["file_name"], image, None, boxes[entry["id"]])

    return LabelledData(
        "coco-json",
        len(entries),
        load,
        box_classes=names,
        source=file.name,
        frames=(folder / entries[0]["file_name"]).parent,
    )


def check_size(path: Path, image: Image, wh: tuple[int, int], *, origin: str) -> None:
    """Refuse an image whose size is not the one that ``origin`` states."""
    height, width = image.shape[:2]
    if (width, height) != wh:
        raise ExportError(
            f"{path}: got {width}x{height}, wanted {wh[0]}x{wh[1]} as {origin} says. Restore it or "
            "mend the annotations."
        )


def read_coco(
    file: Path,
) -> tuple[tuple[str, ...], list[dict[str, Any]], dict[int, list[dict[str, Any]]]]:
    """Class names, entries of the images, and annotations by image id, all checked.

    Categories become 1, 2, … in the order of the names, crowds are marked, and areas filled in.

    Raises:
        ExportError: the file cannot be read, or is wrong at a place that is named.
    """
    try:
        coco = json.loads(file.read_text("utf-8-sig"))
    except OSError as exc:
        raise ExportError(
            f"{file}: cannot be read ({exc.strerror or exc}). Check the path and its permissions."
        ) from exc
    except (ValueError, RecursionError) as exc:
        raise ExportError(f"{file}: not JSON ({exc}). Wanted a COCO file of boxes.") from exc
    try:
        names, number = _categories(coco["categories"])
        entries = [_image(entry) for entry in coco["images"]]
        boxes: dict[int, list[dict[str, Any]]] = {entry["id"]: [] for entry in entries}
        if len(boxes) != len(entries) or len({e["file_name"] for e in entries}) != len(entries):
            raise _Wrong("two images have the same id or file name")
        size = {entry["id"]: (entry["width"], entry["height"]) for entry in entries}
        for i, given in enumerate(coco["annotations"]):
            where = f"annotation {given.get('id', f'number {i + 1}')}"
            if given["image_id"] not in boxes:
                raise _Wrong(f"{where} belongs to image {given['image_id']}, which is not listed")
            if given["category_id"] not in number:
                raise _Wrong(f"{where} is of category {given['category_id']}, which is not listed")
            made = _box(given, where, size[given["image_id"]])
            boxes[given["image_id"]].append({**made, "category_id": number[given["category_id"]]})
    except _Wrong as exc:
        raise ExportError(f"{file}: {exc}. Mend the annotations.") from exc
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as exc:
        reason = f"{exc} is missing" if isinstance(exc, KeyError) else str(exc)
        raise ExportError(f"{file}: not a COCO file of boxes: {reason}.") from exc
    if not entries:
        raise ExportError(f"{file}: lists no images; there is nothing to score.")
    return names, entries, boxes


class _Wrong(Exception):
    """What is wrong in a file that has the shape of COCO."""


def _categories(given: list[dict[str, Any]]) -> tuple[tuple[str, ...], dict[int, int]]:
    names = tuple(_name(category["name"]) for category in given)
    number = {category["id"]: i + 1 for i, category in enumerate(given)}
    if not names or len(set(names)) != len(names) or len(number) != len(names):
        raise _Wrong("wanted categories with names and ids of their own, at least one")
    return names, number


def _name(given: object) -> str:
    """A name that can be shown: whatever comes from a file ends up on a terminal and a page."""
    if not isinstance(given, str) or not given.strip() or not given.isprintable():
        raise _Wrong(f"wanted names as plain text, got {given!a:.60}")
    return given


def _image(given: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": given["id"],
        "file_name": _name(given["file_name"]),
        "width": int(given["width"]),
        "height": int(given["height"]),
    }


def _box(given: dict[str, Any], where: str, wh: tuple[int, int]) -> dict[str, Any]:
    if not isinstance(given["bbox"], list) or len(given["bbox"]) != 4:  # a text has digits, too
        raise _Wrong(f"{where} has the box {given['bbox']!a:.60}, wanted [x, y, width, height]")
    x, y, w, h = (float(v) for v in given["bbox"])
    area = float(given.get("area") or w * h)
    if not (w > 0 and h > 0 and area > 0 and math.isfinite(x + y + w + h + area)):
        raise _Wrong(f"{where} has the box {given['bbox']}, wanted x, y, width, height of a box")
    edge = ROUNDING_PX
    if min(x, y) < -edge or x + w > wh[0] + edge or y + h > wh[1] + edge:
        raise _Wrong(f"{where}: its box {given['bbox']} leaves the {wh[0]}x{wh[1]} image")
    crowd = int(given.get("iscrowd") or 0)  # whoever writes numbers as text writes "0", too
    return {"bbox": [x, y, w, h], "area": area, "iscrowd": int(crowd != 0)}
